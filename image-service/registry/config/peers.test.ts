/**
 * What crisp asks by the files in test/fixtures/registry-files, which are those of the products' documentation, compared with
 * what the peer asked by the same file. The lists were recorded from skopeo and ctr against servers that answer 404.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseReference } from '../../image/reference.ts';
import type { Endpoint } from '../endpoint.ts';
import { mayAsk, requestUrl } from '../endpoint-url.ts';
import { RegistryConfig } from './registry-config.ts';

const FILES = join(import.meta.dirname, '../../../test/fixtures/registry-files');
const DIGEST = `sha256:${'e3b0c44298fc1c149afbf4c8996fb924'}27ae41e4649b934ca495991b7852b855`;

interface Case {
  readonly name: string;
  readonly about: string;
  readonly image: string;
  readonly peer: string;
  /** The hosts that answer by http only. */
  readonly plain: readonly string[];
  readonly tag: readonly string[];
  readonly digest: readonly string[];
  readonly blob: readonly string[];
}

const cases = JSON.parse(readFileSync(join(FILES, 'asked.json'), 'utf8')) as readonly Case[];

/** The endpoints that answer: what is insecure is listed with https and http, of which a host answers one. */
function answering(endpoints: readonly Endpoint[], plain: readonly string[]): Endpoint[] {
  return endpoints.filter(({ origin, host, trust }, index) => {
    const [before, after] = [endpoints[index - 1], endpoints[index + 1]];
    if (trust.skipVerify && after?.origin === `http://${host}`) return !plain.includes(host);
    if (before?.trust.skipVerify && before.host === host && origin.startsWith('http:'))
      return plain.includes(host);
    return true;
  });
}

async function asked({ name, plain }: Case, reference: string, content: string): Promise<string[]> {
  const path = join(FILES, name, 'registries.conf');
  const config = new RegistryConfig({
    registries: {},
    hostsDirectories: [join(FILES, name, 'certs.d')],
    registriesConf: {
      path: existsSync(path) ? path : '',
      required: true,
      dropIns: join(FILES, name, 'registries.conf.d'),
    },
  });
  try {
    const endpoints = await config.endpoints(parseReference(reference));
    const urls = answering(endpoints, plain)
      .filter((endpoint) => mayAsk(endpoint, content))
      .map((endpoint) => requestUrl(endpoint, content).replace(DIGEST, 'DIGEST'));
    return [...new Set(urls)]; // a server that is listed twice is asked twice, by the peer, too
  } catch (error) {
    assert.ok(hasCode(error, 'PermissionDenied'), String(error));
    return [];
  }
}

for (const one of cases) {
  test(`${one.name}: ${one.about}`, async () => {
    assert.deepEqual(await asked(one, `${one.image}:1.0`, 'manifests/1.0'), one.tag);
    assert.deepEqual(await asked(one, `${one.image}@${DIGEST}`, `manifests/${DIGEST}`), one.digest);
    // skopeo takes the blobs of a tag where it has the manifest from.
    const reference = one.peer.startsWith('skopeo') ? `${one.image}:1.0` : `${one.image}@${DIGEST}`;
    const blobs = await asked(one, reference, `blobs/${DIGEST}`);
    const recorded = new Set(one.blob);
    assert.deepEqual(
      blobs.filter((url) => recorded.has(url)),
      one.blob,
    );
  });
}

test('at least twenty files of each kind of product are compared', () => {
  assert.ok(cases.length >= 30);
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
});
