import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { changesOf } from './changes.ts';
import { type LoadedConfig, loadConfig } from './load.ts';
import { optionAt } from './settings-text.ts';

const directory = mkdtempSync(join(tmpdir(), 'changes-'));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'crisp.toml');

function load(text: string): Promise<LoadedConfig> {
  writeFileSync(file, text);
  return loadConfig({ requiredFiles: [file] });
}

const keysOf = (changes: readonly { readonly key: string }[]): string[] => changes.map(({ key }) => key);

test('reloadable options change, the others keep their running values and are named with their lines', async () => {
  const running = await load('root = "/one"\n[log]\nlevel = "info"\n[image]\nlayers = "erofs"\n');
  const next = await load(
    'state = "/two"\n[log]\nlevel = "debug"\n[image]\npinned = ["a"]\nlayers = "auto"\n',
  );
  const { effective, applied, restartNeeded } = changesOf(running, next);
  assert.deepEqual(applied, [
    { key: 'log.level', origin: `${file}:3` },
    { key: 'image.pinned', origin: `${file}:5` },
  ]);
  assert.deepEqual(restartNeeded, [
    { key: 'root' },
    { key: 'image.layers', origin: `${file}:6` },
    { key: 'state', origin: `${file}:1` },
  ]);
  const { config } = effective;
  assert.deepEqual([config.log.level, config.image.pinned, config.image.layers], ['debug', ['a'], 'erofs']);
  assert.deepEqual([config.root, config.state], ['/one', running.config.state]);
  assert.equal(config.socket, running.config.socket, 'what is derived from the state directory stays, too');
});

test('a change that needs a restart is named until it is undone', async () => {
  const first = await load('[image]\nlayers = "erofs"\n');
  const second = changesOf(first, await load('[image]\nlayers = "directory"\n'));
  const third = changesOf(
    second.effective,
    await load('[image]\nlayers = "directory"\n[log]\nlevel = "warn"\n'),
  );
  assert.deepEqual(keysOf(third.restartNeeded), ['image.layers']);
  const fourth = changesOf(third.effective, await load('[image]\nlayers = "erofs"\n[log]\nlevel = "warn"\n'));
  assert.deepEqual([fourth.applied, fourth.restartNeeded], [[], []]);
});

test('the default, written or not, in another order or at other lines, is no change', async () => {
  const running = await load('[log]\nlevel = "info"\n[image]\nkeep_blobs = false\n');
  const next = await load('\n\n[container.rlimits]\nnofile = "1024:524288"\n');
  const { effective, applied, restartNeeded } = changesOf(running, next);
  assert.deepEqual([applied, restartNeeded], [[], []]);
  assert.deepEqual(effective.config, running.config);
});

test('entries of tables: added, also without an option, changed and removed', async () => {
  const running = await load(
    '[runtime.handlers.a]\npath = "/a"\n[runtime.handlers.b]\n[image.registries."x.example"]\ninsecure = true\n',
  );
  const next = await load('[runtime.handlers.a]\npath = "/b"\n[runtime.handlers.c]\n');
  const { effective, applied, restartNeeded } = changesOf(running, next);
  assert.deepEqual(keysOf(applied).sort(), [
    'image.registries.x.example',
    'image.registries.x.example.insecure',
    'runtime.handlers.a.path',
    'runtime.handlers.b',
    'runtime.handlers.c',
  ]);
  assert.deepEqual(restartNeeded, []);
  assert.deepEqual(Object.keys(effective.config.runtime.handlers), ['a', 'c']);
});

test('the mark is on each option of a marked section or table', () => {
  const marks = (...keys: string[]) => keys.map((key) => optionAt(key.split('.'))?.reloadable ?? false);
  const live = ['log.level', 'metrics.tls_key_file', 'container.rlimits.nproc', 'runtime.handlers.x.path'];
  assert.deepEqual(marks(...live, 'image.registries.x.mirrors', 'cni.timeout'), Array(6).fill(true));
  assert.deepEqual(marks('root', 'socket_mode', 'streaming.address', 'image.layers'), Array(4).fill(false));
});
