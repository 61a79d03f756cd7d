import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { loadConfig } from '#config/index.ts';
import { imageOptions } from './options.ts';

async function options(text: string, environment: NodeJS.ProcessEnv = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'options-'));
  const file = join(directory, 'crisp.toml');
  try {
    writeFileSync(file, text);
    const { config, settings } = await loadConfig({ requiredFiles: [file] });
    return { file, ...imageOptions(config, settings, environment) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('the endpoints of the table have their file and line', async () => {
  const { file, registries } = await options(
    '[image.registries."docker.io"]\ninsecure = false\nmirrors = ["m.example/proxy"]\n',
  );
  assert.deepEqual(
    registries['docker.io']?.map(({ url, source }) => [url, source]),
    [
      ['https://m.example/v2/proxy', `${file}:3`],
      ['https://registry-1.docker.io', `${file}:1`],
    ],
  );
  await assert.rejects(options('\n[image.registries.myregistry]\n'), /crisp\.toml:2: .*"myregistry"/);
});

test('registries.conf is the one that the configuration, or the environment, names', async () => {
  const named = { CONTAINERS_REGISTRIES_CONF: '/env.conf' };
  const usual = '/etc/containers/registries.conf';
  for (const [text, environment, path, required] of [
    ['', {}, usual, false],
    ['', { CONTAINERS_REGISTRIES_CONF: '' }, usual, false],
    ['', named, '/env.conf', true],
    ['[image]\nregistries_conf = "/own.conf"\n', named, '/own.conf', true],
    [`[image]\nregistries_conf = "${usual}"\n`, named, usual, true],
    ['[image]\nregistries_conf = ""\n', named, '', true],
  ] as const) {
    const { registriesConf } = await options(text, environment);
    assert.deepEqual(registriesConf, { path, required, dropIns: `${usual}.d` }, text);
  }
});
