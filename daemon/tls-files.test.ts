import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { loadConfig } from '#config/index.ts';
import { checkAuthorities, readTls } from './tls-files.ts';

const directory = mkdtempSync(join(tmpdir(), 'tls-files-'));
after(() => rmSync(directory, { recursive: true }));
const at = (name: string): string => join(directory, name);

/** A certificate with a key of so many bits, signed by itself. */
function make(name: string, bits: number): { cert: string; key: string } {
  const made = { cert: at(`${name}.crt`), key: at(`${name}.key`) };
  const subject = ['-subj', `/CN=${name}`, '-days', '2', '-nodes'];
  const files = ['-keyout', made.key, '-out', made.cert];
  execFileSync('openssl', ['req', '-x509', '-newkey', `rsa:${bits}`, ...subject, ...files], {
    stdio: 'ignore',
  });
  return made;
}

async function read({ cert, key }: { cert: string; key: string }) {
  const file = at('crisp.toml');
  writeFileSync(file, `[metrics]\ntls_cert_file = "${cert}"\ntls_key_file = "${key}"\n`);
  return readTls((await loadConfig({ requiredFiles: [file] })).config, 'metrics');
}

test('what TLS does not take is refused when it is read: a short key, a chain that is written in part', async () => {
  const good = make('good', 2048);
  assert.equal((await read(good))?.cert, readFileSync(good.cert, 'utf8'));
  const refused = { code: 'InvalidArgument', message: /^metrics\.tls_cert_file: / };
  await assert.rejects(read(make('short', 1024)), refused);
  appendFileSync(good.cert, '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n');
  await assert.rejects(read(good), refused);
});

test('a missing authority that is in effect refuses no reload; a new one does', async () => {
  const configWith = async (...pairs: readonly [host: string, caFile: string][]) => {
    const file = at('authorities.toml');
    writeFileSync(
      file,
      pairs.map(([host, ca]) => `[image.registries."${host}"]\nca_file = "${ca}"\n`).join(''),
    );
    return (await loadConfig({ requiredFiles: [file] })).config;
  };
  const started = await configWith(['r.example', '/none.pem']);
  checkAuthorities(started, started);
  const refused = (option: string) => ({
    code: 'InvalidArgument',
    message: new RegExp(`^image\\.registries\\.${option}\\.ca_file: `),
  });
  const another = await configWith(['r.example', '/other.pem']);
  assert.throws(() => checkAuthorities(another, started), refused('r\\.example'));
  const more = await configWith(['r.example', '/none.pem'], ['s.example', '/none.pem']);
  assert.throws(() => checkAuthorities(more, started), refused('s\\.example'));
});
