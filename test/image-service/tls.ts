/** Certificate authorities and certificates made by openssl, for servers on loopback. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Pair {
  /** A certificate for these names (`IP:127.0.0.1`, `DNS:registry.test`), valid for this many days; negative: expired. */
  issue(name: string, names: readonly string[], days?: number, constraints?: string): Pair;
}

const KEY = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'.split(' ');

/** A root, or the authority that `given` is. */
export function makeAuthority(directory: string, name: string, given?: Pair): Authority {
  const own = given ?? pathsIn(directory, name);
  if (!given) makeRoot(own, name);
  return {
    ...read(own),
    issue(subject, names, days = 2, constraints = 'CA:FALSE') {
      const made = pathsIn(directory, `${name}-${subject}`);
      const [request, extensions] = [`${made.certFile}.csr`, `${made.certFile}.ext`];
      openssl('req', '-new', ...KEY, '-subj', `/CN=${subject}`, '-keyout', made.keyFile, '-out', request);
      const alternative = names.length > 0 ? `subjectAltName=${names.join(',')}\n` : '';
      writeFileSync(extensions, `${alternative}basicConstraints=${constraints}\n`);
      const signing = ['-CA', own.certFile, '-CAkey', own.keyFile, '-CAcreateserial', '-days', `${days}`];
      openssl('x509', '-req', '-in', request, ...signing, '-extfile', extensions, '-out', made.certFile);
      return read(made);
    },
  };
}

function makeRoot(own: { certFile: string; keyFile: string }, name: string): void {
  openssl(
    'req',
    '-x509',
    ...KEY,
    '-days',
    '2',
    '-subj',
    `/O=Test/CN=${name}`,
    '-keyout',
    own.keyFile,
    '-out',
    own.certFile,
  );
}

function pathsIn(directory: string, name: string): { certFile: string; keyFile: string } {
  mkdirSync(directory, { recursive: true });
  return { certFile: join(directory, `${name}.pem`), keyFile: join(directory, `${name}.key`) };
}

const read = ({ certFile, keyFile }: { certFile: string; keyFile: string }): Pair => ({
  certFile,
  keyFile,
  cert: readFileSync(certFile, 'utf8'),
  key: readFileSync(keyFile, 'utf8'),
});

function openssl(...argv: string[]): void {
  const { status, stderr } = spawnSync('openssl', argv, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}
