import assert from 'node:assert/strict';
import test from 'node:test';
import { Authorizer } from './auth.ts';
import type { Endpoint } from './endpoint.ts';
import type { Transport } from './http/transport.ts';
import { systemTrust } from './http/trust.ts';
import { ContentRequests } from './requests.ts';

const endpointOf = (origin: string): Endpoint => ({
  url: origin,
  base: `${origin}/v2`,
  origin,
  host: new URL(origin).host,
  repository: 'app',
  credentialHost: new URL(origin).host,
  trust: systemTrust,
  headers: {},
  namespace: undefined,
  dialTimeoutMs: undefined,
  resolves: true,
  serves: true,
  source: 'default',
});
const query = { path: 'manifests/v1', headers: {}, what: 'manifest v1', verified: false };

test('an abort ends the wait for a credential helper', { timeout: 60_000 }, async () => {
  const asked = Promise.withResolvers<void>();
  const transport = {} as Transport;
  const authorizer = new Authorizer(async () => {
    asked.resolve();
    return new Promise(() => {}); // runs until its own deadline
  }, transport);
  const cancel = new AbortController();
  const requests = new ContentRequests(transport, authorizer);
  const sent = requests.send(endpointOf('https://reg.example'), query, cancel.signal);
  await asked.promise;
  const reason = new Error('cancelled');
  cancel.abort(reason);
  await assert.rejects(sent, (error) => error === reason);
});

test('an abort ends the wait for a token, which other requests may share', { timeout: 60_000 }, async () => {
  const origin = 'https://reg.example';
  const asked = Promise.withResolvers<void>();
  // A registry that requires a token, and a token server that does not reply before its own deadline.
  const transport = {
    noByteMs: 3_600_000,
    request: async (url: URL) => {
      if (url.pathname === '/token') {
        asked.resolve();
        return new Promise(() => {});
      }
      const headers = { 'www-authenticate': `Bearer realm="${origin}/token"` };
      return { statusCode: 401, headers, body: (async function* () {})(), proxy: undefined };
    },
  } as unknown as Transport;
  const authorizer = new Authorizer(
    async () => ({ credential: undefined, source: undefined, problems: [] }),
    transport,
  );
  const cancel = new AbortController();
  const sent = new ContentRequests(transport, authorizer).send(endpointOf(origin), query, cancel.signal);
  await asked.promise;
  const reason = new Error('cancelled');
  cancel.abort(reason);
  await assert.rejects(sent, (error) => error === reason);
});
