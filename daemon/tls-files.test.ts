import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { loadConfig } from '#config/index.ts';
import { readTls } from './tls-files.ts';

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
