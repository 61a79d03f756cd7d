import assert from 'node:assert/strict';
import test from 'node:test';
import { nriCheck } from './nri.ts';

interface Facts {
  readonly nri?: object;
  readonly listener?: object;
  readonly daemon?: number;
  readonly unreadable?: string;
  readonly plugins?: readonly string[];
}

async function found({ nri, listener = { state: 'free' }, daemon, unreadable, plugins = [] }: Facts) {
  const config = { enabled: true, disableConnections: false, socket: '/n/s', pluginDir: '/p', ...nri };
  const node = {
    config: { nri: config },
    daemon,
    nri: () => ({ listener, plugins: unreadable === undefined ? plugins : { why: unreadable } }),
  };
  const { status, found, remedy = '' } = await nriCheck.run(node as never, new AbortController().signal);
  return `${status}: ${found}; ${remedy}`;
}

test('NRI that is off, or whose socket is not served as configured, is well', async () => {
  assert.equal(await found({ nri: { enabled: false }, unreadable: 'x' }), 'ok: off (nri.enabled); ');
  assert.match(
    await found({ nri: { disableConnections: true } }),
    /^ok: plugins cannot connect .*no plugins/,
  );
  assert.equal(await found({}), 'ok: /n/s is free; no plugins in /p; ');
});

test('the socket is the daemon’s, or somebody else’s', async () => {
  const used = { state: 'used', pid: 7, program: 'containerd' };
  assert.match(
    await found({ listener: used, daemon: 7, plugins: ['10-a', '20-b'] }),
    /^ok: \/n\/s, served by the daemon \(pid 7\); 10-a 20-b in \/p; $/,
  );
  for (const daemon of [8, undefined])
    assert.match(
      await found({ listener: used, ...(daemon === undefined ? {} : { daemon }) }),
      /^warning: \/n\/s is served by containerd \(pid 7\).*none to crisp.*; stop it .* set nri\.socket/,
    );
  const unknown = { state: 'used', pid: undefined, program: 'another program' };
  assert.match(
    await found({ listener: unknown, daemon: 7 }),
    /^warning: \/n\/s is served by another program:/,
  );
});

test('a running daemon that does not serve it, and what is not a socket', async () => {
  assert.match(
    await found({ daemon: 7 }),
    /^warning: .*not served, but a daemon runs \(pid 7\).*; see its log/,
  );
  assert.match(
    await found({ listener: { state: 'not a socket' } }),
    /^warning: .*not a socket.*move it away/,
  );
});

test('a plugin directory that cannot be read', async () => {
  assert.match(
    await found({ unreadable: 'ENOTDIR: not a directory' }),
    /^warning: .*plugins of \/p are not started: ENOTDIR.*; make it a directory .* nri\.plugin_dir/,
  );
});
