import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after } from 'node:test';
import type { TestNode } from '../harness/pods.ts';

/** An echo server in the network of a pod; ends with the file. */
export function echoIn(node: TestNode, pod: string, host: string, port: number): Promise<void> {
  return serveIn(node, pod, [join(import.meta.dirname, 'echo-server.ts'), host, String(port)]);
}

/** A program of Node in the network of a pod, which prints something when it serves. */
export async function serveIn(node: TestNode, pod: string, argv: readonly string[]): Promise<void> {
  const { info } = await node.client.PodSandboxStatus({ podSandboxId: pod, verbose: true });
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
  const child = spawn('nsenter', ['-t', String(pid), '-n', process.execPath, ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
}
