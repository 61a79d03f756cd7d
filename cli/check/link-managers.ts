/** Programs that configure links of the node, and must leave those of pods alone. */
import type { Node } from '#daemon/preflight/node.ts';
import { type Check, ok, type Result, warning } from './result.ts';

const MANAGER = ['/usr/lib/NetworkManager', '/run/NetworkManager', '/etc/NetworkManager'];
const NETWORKD = ['/usr/lib/systemd/network', '/run/systemd/network', '/etc/systemd/network'];

export const linkManagersCheck: Check = { id: 'link-managers', run: linkManagers };

async function linkManagers(node: Node): Promise<Result> {
  const network = await node.podNetwork();
  const bridge = network?.bridge?.name;
  const running = [
    ...(node.commandLines('NetworkManager').length > 0 ? [networkManager(node, bridge)] : []),
    ...(node.commandLines('systemd-networkd').length > 0 ? [networkd(node)] : []),
  ];
  if (running.length === 0) return ok('neither NetworkManager nor systemd-networkd runs');
  return running.find(({ status }) => status !== 'ok') ?? ok(running.map(({ found }) => found).join('; '));
}

/** Its keyfile plugin takes links out of its hands by `unmanaged-devices`. */
function networkManager(node: Node, bridge: string | undefined): Result {
  const files = [
    '/etc/NetworkManager/NetworkManager.conf',
    ...MANAGER.flatMap((directory) => filesIn(node, `${directory}/conf.d`, '.conf')),
  ];
  const values = files.flatMap((path) =>
    [...(node.text(path) ?? '').matchAll(/^\s*unmanaged-devices\s*\+?=(.*)$/gm)].map(
      (match) => match[1] ?? '',
    ),
  );
  const specs = values.flatMap((value) => value.split(/[;,]/)).map((spec) => spec.trim());
  const lacks = ['veth', ...(bridge === undefined ? [] : [bridge])].filter(
    (name) => !specs.some((spec) => covers(spec, name)),
  );
  if (lacks.length === 0) return ok('NetworkManager leaves the links of pods alone');
  const wanted = lacks.map((name) => `interface-name:${name === 'veth' ? 'veth*' : name}`);
  return warning(
    `NetworkManager runs, and may take over links of pods: ${lacks.join(', ')}`,
    `write "[keyfile]" and "unmanaged-devices+=${wanted.join(';')}" into /etc/NetworkManager/conf.d/crisp.conf; then nmcli general reload`,
  );
}

/** `interface-name:veth*`, `veth*`, `driver:veth`, `type:veth`, `*`. */
function covers(spec: string, name: string): boolean {
  if (spec === '*') return true;
  const [, key = 'interface-name', value = ''] = /^(?:([a-z-]+):)?=?(.*)$/.exec(spec) ?? [];
  if (name === 'veth' && ['driver', 'type'].includes(key)) return value === 'veth';
  if (name !== 'veth' && key === 'type') return value === 'bridge';
  return key === 'interface-name' && matches(value, name === 'veth' ? 'veth0123abcd' : name);
}

/** The first file by name whose [Match] fits a link counts, whatever its directory. */
function networkd(node: Node): Result {
  const files = new Map(
    NETWORKD.flatMap((directory) => filesIn(node, directory, '.network')).map((path) => [
      path.split('/').at(-1) ?? '',
      path,
    ]),
  );
  for (const name of [...files.keys()].sort()) {
    const path = files.get(name) ?? '';
    const text = node.text(path) ?? '';
    if (!fitsVeth(text)) continue;
    if (/^\s*Unmanaged\s*=\s*(yes|true|1|on)\s*$/im.test(text))
      return ok(`systemd-networkd leaves the links of pods alone (${path})`);
    return warning(
      `systemd-networkd runs, and ${path} fits the links of pods: it takes their addresses and routes away`,
      'write "[Match]", "Kind=veth", "[Link]" and "Unmanaged=yes" into /etc/systemd/network/00-crisp-pods.network, each on its line; then networkctl reload',
    );
  }
  return ok('systemd-networkd has no file that fits the links of pods');
}

/** A veth on the node: its type is ether, as that of a network card. */
function fitsVeth(text: string): boolean {
  const section = /^\s*\[Match\]\s*$([\s\S]*?)(?=^\s*\[|(?![\s\S]))/m.exec(text)?.[1] ?? '';
  const lines = [...section.matchAll(/^\s*(\w+)\s*=\s*(.*?)\s*$/gm)];
  if (lines.length === 0) return false;
  const own: Readonly<Record<string, string>> = {
    Name: 'veth0123abcd',
    Type: 'ether',
    Kind: 'veth',
    Driver: 'veth',
  };
  return lines.every(([, key = '', value = '']) => {
    const name = own[key];
    if (name === undefined) return false; // addresses, paths and the like, which a veth does not have
    const isNegated = value.startsWith('!');
    const globs = value.replace(/^!/, '').split(/\s+/);
    return globs.some((glob) => matches(glob, name)) !== isNegated;
  });
}

function filesIn(node: Node, directory: string, ending: string): string[] {
  return node
    .entries(directory)
    .filter((name) => name.endsWith(ending))
    .map((name) => `${directory}/${name}`);
}

/** A pattern with `*` and `?`. */
function matches(glob: string, text: string): boolean {
  const pattern = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${pattern}$`).test(text);
}
