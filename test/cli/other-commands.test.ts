/** `crisp ctl checkpoint`, `crisp trace` and what completions ask for, against a minimal runtime. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import { Collected } from '#test/fixtures/terminal.ts';
import { main } from '../../cli/main.ts';
import { containerFile, crisp, directory, ok, podFile, runtime, socket } from './harness.ts';

/** Output of a command that is not below `crisp ctl`. */
async function outputOf(...words: string[]): Promise<string> {
  const collected = new Collected();
  const { terminal } = collected;
  const endpoint = ['-r', `unix://${socket}`];
  assert.equal(await main([...words, ...endpoint], { terminal, signal: new AbortController().signal }), 0);
  return collected.out;
}

async function running(): Promise<{ pod: string; container: string }> {
  runtime.addImage('busybox:latest');
  const pod = (await ok('runp', podFile())).trim();
  const container = (await ok('create', pod, containerFile(), podFile())).trim();
  await ok('start', container);
  return { pod, container };
}

test('a checkpoint is asked for with an absolute path and its time, and refused without a file', async () => {
  const { container } = await running();
  assert.equal(await ok('checkpoint', container, '--export', 'c.tar', '--limit', '7'), `${container}\n`);
  const [, request] = runtime.requests.find(([name]) => name === 'CheckpointContainer') ?? [];
  const { location, timeout } = request as cri.CheckpointContainerRequest;
  assert.deepEqual([location, String(timeout)], [join(process.cwd(), 'c.tar'), '7']);
  await assert.rejects(crisp(['checkpoint', container]), /--export is missing/);
  await assert.rejects(crisp(['checkpoint', container, '-e', 'x', '--limit', '1m']), /whole seconds/);
});

test('a trace by the name or the id of a pod, as text, as JSON and as an image', async () => {
  const { pod } = await running();
  const svg = join(directory, 'trace.svg');
  assert.match(await outputOf('trace', 'web', '--svg', svg), /^RunPodSandbox .*\n +network +0\.0 +9\.0 /m);
  assert.match(readFileSync(svg, 'utf8'), /^<svg /);
  assert.deepEqual(JSON.parse(await outputOf('trace', pod.slice(0, 10), '-o', 'json')), {
    pod,
    operations: [
      {
        title: 'RunPodSandbox',
        ms: 10,
        failed: false,
        stages: [{ name: 'network', detail: '', from: 0, to: 9, failed: false }],
      },
    ],
  });
  await assert.rejects(outputOf('trace', 'other'), /no object has this id/);
});

test('candidates have a description each', async () => {
  const { pod, container } = await running();
  const list = (kind: string) => outputOf('completion', '--list', kind);
  assert.equal(await list('pods'), `${pod.slice(0, 13)}\tdefault/web\n`);
  assert.equal(await list('containers'), `${container.slice(0, 13)}\tmain\n`);
  assert.match(await list('images'), /^busybox:latest\t[0-9a-f]{13}\n$/);
});
