/** NRI: who serves its socket, and the plugins that the daemon starts itself. */
import type { Node } from '#daemon/preflight/node.ts';
import { type Check, ok, type Result, together, warning } from './result.ts';

/** The daemon serves pods without NRI: nothing here is a failure. */
export const nriCheck: Check = {
  id: 'nri',
  run(node) {
    const { enabled } = node.config.nri;
    return enabled ? together([socket(node), plugins(node)]) : ok('off (nri.enabled)');
  },
};

/** Nothing connects to it: the daemon would take that for a plugin. */
function socket(node: Node): Result {
  const { socket: path, disableConnections } = node.config.nri;
  if (disableConnections) return ok('plugins cannot connect (nri.disable_connections)');
  const place = node.listener(path);
  const pid = node.daemon;
  if (place.state === 'not a socket')
    return warning(`${path} exists and is not a socket`, 'move it away, or set nri.socket');
  if (place.state === 'used' && pid !== undefined && place.pid === pid)
    return ok(`${path}, served by the daemon (pid ${pid})`);
  if (place.state === 'used') {
    const holder = place.pid === undefined ? place.program : `${place.program} (pid ${place.pid})`;
    return warning(
      `${path} is served by ${holder}: plugins connect to that one, and none to crisp`,
      'stop it or switch its NRI off, then restart crisp; or set nri.socket',
    );
  }
  if (pid !== undefined)
    return warning(`${path} is not served, but a daemon runs (pid ${pid})`, 'see its log, or restart it');
  return ok(`${path} is free`);
}

function plugins(node: Node): Result {
  const { pluginDir } = node.config.nri;
  const why = node.whyUnreadable(pluginDir);
  if (why !== undefined)
    return warning(
      `plugins of ${pluginDir} are not started: ${why}`,
      'make it a directory that root can read, or set nri.plugin_dir',
    );
  const names = node.entries(pluginDir);
  return ok(`${names.length === 0 ? 'no plugins' : names.join(' ')} in ${pluginDir}`);
}
