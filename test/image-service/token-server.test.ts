/** What registries require before they serve, in the forms that they have in the field. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { type Front, type Rule, startFront } from './front.ts';
import { answer, fails, isBlob, type Scene, scene } from './scene.ts';
import { operation, startService } from './service.ts';
import { makeAuthority } from './tls.ts';

const login = { username: 'u', password: 'hunter2' };
const isApi = (url: string | undefined) => url === '/v2/';

/** Requires a bearer token `good` for its content, by this challenge. */
const guarded =
  (challenge: (req: IncomingMessage) => string | string[] | undefined, status = 401): Rule =>
  (req, res) => {
    if (req.headers.authorization === 'Bearer good') return false;
    const header = challenge(req);
    res
      .writeHead(isApi(req.url) ? 401 : status, header === undefined ? {} : { 'www-authenticate': header })
      .end();
    return true;
  };

/** A token server, and the scopes that it was asked for. */
async function startTokens(at: Scene, reply: object = { token: 'good' }) {
  const scopes: string[][] = [];
  const front = await startFront(at.registry, (req, res) => {
    scopes.push(new URL(req.url ?? '', 'http://x').searchParams.getAll('scope'));
    res.writeHead(200).end(JSON.stringify(reply));
    return true;
  });
  return { front, scopes, [Symbol.asyncDispose]: () => front[Symbol.asyncDispose]() };
}

test('the scopes of the challenge are requested, and else that of the repository', async () => {
  await using at = await scene();
  await using tokens = await startTokens(at);
  for (const [scope, wanted] of [
    [',scope="repository:proxy/library/app:pull"', ['repository:proxy/library/app:pull']],
    [',scope="repository:a:pull,push repository:b:pull"', ['repository:a:pull,push', 'repository:b:pull']],
    [',scope=""', ['repository:app:pull']],
    ['', ['repository:app:pull']],
  ] as const) {
    tokens.scopes.length = 0;
    at.front.rule = guarded(() => `Bearer realm="${tokens.front.url}/token"${scope}`);
    await at.pull();
    assert.deepEqual(tokens.scopes, [wanted], scope);
  }
});

test('tokens of every legal form, and those that are not', async () => {
  await using at = await scene();
  let reply: string = '';
  await using tokens = await startFront(at.registry, (_, res) => !!res.writeHead(200).end(reply));
  at.front.rule = guarded(() => `Bearer realm="${tokens.url}/token"`);
  for (const form of [
    { access_token: 'good' },
    { token: 'good', access_token: 'other' },
    { token: 'good', expires_in: '300' },
    { token: 'good', expires_in: 0, issued_at: '2020-01-01T00:00:00Z' },
  ]) {
    reply = JSON.stringify(form);
    await at.pull();
  }
  for (const [text, word] of [
    ['<html>', 'JSON'],
    ['{}', 'no token'],
    ['{"token":"hunter2 ü"}', 'characters'],
    [`{"token":"${'x'.repeat(2 << 20)}"}`, 'more than'],
  ] as const) {
    reply = text;
    const error = await fails(at.pull(), 'Unauthenticated', '401', tokens.url, word);
    assert.ok(!error.message.includes('hunter2'));
  }
});

test('a token server that is not where the challenge says is what the remedy names', async () => {
  await using at = await scene();
  await using tokens = await startFront(at.registry, answer(404));
  at.front.rule = guarded(() => `Bearer realm="${tokens.url}/token"`);
  const error = await fails(at.pull(), 'Unauthenticated', `${tokens.url}/token`, '404');
  assert.match(error.hint, /token server/);
});

test('a token server that knows only one form of a login', async () => {
  await using at = await scene();
  let refused = 'GET';
  const bodies: string[] = [];
  await using tokens = await startFront(at.registry, async (req, res) => {
    let body = '';
    for await (const piece of req) body += piece;
    bodies.push(`${req.method} ${req.headers.authorization ?? '-'} ${body}`);
    if (req.method === refused) res.writeHead(405).end();
    else res.writeHead(200).end('{"token":"good"}');
    return true;
  });
  at.front.rule = guarded(() => `Bearer realm="${tokens.url}/token",service="s"`);
  await at.pull(login);
  assert.match(
    bodies[1] ?? '',
    /^POST - grant_type=password&username=u&password=hunter2&client_id=crisp&scope=.*service=s/,
  );
  bodies.length = 0;
  refused = 'POST';
  await at.pull({ identityToken: 'refresh' });
  assert.match(bodies[1] ?? '', /^GET Basic /);
});

test('a public image is pulled whatever its registry offers besides', async () => {
  await using at = await scene();
  await using tokens = await startTokens(at);
  const realm = `${tokens.front.url}/token`;
  for (const challenge of [
    `Negotiate, Basic realm="x", Bearer realm="${realm}"`,
    ['Basic realm="x"', `Bearer realm="${realm}"`],
    ['Negotiate YII=', `bearer REALM=${realm}`],
    `Bearer realm="http://127.0.0.1:1/token", Bearer realm="${realm}"`,
    `Bearer realm="", Bearer realm="${realm}";service="x"`,
  ]) {
    at.front.rule = guarded(() => challenge);
    await at.pull();
  }
  for (const [challenge, ...words] of [
    ['Bearer realm="not a url"', 'token server'],
    ['Bearer', 'token server'],
    ['Bearer realm="unclosed', 'token server'],
    ['NTLM', 'not supported', 'ntlm'],
    [undefined, 'no way to log in'],
    ['Basic realm="x"'],
  ] as const) {
    at.front.rule = guarded(() => challenge);
    await fails(at.pull(), 'Unauthenticated', '401', at.front.url, ...words);
  }
});

test('a registry that makes its challenge at /v2/ alone', async () => {
  await using at = await scene();
  await using tokens = await startTokens(at);
  const challenge = `Bearer realm="${tokens.front.url}/token"`;
  for (const status of [401, 403, 404]) {
    at.front.rule = guarded(({ url }) => (isApi(url) ? challenge : undefined), status);
    at.front.seen.length = 0;
    await at.pull();
    assert.equal(at.front.seen.filter(({ url }) => isApi(url)).length, 1, 'once in a pull');
  }
  at.front.rule = (req, res, forward) => !isApi(req.url) && answer(404)(req, res, forward);
  await fails(at.pull(), 'NotFound', '404');
  at.front.rule = (req, res, forward) => answer(isApi(req.url) ? 500 : 403)(req, res, forward);
  await fails(at.pull(), 'PermissionDenied', '403');
});

let nodes = 0;

/** A front with TLS and the service that trusts it as reg.example. */
async function secureScene(at: Scene, rule?: Rule, more = {}) {
  await using stack = new AsyncDisposableStack();
  const authority = makeAuthority(join(at.directory, 'tls'), 'root');
  const pair = authority.issue('server', ['IP:127.0.0.1', 'IP:127.0.0.2']);
  const start = async (own?: Rule, address = '127.0.0.1') =>
    stack.use(await startFront(at.registry, own, address, pair));
  const [front, other] = [await start(rule), await start(undefined, '127.0.0.2')];
  const trusted = ({ url }: Front) => [{ url, caFile: authority.certFile }];
  const registries = {
    'reg.example': trusted(front),
    [front.host]: trusted(front),
    [other.host]: trusted(other),
  };
  const owned = stack.move();
  return {
    front,
    other,
    /** Each pull is that of a node without any content. */
    async pull(auth?: object) {
      await using node = await startService(join(at.directory, `node${nodes++}`), { registries, ...more });
      const own = auth ? { auth: { serverAddress: front.host, ...auth } } : {};
      return await node.service.pull({ reference: 'reg.example/app:v1', ...own }, operation('pull'));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('an https registry whose realm is http on its own host gets the login by https alone', async () => {
  await using at = await scene();
  const logins: string[] = [];
  await using plain = await startFront(at.registry, (req, res) => {
    logins.push(`http ${req.headers.authorization ?? '-'}`);
    res.writeHead(307, { location: `${secure.front.url}${req.url}` }).end();
    return true;
  });
  let realm = '';
  await using secure = await secureScene(at, (req, res, forward) => {
    if (!req.url?.startsWith('/token')) return guarded(() => `Bearer realm="${realm}"`)(req, res, forward);
    logins.push(`https ${req.headers.authorization ?? '-'}`);
    res.writeHead(200).end('{"token":"good"}');
    return true;
  });
  // Its own address, with the wrong scheme: asked by https.
  realm = `http://${secure.front.host}/token`;
  await secure.pull();
  await secure.pull(login);
  assert.deepEqual(logins, ['https -', `https Basic ${Buffer.from('u:hunter2').toString('base64')}`]);
  // A plain server on its host, which redirects to https.
  logins.length = 0;
  realm = `${plain.url}/token`;
  await secure.pull();
  await secure.pull(login);
  assert.deepEqual(logins, [
    'http -',
    'https -',
    'http -',
    `https Basic ${Buffer.from('u:hunter2').toString('base64')}`,
  ]);
});

test('a token server by http on another host gets no login', async () => {
  await using at = await scene();
  await using tokens = await startFront(at.registry, undefined, '127.0.0.3');
  await using secure = await secureScene(
    at,
    guarded(() => `Bearer realm="${tokens.url}/token"`),
  );
  tokens.rule = (_, res) => !!res.writeHead(200).end('{"token":"good"}');
  await secure.pull();
  await secure.pull(login);
  tokens.rule = answer(401);
  const error = await fails(secure.pull(login), 'Unauthenticated', tokens.url, 'not encrypted');
  assert.ok(!error.message.includes('hunter2'));
  for (const { method, authorization } of tokens.seen)
    assert.deepEqual([method, authorization], ['GET', undefined]);
});

test('blobs redirected from https to http are followed without the login, tags are not', async () => {
  await using at = await scene();
  await using store = await startFront(at.registry);
  let what = isBlob;
  const basic = `Basic ${Buffer.from('u:hunter2').toString('base64')}`;
  await using secure = await secureScene(at, (req, res) => {
    if (req.headers.authorization !== basic)
      res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else if (what(req.url))
      res.writeHead(307, { location: `${store.url}${req.url}?X-Amz-Signature=s` }).end();
    else return false;
    return true;
  });
  await secure.pull(login);
  assert.ok(store.seen.length > 0);
  for (const { authorization, url } of store.seen) {
    assert.equal(authorization, undefined);
    assert.match(url, /X-Amz-Signature=s/);
  }
  what = (url) => url?.includes('/manifests/') ?? false;
  await fails(secure.pull(login), 'FailedPrecondition', 'https down to http');
});

test("the target of a redirect gets its own login or none, never the registry's", async () => {
  await using at = await scene();
  const authFile = join(at.directory, 'auth.json');
  const own = `Basic ${Buffer.from('own:own').toString('base64')}`;
  await using secure = await secureScene(at, undefined, { authFiles: [authFile] });
  await using tokens = await startTokens(at);
  writeFileSync(authFile, '{}');
  secure.front.rule = (req, res) => {
    if (!isBlob(req.url)) return false;
    res.writeHead(307, { location: `${secure.other.url}${req.url}` }).end();
    return true;
  };
  // Its own realm, by an anonymous token.
  secure.other.rule = guarded(() => `Bearer realm="${tokens.front.url}/token",scope="blobs"`);
  await secure.pull(login);
  assert.deepEqual(tokens.scopes[0], ['blobs']);
  for (const { authorization } of tokens.front.seen) assert.equal(authorization, undefined);
  // Its own entry.
  writeFileSync(
    authFile,
    JSON.stringify({ auths: { [secure.other.host]: { auth: Buffer.from('own:own').toString('base64') } } }),
  );
  secure.other.rule = (req, res) => {
    if (req.headers.authorization === own) return !delete req.headers.authorization;
    res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };
  await secure.pull(login);
  for (const { authorization } of secure.other.seen)
    assert.ok([undefined, own, 'Bearer good'].includes(authorization), authorization);
  assert.ok(secure.other.seen.some(({ authorization }) => authorization === own));
});
