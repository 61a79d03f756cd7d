import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate of its own authority, for 127.0.0.1, with its key: as files and as text. */
export interface MadeCertificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export function makeCertificate(directory: string, name: string): MadeCertificate {
  mkdirSync(directory, { recursive: true });
  const [certFile, keyFile] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  const argv = ['req', '-x509', ...kind, ...names, '-out', certFile, '-keyout', keyFile];
  const { status, stderr } = spawnSync('openssl', argv, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
}
