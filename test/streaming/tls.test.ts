/** The streaming server with a certificate: sessions over https and wss, clients without one, files that cannot be used. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import test, { after } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { Exec, KubeConfig, type V1Status } from '@kubernetes/client-node';
import { WebSocket } from 'ws';
import { startDaemon } from '../harness/daemon.ts';
import { endsClean, makeDirectory, POD, TestNode } from '../harness/pods.ts';
import { startFront } from './api-front.ts';
import { type MadeCertificate, makeCertificate } from './certificates.ts';
import { echoIn } from './in-pod.ts';
import { openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';
import { SpdyClient, spdyHeaders, upgrade } from './spdy-client.ts';

const streamingOf = (options: Readonly<Record<string, string>>): string =>
  `[streaming]\n${Object.entries(options)
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
    .join('\n')}`;

let server: MadeCertificate | undefined;
const node = await TestNode.start('stream-tls', {
  configure: (directory) => {
    server = makeCertificate(join(directory, 'tls'), 'server');
    return streamingOf({ tls_cert_file: server.certFile, tls_key_file: server.keyFile });
  },
});
const own = makeCertificate(makeDirectory(node, 'certificates'), 'other');
assert.ok(server);
const { cert, key, certFile, keyFile } = server;
setDefaultCACertificates([...getCACertificates(), cert]);
const pod = await node.runPod({}, { network: POD });
const id = await node.run(pod);
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };
const url = async (cmd = ['cat']): Promise<string> =>
  (await node.client.Exec({ containerId: id, cmd, stdin: true, stdout: true, stderr: true })).url;

for (const [name, open] of [
  ['SPDY over https', openSpdy],
  ['WebSocket v5 over wss', openWebSocket('v5.channel.k8s.io')],
] as const) {
  test(`${name}: input, its end, output and exit code`, async () => {
    const at = await url(['sh', '-c', 'cat; exit 3']);
    assert.match(at, /^https:\/\/127\.0\.0\.1:/);
    const session = await open(at, all);
    const text = 'through cat '.repeat(50_000);
    await session.write(text);
    await session.endInput();
    const { stdout, exitCode } = await session.ended();
    assert.equal(stdout, text);
    assert.equal(exitCode, 3);
  });
}

test('the JavaScript client of Kubernetes, through an API server that connects by TLS', async () => {
  const front = await startFront(node.client, { web: { pod, container: id, tty: false } });
  after(() => front[Symbol.asyncDispose]());
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'test', server: front.url, skipTLSVerify: true }, { name: 'test' });
  const [out, err, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let text = '';
  out.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  const status = Promise.withResolvers<V1Status>();
  const command = ['sh', '-c', 'cat; exit 5'];
  await new Exec(config).exec('default', 'web', 'main', command, out, err, input, false, status.resolve);
  input.end('through TLS');
  assert.equal((await status.promise).details?.causes?.[0]?.message, '5');
  assert.equal(text, 'through TLS');
});

test('port-forward: a megabyte there and back', async () => {
  await echoIn(node, pod, '127.0.0.1', 8080);
  const at = (await node.client.PortForward({ podSandboxId: pod, port: [] })).url;
  const client = await SpdyClient.open(at, 'portforward.k8s.io');
  await client.stream({ streamType: 'error', port: '8080', requestID: '0' });
  const data = await client.stream({ streamType: 'data', port: '8080', requestID: '0' });
  const sent = Buffer.alloc(1 << 20, 'some bytes of no special length ');
  await data.write(sent);
  await data.end();
  await client.until('the end', () => data.ended);
  assert.ok(Buffer.concat(data.chunks).equals(sent));
  await client.close();
});

test('a client without TLS is disconnected, and one that does not trust the certificate disconnects', async () => {
  const plain = (await url()).replace('https:', 'http:');
  await assert.rejects(upgrade(plain, spdyHeaders('v4.channel.k8s.io')));
  const stranger = new WebSocket((await url()).replace('https:', 'wss:'), ['v5.channel.k8s.io'], {
    ca: own.cert,
  });
  const [error] = (await once(stranger, 'error')) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /CERT|SELF_SIGNED/);
});

test('where a client certificate is required, clients without one get no session', async () => {
  const extra = streamingOf({
    tls_cert_file: certFile,
    tls_key_file: keyFile,
    tls_client_ca_file: own.certFile,
  });
  await node.restart('stop', async () => {
    const daemon = await startDaemon({ ...node.settings, extra });
    const ask = async () =>
      (await daemon.client.Exec({ containerId: id, cmd: ['echo', 'hello'], stdout: true })).url;
    await assert.rejects(SpdyClient.open(await ask(), 'v4.channel.k8s.io'));
    await assert.rejects(SpdyClient.open(await ask(), 'v4.channel.k8s.io', { cert, key }));
    const client = await SpdyClient.open(await ask(), 'v4.channel.k8s.io', own);
    await client.stream({ streamType: 'error' });
    const stdout = await client.stream({ streamType: 'stdout' });
    await client.until('the session ends', () => client.closed);
    assert.equal(stdout.text, 'hello\n');
    assert.equal(await daemon.stop(), 0);
  });
});

const directory = makeDirectory(node, 'wrong');
const garbage = join(directory, 'garbage.pem');
writeFileSync(garbage, 'garbage\n');
const empty = join(directory, 'empty.pem');
writeFileSync(empty, '');
const pair = { tls_cert_file: certFile, tls_key_file: keyFile };
for (const [what, options, words] of [
  [
    'a certificate that is not there',
    { ...pair, tls_cert_file: `${directory}/none` },
    /tls_cert_file: .*none cannot be read.*ENOENT/,
  ],
  [
    'a key that is a directory',
    { ...pair, tls_key_file: directory },
    /tls_key_file: .*wrong cannot be read.*EISDIR/,
  ],
  ['a certificate without a key', { tls_cert_file: certFile }, /belong together/],
  [
    'a certificate of garbage',
    { ...pair, tls_cert_file: garbage },
    /garbage\.pem does not hold a certificate/,
  ],
  ['an empty key', { ...pair, tls_key_file: empty }, /empty\.pem does not hold a private key/],
  [
    'the key of another certificate',
    { ...pair, tls_key_file: own.keyFile },
    /other\.key is not the key of .*server\.crt/,
  ],
  [
    'an empty file of authorities',
    { ...pair, tls_client_ca_file: empty },
    /tls_client_ca_file: .*empty\.pem does not hold a certificate/,
  ],
] as const) {
  test(`the daemon does not start with ${what}, and logs the reason`, async () => {
    const settings = { ...node.settings, extra: streamingOf(options) };
    await node.restart('stop', () =>
      assert.rejects(startDaemon(settings), (error: Error) => {
        assert.match(error.message, /ended with [1-9]/);
        assert.match(error.message.slice(-3000), words);
        assert.doesNotMatch(error.message, /PRIVATE KEY-/);
        return true;
      }),
    );
  });
}

endsClean(node);
