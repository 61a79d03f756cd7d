/** Plugins of a daemon of the tests. */
import { join } from 'node:path';
import { NRI_PATH, type NriState } from '#api/admin/nri.ts';
import type { TestNode } from '../harness/pods.ts';
import { until } from '../harness/pods.ts';
import { TestPlugin, type TestPluginOptions } from './plugin.ts';

const http = process.getBuiltinModule('node:http');

/** What `crisp nri` shows. */
export function adminNri(node: TestNode): Promise<NriState> {
  const { promise, resolve, reject } = Promise.withResolvers<NriState>();
  const socketPath = join(node.settings.state ?? join(node.settings.directory, 'state'), 'admin.sock');
  const request = http.get({ socketPath, path: NRI_PATH }, async (response) => {
    let text = '';
    for await (const piece of response) text += piece;
    resolve(JSON.parse(text));
  });
  request.once('error', reject);
  return promise;
}

/** A plugin that is active: it gets the next event. */
export async function joinNri(node: TestNode, options: TestPluginOptions): Promise<TestPlugin> {
  const socket = join(node.settings.state ?? join(node.settings.directory, 'state'), 'nri.sock');
  const plugin = await TestPlugin.start(socket, options);
  await until('the plugin is active', async () =>
    (await adminNri(node)).plugins.some(
      ({ index, name, state }) => state === 'active' && index === options.index && name === options.name,
    ),
  );
  return plugin;
}
