/** Servers in network namespaces that answer each client with its address as they see it, and clients that try many targets. */
import type { Child } from '#linux/ports/kernel.ts';
import type { BridgeFixture } from './bridge-fixture.ts';

export interface Target {
  readonly protocol: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
}

const SERVER = `
const [port] = process.argv.slice(1).map(Number);
const plain = (address) => address.replace('::ffff:', '');
require('net').createServer((s) => { s.on('error', () => {}); s.end(plain(s.remoteAddress)); }).listen(port, '::', () => {
  const udp = require('dgram').createSocket({ type: 'udp6' });
  udp.on('message', (m, from) => udp.send(plain(from.address), from.port, from.address));
  udp.bind(port, '::', () => console.log('up'));
});`;

/**
 * Long beside a round trip on one machine, and beside the second in which a new bridge's link-local IPv6 address cannot be used
 * to look for a neighbour; only what is dropped on the way costs it.
 */
const SILENCE_MS = 4_000;
const AGAIN_MS = 250;
const CLIENT = `
const tcp = ({ host, port }) => new Promise((resolve) => {
  const socket = require('net').connect({ host, port, timeout: ${SILENCE_MS} });
  let text = '';
  socket.on('data', (bytes) => { text += bytes; });
  socket.on('error', () => resolve('none'));
  socket.on('timeout', () => { socket.destroy(); resolve('none'); });
  socket.on('close', () => resolve(text || 'none'));
});
const udp = ({ host, port }) => new Promise((resolve) => {
  const socket = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
  let again;
  const end = (text) => { clearTimeout(timer); clearInterval(again); try { socket.close(); } catch {} resolve(text); };
  const timer = setTimeout(() => end('none'), ${SILENCE_MS});
  socket.on('error', () => end('none'));
  socket.on('message', (bytes) => end(String(bytes)));
  socket.connect(port, host, () => { socket.send('x'); again = setInterval(() => socket.send('x', () => {}), ${AGAIN_MS}); });
});
const targets = JSON.parse(process.argv[1]);
Promise.all(targets.map(async (one) => [
  [one.protocol, one.host, one.port].join(' '),
  await (one.protocol === 'tcp' ? tcp(one) : udp(one)),
])).then((found) => console.log(JSON.stringify(Object.fromEntries(found))));`;

export const serve = (
  fixture: BridgeFixture,
  netns: string,
  port: number,
): Promise<Child & AsyncDisposable> =>
  fixture.child('nsenter', `--net=${netns}`, process.execPath, '-e', SERVER, `${port}`);

/** By target: the client's address as the server sees it, or `none`. undefined: from the node itself. */
export async function reachable(
  fixture: BridgeFixture,
  netns: string | undefined,
  targets: readonly Target[],
): Promise<Record<string, string>> {
  const enter = netns === undefined ? [] : ['nsenter', `--net=${netns}`];
  const output = await fixture.run(...enter, process.execPath, '-e', CLIENT, JSON.stringify(targets));
  return JSON.parse(output);
}
