/** Networks of pods, and port-forward. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import { openForward } from '../cluster/sessions.ts';
import type { Trial } from '../trial.ts';

/** A web server on this port with a page of this text. */
const serve = (port: number, page: string): string =>
  `mkdir -p /tmp/www && echo '${page}' > /tmp/www/index.html && exec httpd -f -p ${port} -h /tmp/www`;

const serving = (port: number, page = 'hello') => ({
  script: serve(port, page),
  readinessProbe: { tcpSocket: { port }, periodSeconds: 1, failureThreshold: 60 },
});

const inUrl = (address: string | undefined): string =>
  address?.includes(':') ? `[${address}]` : String(address);

async function betweenPods(trial: Trial): Promise<void> {
  const server = await trial.start({ containers: [serving(8080)] }, 'server');
  const address = inUrl(trial.cluster.pods.get(server)?.status?.podIP);
  assert.equal(await trial.output(`wget -q -T 10 -O - http://${address}:8080/`), 'hello\n');
}

async function loopback(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [serving(8080), { name: 'client' }] });
  assert.equal(await trial.shell(name, 'wget -q -T 10 -O - http://127.0.0.1:8080/', 'client'), 'hello\n');
  assert.equal(
    await trial.shell(name, 'readlink /proc/self/ns/net'),
    await trial.shell(name, 'readlink /proc/self/ns/net', 'client'),
  );
}

async function hostNetwork(trial: Trial): Promise<void> {
  const script = 'readlink /proc/self/ns/net; hostname';
  const sketch = { hostNetwork: true, containers: [{ script }] };
  const [one, other, own] = await Promise.all([
    trial.finish(sketch, 'one'),
    trial.finish(sketch, 'other'),
    trial.finish({ containers: [{ script }] }, 'own'),
  ]);
  const { status } = one.pod;
  assert.equal(status?.podIP, status?.hostIP);
  assert.equal(one.log, other.log, 'namespaces or host names of two pods on the network of the node differ');
  assert.notEqual(
    one.log.split('\n')[0],
    own.log.split('\n')[0],
    'a pod without hostNetwork is in it as well',
  );
}

async function hostPort(trial: Trial): Promise<void> {
  const port = 20_000 + Math.floor(Math.random() * 9000);
  const ports = [{ containerPort: 8080, hostPort: port }];
  const name = await trial.start({ containers: [{ ...serving(8080), ports }] }, 'server');
  const host = inUrl(trial.cluster.pods.get(name)?.status?.hostIP);
  const get = `wget -q -T 10 -O - http://${host}:${port}/`;
  assert.equal(await trial.output(get, { hostNetwork: true }), 'hello\n');
}

const RESPONSE = /\r\n\r\n([\s\S]*)$/;

/** The body of a reply of HTTP/1.0, once as much as its header promises is there. */
const whole = (text: string): boolean => {
  const length = /content-length: (\d+)/i.exec(text)?.[1];
  const body = RESPONSE.exec(text)?.[1];
  return length !== undefined && body !== undefined && body.length >= Number(length);
};

async function forward(trial: Trial): Promise<void> {
  const size = 2 * 1024 * 1024;
  const name = await trial.start({
    containers: [
      {
        ...serving(8080),
        script: `mkdir -p /tmp/www && yes crisp | head -c ${size} > /tmp/www/big; ${serve(8080, 'hello')}`,
      },
    ],
  });
  const get = async (file: string): Promise<string> => {
    const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
    const forwarded = await openForward(trial.cluster.rest.config, trial.cluster.namespace, name, 8080);
    try {
      forwarded.input.write(`GET /${file} HTTP/1.0\r\n\r\n`);
      return RESPONSE.exec(await forwarded.output.until(`the reply with /${file}`, whole, signal))?.[1] ?? '';
    } finally {
      forwarded.close();
    }
  };
  const [page, big, again] = await Promise.all([get(''), get('big'), get('')]);
  assert.deepEqual([page, again], ['hello\n', 'hello\n']);
  assert.equal(big.length, size);
  assert.equal(big.replaceAll('crisp\n', '').length, size % 6, 'the file is not as it was sent');
}

async function refused(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
  const forwarded = await openForward(trial.cluster.rest.config, trial.cluster.namespace, name, 9);
  try {
    forwarded.input.write('hello');
    const text = await forwarded.errors.until('the error', (seen) => seen !== '', signal);
    assert.match(text, /refused|failed|error/i);
  } finally {
    forwarded.close();
  }
}

export const NETWORK_CASES: readonly Case[] = [
  { name: 'network/pod-to-pod', about: 'a pod reaches the address of another one', run: betweenPods },
  { name: 'network/loopback', about: 'the containers of a pod share its network', run: loopback },
  {
    name: 'network/host-network',
    about: "hostNetwork: the node's address, name and namespace",
    run: hostNetwork,
  },
  { name: 'network/host-port', about: 'a hostPort is reached at the address of the node', run: hostPort },
  { name: 'port-forward/http', about: 'three connections at once, one of 2 MiB', run: forward },
  {
    name: 'port-forward/refused',
    about: 'a port that is not served is an error of the connection',
    run: refused,
  },
];
