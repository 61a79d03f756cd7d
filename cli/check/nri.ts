/** NRI: who serves its socket, and the plugins that the daemon starts itself. */
import type { Node } from '#daemon/preflight/node.ts';
import type { NriPlaces } from '#daemon/preflight/nri.ts';
import { type Check, ok, type Result, together, warning } from './result.ts';

/** The daemon serves pods without NRI: nothing here is a failure. */
export const nriCheck: Check = {
  id: 'nri',
  run(node) {
    if (!node.config.nri.enabled) return ok('off (nri.enabled)');
    const places = node.nri();
    return together([socket(node, places), plugins(node, places)]);
  },
};

function socket(node: Node, { listener }: NriPlaces): Result {
  const { socket: path, disableConnections } = node.config.nri;
  if (disableConnections) return ok('plugins cannot connect (nri.disable_connections)');
  const pid = node.daemon;
  if (listener.state === 'not a socket')
    return warning(`${path} exists and is not a socket`, 'move it away, or set nri.socket');
  if (listener.state === 'used' && pid !== undefined && listener.pid === pid)
    return ok(`${path}, served by the daemon (pid ${pid})`);
  if (listener.state === 'used') {
    const holder =
      listener.pid === undefined ? listener.program : `${listener.program} (pid ${listener.pid})`;
    return warning(
      `${path} is served by ${holder}: plugins connect to that one, and none to crisp`,
      'stop it or switch its NRI off, then restart crisp; or set nri.socket',
    );
  }
  if (pid !== undefined)
    return warning(`${path} is not served, but a daemon runs (pid ${pid})`, 'see its log, or restart it');
  return ok(`${path} is free`);
}

function plugins({ config }: Node, { plugins }: NriPlaces): Result {
  const { pluginDir } = config.nri;
  if ('why' in plugins)
    return warning(
      `plugins of ${pluginDir} are not started: ${plugins.why}`,
      'make it a directory that root can read, or set nri.plugin_dir',
    );
  return ok(`${plugins.length === 0 ? 'no plugins' : plugins.join(' ')} in ${pluginDir}`);
}
