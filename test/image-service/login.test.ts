/** Mirrors and credentials: which hosts get requests, and which credentials are never sent. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { pushImage } from '../harness/images.ts';
import { type Rule, startFront } from './front.ts';
import { freePort, startRegistry } from './registry.ts';
import { answer, fails, image, isBlob, scene } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';

test('mirrors are asked in order, the last one decides', async () => {
  await using at = await scene();
  await using first = await startFront(at.registry, answer(404));
  await using second = await startFront(at.registry, answer(503));
  const registries = { 'reg.example': [first, second, at.front].map(({ url }) => ({ url })) };
  await using service = await startService(join(at.directory, 'mirrored'), { registries, attempts: 1 });
  const pull = () =>
    service.service.pull(
      { reference: 'reg.example/app:v1', auth: { username: 'u', password: 'pw' } },
      operation('pull'),
    );
  const pulled = await pull();
  assert.deepEqual(pulled.repoTags, ['reg.example/app:v1']);
  assert.ok(first.seen.length > 0 && second.seen.length > 0);
  // The layers come from where the manifest was.
  assert.equal(
    first.seen.some(({ url }) => isBlob(url)),
    false,
  );
  for (const { authorization } of [...first.seen, ...second.seen, ...at.front.seen])
    assert.equal(authorization, undefined);
  at.front.rule = answer(500);
  const error = await fails(pull(), 'NotFound', first.url, second.url, at.front.url);
  assert.ok(!error.message.includes('pw'));
});

test('a login of the registry itself', async () => {
  using directory = testDirectory();
  await using registry = await startRegistry(join(directory.path, 'registry'), { login: true });
  await using front = await startFront(registry.url, (req) => {
    req.headers.authorization ??= `Basic ${Buffer.from('user:secret').toString('base64')}`;
    return false;
  });
  await pushImage(front.url, 'app', 'v1', image);
  await using at = await startService(join(directory.path, 'images'));
  const reference = `${registry.host}/app:v1`;
  const pull = (auth?: object) =>
    at.service.pull({ reference, ...(auth ? { auth } : {}) }, operation('pull'));
  await fails(pull(), 'Unauthenticated', registry.url);
  const wrong = await fails(pull({ username: 'user', password: 'hunter2' }), 'Unauthenticated');
  assert.ok(!`${wrong.message}${wrong.hint}`.includes('hunter2'));
  await fails(
    pull({ username: 'user', password: 'secret', serverAddress: 'elsewhere:5000' }),
    'Unauthenticated',
  );
  const auth = `${Buffer.from('user:secret').toString('base64')}`;
  const pulled = await pull({ auth });
  // The image is here now; a pull still queries the registry.
  await fails(pull(), 'Unauthenticated');
  assert.equal(
    ((await pull({ username: 'user', password: 'secret' })) as { id: string }).id,
    (pulled as { id: string }).id,
  );
});

test('tokens: one per pull, each form of credential', async () => {
  await using at = await scene();
  const asked: string[] = [];
  let wanted = '';
  await using tokens = await startFront(at.registry, async (req, res) => {
    let body = '';
    for await (const piece of req) body += piece;
    asked.push(`${req.method} ${req.headers.authorization ?? '-'} ${req.url} ${body}`);
    res.writeHead(200).end(JSON.stringify({ token: wanted, expires_in: 300 }));
    return true;
  });
  at.front.rule = (req, res) => {
    if (req.headers.authorization === `Bearer ${wanted}`) return false;
    res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.url}/token",service="test"` }).end();
    return true;
  };
  wanted = 'anonymous';
  await at.pull();
  assert.deepEqual(asked, ['GET - /token?scope=repository%3Aapp%3Apull&service=test ']);
  wanted = 'basic';
  await at.pull({ username: 'u', password: 'p' });
  assert.match(asked[1] ?? '', /^GET Basic dTpw /);
  wanted = 'refreshed';
  await at.pull({ identityToken: 'refresh-me' });
  assert.match(asked[2] ?? '', /^POST - \/token .*grant_type=refresh_token.*refresh_token=refresh-me/);
  wanted = 'direct';
  await at.pull({ registryToken: 'direct' });
  assert.equal(asked.length, 3);
  await fails(at.pull({ registryToken: 'stale' }), 'Unauthenticated');
});

test('credentials do not follow a redirect', async () => {
  await using at = await scene();
  await using elsewhere = await startFront(at.registry);
  at.front.rule = (req, res) => {
    if (!req.headers.authorization) res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else if (isBlob(req.url)) res.writeHead(307, { location: `${elsewhere.url}${req.url}` }).end();
    else {
      delete req.headers.authorization;
      return false;
    }
    return true;
  };
  await at.pull({ username: 'u', password: 'p' });
  assert.ok(elsewhere.seen.length > 0);
  for (const { authorization } of elsewhere.seen) assert.equal(authorization, undefined);
  at.front.rule = (req, res, forward) => answer(302, { location: req.url ?? '/' })(req, res, forward);
  await fails(at.pull(), 'FailedPrecondition', 'more than 5 redirects');
  for (const headers of [{ location: 'file:///etc/passwd' }, { location: 'http://[::1' }, {}]) {
    at.front.rule = answer(302, headers as Record<string, string>);
    const error = await fails(at.pull(), 'FailedPrecondition', 'a redirect without a valid location');
    assert.match(error.hint, /registry/);
  }
});

/** A server that answers each request with this challenge, and records what is sent to it. */
const challenging = (at: { registry: string }, challenge: () => string) =>
  startFront(at.registry, (req, res, forward) =>
    answer(401, { 'www-authenticate': challenge() })(req, res, forward),
  );

const forms = {
  basic: { username: 'u', password: 'secret' },
  refresh: { identityToken: 'secret-refresh' },
  bearer: { registryToken: 'secret-bearer' },
  none: undefined,
};

test("a redirect's target that requires a login is asked anonymously, whatever the form of the registry's credentials", async () => {
  await using at = await scene();
  let realm = '';
  await using thief = await startFront(at.registry, async (req, res) => {
    let text = `${req.url}`;
    for await (const piece of req) text += piece;
    assert.doesNotMatch(text, /secret/);
    res.writeHead(200).end(JSON.stringify({ token: 'stolen' }));
    return true;
  });
  await using elsewhere = await challenging(at, () => realm);
  await using tokens = await startFront(at.registry, async (req, res) => {
    for await (const _ of req);
    res.writeHead(200).end(JSON.stringify({ token: 'good' }));
    return true;
  });
  at.front.rule = (req, res) => {
    if (!req.headers.authorization)
      res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.url}/token"` }).end();
    else if (isBlob(req.url)) res.writeHead(307, { location: `${elsewhere.url}${req.url}` }).end();
    else {
      delete req.headers.authorization;
      return false;
    }
    return true;
  };
  for (realm of [`Bearer realm="${thief.url}/token"`, `Basic realm="x", Bearer realm="${thief.url}/token"`])
    for (const [form, auth] of Object.entries(forms)) {
      const pull = at.pull(auth);
      await pull.catch(() => {});
      for (const { method, authorization } of thief.seen)
        assert.deepEqual([method, authorization], ['GET', undefined], form);
      const error = await fails(pull, 'FailedPrecondition', elsewhere.url, '401');
      assert.ok(!`${error.message} ${error.hint}`.includes('secret'), form);
      assert.match(error.hint, /redirect/, form);
    }
  assert.ok(elsewhere.seen.length > 0);
  for (const { authorization } of elsewhere.seen)
    assert.ok(authorization === undefined || authorization === 'Bearer stolen', authorization);
});

test('a redirect back to the registry is followed without its login', async () => {
  await using at = await scene();
  const paths: string[] = [];
  await using elsewhere = await startFront(at.registry, (_, res) => {
    res.writeHead(307, { location: `${at.front.url}/another/tenant` }).end();
    return true;
  });
  at.front.rule = (req, res) => {
    if (req.url === '/another/tenant') {
      paths.push(req.headers.authorization ?? '-');
      res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    } else if (!req.headers.authorization)
      res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else res.writeHead(307, { location: `${elsewhere.url}${req.url}` }).end();
    return true;
  };
  await fails(at.pull({ username: 'u', password: 'p' }), 'FailedPrecondition', `${at.front.url}`, '401');
  assert.deepEqual(paths, ['-']);
});

test('a refusal by the target of a redirect names the target, not the registry', async () => {
  await using at = await scene();
  await using elsewhere = await startFront(at.registry, answer(403));
  at.front.rule = (req, res) => {
    if (!isBlob(req.url)) return false;
    res.writeHead(307, { location: `${elsewhere.url}${req.url}?signature=secret` }).end();
    return true;
  };
  const error = await fails(at.pull(), 'FailedPrecondition', at.front.url, elsewhere.url, '403');
  assert.ok(!error.message.includes('secret'), 'a signed address is as good as a password');
  elsewhere.rule = answer(404);
  await fails(at.pull(), 'NotFound', at.front.url, elsewhere.url);
});

test('a target of a redirect that cannot be reached is named, not the registry alone', async () => {
  await using at = await scene();
  const gone = `http://127.0.0.1:${await freePort()}`;
  at.front.rule = (req, res) => {
    if (!isBlob(req.url)) return false;
    res.writeHead(307, { location: `${gone}/x?signature=secret` }).end();
    return true;
  };
  const error = await fails(at.pull(), 'RegistryUnavailable', at.front.url, gone, 'ECONNREFUSED');
  assert.ok(!error.message.includes('secret'), 'a signed address is as good as a password');
});

test('redirects of a token server are followed, with the login within its origin alone', async () => {
  await using at = await scene();
  const asked: string[] = [];
  const token: Rule = async (req, res) => {
    let body = '';
    for await (const piece of req) body += piece;
    asked.push(`${req.method} ${req.headers.authorization ?? '-'} ${req.url} ${body}`);
    res.writeHead(200).end(JSON.stringify({ token: 'good' }));
    return true;
  };
  await using other = await startFront(at.registry, token);
  await using tokens = await startFront(at.registry, (req, res, forward) =>
    req.url?.startsWith('/moved')
      ? token(req, res, forward)
      : answer(307, { location: target(req) })(req, res, forward),
  );
  let target = (_: IncomingMessage) => '';
  at.front.rule = (req, res) => {
    delete req.headers.range;
    if (req.headers.authorization === 'Bearer good') return false;
    res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.url}/token"` }).end();
    return true;
  };
  target = (req) => `/moved${req.url}`;
  await at.pull(forms.basic);
  await at.pull(forms.refresh);
  assert.match(asked[0] ?? '', /^GET Basic .* \/moved\/token\?scope=/);
  assert.match(asked[1] ?? '', /^POST - .*refresh_token=secret-refresh/);
  asked.length = 0;
  target = (req) => `${other.url}${req.url}`;
  await at.pull(forms.basic);
  await at.pull(forms.refresh);
  assert.equal(asked.length, 2);
  for (const line of asked) assert.match(line, /^GET - \/token.*scope=repository%3Aapp%3Apull/);
  assert.ok(!asked.join().includes('secret'));
  tokens.rule = (req, res, forward) => answer(302, { location: req.url ?? '' })(req, res, forward);
  await fails(at.pull(forms.basic), 'Unauthenticated', tokens.url, 'redirects', '401');
  // A challenge of the token server is handled neither by it nor by a host that it names.
  asked.length = 0;
  tokens.rule = answer(401, { 'www-authenticate': `Bearer realm="${other.url}/token"` });
  await fails(at.pull(forms.basic), 'Unauthenticated', tokens.url);
  assert.deepEqual(asked, []);
});

test('an address with a password is refused without repeating it', async () => {
  using directory = testDirectory();
  for (const url of [
    'https://user:hunter2@mirror.example',
    'https://:hunter2@mirror.example',
    'https://user:a/hunter2@mirror.example',
  ]) {
    await using at = await startService(join(directory.path, 'images'), {
      registries: { 'reg.example': [{ url }] },
      attempts: 1,
    });
    const pull = at.service.pull({ reference: 'reg.example/app:v1' }, operation('pull'));
    const error = await fails(pull, 'FailedPrecondition', 'reg.example', 'mirror.example');
    assert.ok(!`${error.message}${error.hint}`.includes('hunter2'), error.message);
  }
});
