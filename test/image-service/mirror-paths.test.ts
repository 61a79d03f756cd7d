/** Mirrors under a path, as Harbor and Artifactory have them: what is asked, and the scope of the token. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { type ImageServiceOptions, ownTable } from '#image-service/index.ts';
import { pushImage } from '../harness/images.ts';
import { type Front, startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { image } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';

type Options = Partial<ImageServiceOptions>;

/** A registry whose only repository is that of the scope; its tokens are for that alone. */
async function guarded(
  directory: string,
  repository: string,
  before = '',
): Promise<AsyncDisposable & { front: Front }> {
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await startRegistry(join(directory, 'registry')));
  await pushImage(registry.url, repository, 'v1', image);
  const scope = `repository:${repository}:pull`;
  const front: Front = stack.use(
    await startFront(registry.url, (req, res) => {
      const url = new URL(req.url ?? '', front.url);
      if (url.pathname === '/token') {
        const granted = url.searchParams.get('scope') === scope;
        res.writeHead(granted ? 200 : 403).end(granted ? '{"token":"granted"}' : '{}');
        return true;
      }
      if (req.headers.authorization !== 'Bearer granted') {
        const challenge = `Bearer realm="${front.url}/token",service="front",scope="${scope}"`;
        res.writeHead(401, { 'www-authenticate': challenge }).end();
        return true;
      }
      if (url.pathname.startsWith(`${before}/v2/${repository}/`)) {
        req.url = url.pathname.slice(before.length);
        return false;
      }
      res.writeHead(404).end();
      return true;
    }),
  );
  const owned = stack.move();
  return { front, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function mirrored(mirror: string): Options {
  const entry = { mirrors: [mirror], insecure: true, skipVerify: false, caFile: '' };
  return { registries: ownTable({ 'docker.io': entry }, () => 'crisp.toml:1') };
}

function hostsToml(directory: string, text: string): Options {
  mkdirSync(join(directory, 'certs.d/docker.io'), { recursive: true });
  writeFileSync(join(directory, 'certs.d/docker.io/hosts.toml'), text);
  return { hostsDirectories: [join(directory, 'certs.d')] };
}

function registriesConf(directory: string, location: string): Options {
  const path = join(directory, 'registries.conf');
  writeFileSync(
    path,
    `[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "${location}"\ninsecure = true\n`,
  );
  return { registriesConf: { path, required: true, dropIns: '' } };
}

async function pullsFrom(front: Front, directory: string, options: Options, start: string): Promise<void> {
  await using at = await startService(join(directory, 'images'), { attempts: 1, ...options });
  front.seen.length = 0;
  const pulled = await at.service.pull({ reference: 'busybox:v1' }, operation('pull'));
  assert.deepEqual(pulled.repoTags, ['docker.io/library/busybox:v1']);
  const content = front.seen.filter(({ url }) => /\/(manifests|blobs)\//.test(url));
  assert.ok(content.length >= 3);
  for (const { url } of content) assert.ok(url.startsWith(start), url);
  const asked = content.map(({ url }) => new URL(url, front.url).searchParams.get('ns'));
  // A mirror of registries.conf is asked as if it were the registry.
  assert.deepEqual([...new Set(asked)], [options.registriesConf ? null : 'docker.io']);
}

const override = (url: string) => `[host."${url}"]\noverride_path = true\n`;

test('a proxy project of Harbor, in each of the files that name it', async () => {
  for (const options of [
    ({ host }: Front) => mirrored(`${host}/proxy`),
    ({ url }: Front) => mirrored(`${url}/v2/proxy`),
    ({ url }: Front, directory: string) => hostsToml(directory, override(`${url}/v2/proxy`)),
    ({ host }: Front, directory: string) => registriesConf(directory, `${host}/proxy`),
  ]) {
    using directory = testDirectory();
    await using at = await guarded(directory.path, 'proxy/library/busybox');
    const start = '/v2/proxy/library/busybox/';
    await pullsFrom(at.front, directory.path, options(at.front, directory.path), start);
  }
});

test('the API of Artifactory, with /v2 in the middle', async () => {
  const api = '/artifactory/api/docker/remote';
  for (const options of [
    ({ url }: Front) => mirrored(`${url}${api}/v2`),
    ({ url }: Front) => mirrored(`${url}${api}/`),
    ({ url }: Front, directory: string) => hostsToml(directory, `[host."${url}${api}"]`),
    ({ url }: Front, directory: string) => hostsToml(directory, override(`${url}${api}/v2`)),
  ]) {
    using directory = testDirectory();
    await using at = await guarded(directory.path, 'library/busybox', api);
    const start = `${api}/v2/library/busybox/`;
    await pullsFrom(at.front, directory.path, options(at.front, directory.path), start);
  }
});

test('a repository of Artifactory behind a path before and after /v2', async () => {
  for (const options of [
    ({ url }: Front) => mirrored(`${url}/art/v2/team/docker-remote`),
    ({ url }: Front, directory: string) =>
      hostsToml(directory, override(`${url}/art/v2/team/docker-remote/`)),
  ]) {
    using directory = testDirectory();
    await using at = await guarded(directory.path, 'team/docker-remote/library/busybox', '/art');
    const start = '/art/v2/team/docker-remote/library/busybox/';
    await pullsFrom(at.front, directory.path, options(at.front, directory.path), start);
  }
});
