import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { type LogOptions, openLog } from './log.ts';
import { Metrics } from './metrics.ts';
import { listenMetrics } from './metrics-listener.ts';

function collect(options: Omit<LogOptions, 'destination'>) {
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  return {
    log: openLog({ ...options, destination }),
    lines,
    json: () => lines.map((line) => JSON.parse(line)),
  };
}

test('a line has time, level, message and the fields of its parents', () => {
  const { log, json } = collect({ level: 'info', format: 'json' });
  log
    .child({ op: 'X', id: 'abc' })
    .warn({ size: 5n, error: new Error('a', { cause: new Error('b') }) }, 'it is so');
  const [line] = json();
  assert.match(line.time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  delete line.time;
  assert.deepEqual(line, { level: 'warn', op: 'X', id: 'abc', size: '5', error: 'a: b', msg: 'it is so' });
});

test('the level can be changed, also for existing children', () => {
  const { log, json } = collect({ level: 'warn', format: 'json' });
  const child = log.child({ c: 1 });
  child.info({}, 'hidden');
  log.setLevel('debug');
  child.debug({}, 'shown');
  log.setLevel('error');
  child.warn({}, 'hidden again');
  assert.deepEqual(
    json().map((line) => line.msg),
    ['shown'],
  );
});

test('credentials never reach the log, at any depth', () => {
  const { log, lines } = collect({ level: 'info', format: 'json' });
  const auth = { username: 'u', password: 'S3CRET', identityToken: 'S3CRET', registry_token: 'S3CRET' };
  log.info({ auth: 'S3CRET' }, 'a');
  log.info({ request: { auth, list: [{ headers: { Authorization: 'Bearer S3CRET' } }] } }, 'b');
  log.child({ pull: { inner: auth }, password: 'S3CRET' }).info({ credentials: auth }, 'c');
  log.info(
    { map: new Map([['token', 'S3CRET']]), deep: { a: { b: { c: { d: { e: { f: 'S3CRET' } } } } } } },
    'd',
  );
  assert.equal(lines.length, 4);
  assert.doesNotMatch(lines.join(''), /S3CRET/);
  assert.match(lines.join(''), /\[redacted\]/);
});

test('control characters of values are escaped in text lines', () => {
  const { log, lines } = collect({ level: 'info', format: 'text' });
  log.info(
    { name: 'plain', text: 'two words\n\u001b[31m\u009b' },
    'evil \u001b]0;x\u0007 message\nINFO forged',
  );
  assert.equal(lines.length, 1);
  assert.equal(lines[0]?.split('\n').length, 2);
  assert.match(
    lines[0] ?? '',
    /^[\d:.]{12} INFO {2}evil \\x1b\]0;x\\x07 message\\x0aINFO forged name=plain text="two words\\n/,
  );
  assert.doesNotMatch(lines[0]?.trimEnd() ?? '', /\p{Cc}/u);
});

test('operations, errors, stages and gauges are exposed', async () => {
  const metrics = new Metrics({ version: '1.2.3' });
  metrics.operation({ name: 'RunPodSandbox', id: 'a' }, 30);
  metrics.operation({ name: 'RunPodSandbox', id: 'b' }, 70, 'NetworkFailed');
  metrics.stage({ name: 'RunPodSandbox', id: 'b' }, { name: 'cni add', started: 100, ended: 140 });
  let running = 2;
  metrics.gauge({
    name: 'crisp_containers',
    help: 'Containers by state',
    labels: ['state'],
    collect: () => (running > 0 ? [{ labels: { state: 'running' }, value: running }] : []),
  });
  const text = await metrics.text();
  for (const line of [
    'crisp_operations_total{operation="RunPodSandbox"} 2',
    'crisp_operations_errors_total{operation="RunPodSandbox",code="NetworkFailed"} 1',
    'crisp_operation_seconds_bucket{le="0.05",operation="RunPodSandbox"} 1',
    'crisp_operation_seconds_sum{operation="RunPodSandbox"} 0.1',
    'crisp_stage_seconds_bucket{le="0.05",operation="RunPodSandbox",stage="cni add"} 1',
    `crisp_build_info{version="1.2.3",node="${process.version}"} 1`,
    'crisp_containers{state="running"} 2',
  ])
    assert.ok(text.split('\n').includes(line), line);
  assert.doesNotMatch(text, /\n(process|nodejs)_/); // what that costs is for nothing where nobody scrapes
  metrics.watchProcess();
  metrics.watchProcess();
  const watched = await metrics.text();
  assert.match(watched, /\nprocess_resident_memory_bytes \d+/);
  assert.match(watched, /\nnodejs_eventloop_lag_p99_seconds /);
  running = 0;
  assert.doesNotMatch(await metrics.text(), /crisp_containers\{/);
  const other = new Metrics({ version: '2' });
  assert.doesNotMatch(await other.text(), /RunPodSandbox/);
  other.close();
  metrics.close();
});

test('the listener serves metrics and health, and nothing else', async () => {
  let problem: string | undefined;
  const metrics = new Metrics({ version: '1' });
  await using listener = await listenMetrics({
    address: '127.0.0.1:0',
    metrics,
    health: { '/healthz': async () => problem, '/readyz': async () => 'not yet' },
  });
  const get = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const response = await fetch(`http://${listener.address}${path}`, { method });
    return [response.status, await response.text()];
  };
  const [status, text] = await get('/metrics?x=1');
  assert.equal(status, 200);
  assert.match(text, /crisp_build_info/);
  assert.match(text, /\nprocess_resident_memory_bytes \d+/);
  assert.deepEqual(await get('/healthz'), [200, 'ok\n']);
  problem = 'recovery is in progress';
  assert.deepEqual(await get('/healthz'), [503, 'recovery is in progress\n']);
  assert.deepEqual(await get('/readyz'), [503, 'not yet\n']);
  assert.equal((await get('/'))[0], 404);
  assert.equal((await get('/constructor'))[0], 404);
  assert.equal((await get('/metrics', 'POST'))[0], 405);
  assert.deepEqual(await get('/metrics', 'HEAD'), [200, '']);
  const taken = listenMetrics({ address: listener.address, metrics, health: {} });
  await assert.rejects(
    taken,
    (error) => error instanceof CrispError && /cannot listen on .*EADDRINUSE/.test(error.message),
  );
  metrics.gauge({ name: 'broken', help: 'x', labels: [], collect: () => Promise.reject(new Error('no')) });
  assert.equal((await get('/metrics'))[0], 500);
  metrics.close();
});

test('an address that is in use, or not of this machine, is an error', async () => {
  const metrics = new Metrics({ version: '1' });
  await assert.rejects(
    listenMetrics({ address: '203.0.113.1:1', metrics, health: {} }),
    /cannot listen on 203/,
  );
  metrics.close();
});
