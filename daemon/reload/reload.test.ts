import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { loadConfig } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import { type ReloadPart, reload } from './reload.ts';
import { RunningConfig } from './running-config.ts';

const directory = mkdtempSync(join(tmpdir(), 'reload-'));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'crisp.toml');

/** A daemon of two parts, and what has been done, in order. */
async function stand(refuse?: CrispError, bug?: Error) {
  const load = () => loadConfig({ requiredFiles: [file] });
  writeFileSync(file, '');
  const loaded = await load();
  const running = new RunningConfig(loaded, { ...loaded.config, root: '/resolved' });
  const done: string[] = [];
  const part =
    (name: string, refused?: CrispError): ReloadPart =>
    async ({ config }) => {
      done.push(`prepare ${name} ${config.log.level} ${config.root}`);
      if (refused) throw refused;
      const apply = () => {
        done.push(`apply ${name}`);
        if (bug && name === 'one') throw bug;
      };
      return { apply, discard: () => void done.push(`discard ${name}`) };
    };
  const manager = {
    reloading: async () => void done.push('RELOADING'),
    ready: async (status: string) => void done.push(`READY ${status}`),
  };
  const logged: string[] = [];
  const note = (_fields: object, message: string) => void logged.push(message);
  const log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const parts = [part('one'), part('two', refuse)];
  const again = (text: string) => {
    writeFileSync(file, text);
    return reload({ load, running, parts, manager, status: 'serving', log });
  };
  const missing = () => {
    rmSync(file);
    const none = () => loadConfig({ files: [file] });
    return reload({ load: none, running, parts, manager, status: 'serving', log });
  };
  return { running, done, logged, again, missing };
}

test('a file that is not there any more is refused: it may be about to be replaced', async () => {
  const { running, done, missing } = await stand();
  await assert.rejects(missing(), /crisp\.toml is not there any more/);
  assert.ok(
    done.every((line) => !/^(prepare|apply)/.test(line)),
    done.join(),
  );
  assert.match(running.refused ?? '', /not there/);
});

test('where a part fails to change in spite of its check, the others change, and the reload fails', async () => {
  const { running, done, again } = await stand(undefined, new Error('a bug'));
  await assert.rejects(again('[log]\nlevel = "warn"\n'), { code: 'Internal', message: /in part: .*a bug/ });
  assert.ok(done.includes('apply two'));
  assert.equal(running.loaded.config.log.level, 'warn');
});

test('all parts are prepared before the first is changed, and the service manager is notified around it', async () => {
  const { running, done, logged, again } = await stand();
  const reply = await again('root = "/other"\n[log]\nlevel = "warn"\n');
  assert.deepEqual(reply.applied, [{ key: 'log.level', origin: `${file}:3` }]);
  assert.deepEqual(reply.restartNeeded, [{ key: 'root', origin: `${file}:1` }]);
  assert.deepEqual(done, [
    'RELOADING',
    'prepare one warn /resolved',
    'prepare two warn /resolved',
    'apply one',
    'apply two',
    'READY serving',
  ]);
  assert.equal(running.loaded.config.log.level, 'warn');
  assert.deepEqual(logged, ['configuration reloaded', `restart needed for: root (${file}:1)`]);
});

test('where one part refuses, what is prepared is discarded and nothing changes', async () => {
  const { running, done, again } = await stand(new CrispError('InvalidArgument', 'log.level: too quiet'));
  await assert.rejects(again('[log]\nlevel = "warn"\n'), (error: Error) => {
    assert.equal(error.message, `${file}:2: log.level: too quiet`);
    return true;
  });
  assert.deepEqual(done.slice(3), [
    'discard one',
    `READY serving; reload refused: ${file}:2: log.level: too quiet`,
  ]);
  assert.equal(running.loaded.config.log.level, 'info');
  assert.equal(running.refused, `${file}:2: log.level: too quiet`);
});

test('a file that is wrong reaches no part; the next one that is not is no longer refused', async () => {
  const { running, done, again } = await stand();
  await assert.rejects(again('[log]\nlevel = "loud"\n'), /crisp\.toml:2: log\.level must be/);
  assert.deepEqual(
    done.map((line) => line.split(' ')[0]),
    ['RELOADING', 'READY'],
  );
  await again('');
  assert.equal(running.refused, undefined);
  assert.equal(done.at(-1), 'READY serving');
});
