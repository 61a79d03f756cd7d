/** `npm run cluster-test` from its command line to its exit code, against an API server that has no node behind it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { after } from 'node:test';
import type { Report } from '../../deploy/cluster-test/report/report.ts';
import { FakeApiServer } from './fake-api-server.ts';

const MAIN = join(import.meta.dirname, '../../deploy/cluster-test/main.ts');
const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'cluster-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));

interface Ran {
  readonly child: ChildProcess;
  /** Exit code and both outputs. */
  readonly ended: Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>;
}

function run(server: string, ...args: readonly string[]): Ran {
  const kubeconfig = join(directory, 'kubeconfig');
  const clusters = [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }];
  const contexts = [{ name: 'c', context: { cluster: 'c', user: 'u' } }];
  const users = [{ name: 'u', user: { token: 'secret-token' } }];
  writeFileSync(kubeconfig, JSON.stringify({ clusters, contexts, users, 'current-context': 'c' }));
  const child = spawn(process.execPath, [MAIN, '--kubeconfig', kubeconfig, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const outputs = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  const ended = outputs.then(([out, err, [code]]) => ({ code: code as number | null, out, err }));
  return { child, ended };
}

const report = (file: string): Report => JSON.parse(readFileSync(file, 'utf8')) as Report;

test('what passes and is skipped: exit code 0, both reports, the namespace is gone', async () => {
  await using server = await FakeApiServer.start();
  const [json, markdown] = [join(directory, 'a.json'), join(directory, 'a.md')];
  const args = ['--only', 'node/conditions', '--only', 'resize', '--report', json, '--report', markdown];
  const { code, out, err } = await run(server.url, ...args).ended;
  assert.equal(code, 0, out + err);
  assert.match(out, /^node node-1: crisp:\/\/0\.1\.0, kubelet v1\.30\.4/);
  const { totals, cases } = report(json);
  assert.deepEqual(totals, { passed: 1, failed: 0, skipped: 3 });
  assert.equal(
    cases.find(({ name }) => name === 'resize/in-place')?.reason,
    'the API server is v1.30.4: no in-place resize (since 1.33)',
  );
  assert.match(readFileSync(markdown, 'utf8'), /^# Cluster test: 1 passed, 0 failed, 3 skipped\n/);
  assert.deepEqual([...server.namespaces.keys()], []);
  assert.doesNotMatch(out + err + readFileSync(json, 'utf8'), /secret-token/);
});

test('what fails: the reason has the state of the pod, exit code 1, the namespace is gone', async () => {
  await using server = await FakeApiServer.start();
  const json = join(directory, 'b.json');
  const { code, out } = await run(server.url, '--only', 'pods/start', '--timeout', '1', '--report', json)
    .ended;
  assert.equal(code, 1);
  assert.match(out, /FAILED {3}pods\/start/);
  const [failed] = report(json).cases;
  assert.match(
    failed?.reason ?? '',
    /^pods-start-pod: the pod is ready: not within 1 s: the pod pods-start-pod does not exist/,
  );
  assert.deepEqual([...server.namespaces.keys()], []);
  const [namespace] = server.changes.filter((change) => change.startsWith('DELETE /api/v1/namespaces/'));
  for (const change of server.changes)
    assert.ok(
      change === 'POST /api/v1/namespaces' || change.includes(namespace?.split('/')[4] ?? 'none'),
      `outside of its own namespace: ${change}`,
    );
});

test('ctrl-C: the case that waits ends, the namespace is deleted, exit code 130', async () => {
  await using server = await FakeApiServer.start();
  const json = join(directory, 'c.json');
  const { child, ended } = run(
    server.url,
    '--only',
    'pods/start',
    '--only',
    'node',
    '--parallel',
    '1',
    '--report',
    json,
  );
  while (server.pods.size === 0 && child.exitCode === null)
    await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  const { code, err } = await ended;
  assert.equal(code, 130, err);
  assert.match(err, /interrupted: deleting the namespace/);
  const { interrupted, cases } = report(json);
  assert.equal(interrupted, true);
  assert.equal(cases.find(({ name }) => name === 'pods/start')?.reason, 'the run was interrupted');
  assert.deepEqual([...server.namespaces.keys()], []);
});

test('a namespace that does not go is named with the remedy, and nothing passes then', async () => {
  await using server = await FakeApiServer.start();
  server.deletes = false;
  const { code, out } = await run(server.url, '--only', 'node/conditions', '--timeout', '1').ended;
  assert.equal(code, 1);
  const [name] = server.namespaces.keys();
  assert.match(out, new RegExp(`left behind: the namespace ${name}: .*kubectl delete namespace ${name}`));
});

test('--keep leaves the namespace; another run names it and leaves it alone', async () => {
  await using server = await FakeApiServer.start();
  const kept = await run(server.url, '--only', 'node/conditions', '--keep').ended;
  assert.equal(kept.code, 0);
  const [name = ''] = server.namespaces.keys();
  assert.match(kept.err, new RegExp(`kept: kubectl delete namespace ${name}`));
  const other = await run(server.url, '--only', 'node/conditions').ended;
  assert.equal(other.code, 0);
  assert.match(other.err, new RegExp(`namespaces of other runs are there, and are left alone: ${name}`));
  assert.deepEqual([...server.namespaces.keys()], [name]);
});

test('bad input: 2 for the command line, 1 for a server that does not answer; nothing is created', async () => {
  await using server = await FakeApiServer.start();
  for (const args of [
    ['--only', 'none'],
    ['--report', 'x.txt'],
    ['--report', join(directory, 'none/x.md')],
    ['--context', 'none'],
    ['--parallel', '0'],
  ]) {
    const { code, err } = await run(server.url, ...args).ended;
    assert.equal(code, 2, `${args.join(' ')}: ${err}`);
  }
  const unknown = await run(server.url, '--node', 'none').ended;
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /no node 'none'\nit has: node-1/);
  const { code, err } = await run('http://127.0.0.1:9', '--only', 'node').ended;
  assert.equal(code, 1);
  assert.match(err, /the API server does not answer: .*ECONNREFUSED|bad port/);
  assert.deepEqual(server.changes, []);
});
