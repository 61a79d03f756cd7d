/** The gRPC server of CRI with a client of gRPC's C library (python3-grpcio). Go's is that of every kubelet and of crictl. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { own } from '../../cri/grpc/conformance-subjects.ts';
import { GrpcCode } from '../../cri/grpc/status.ts';

test('a client of the C library has the same answers as one of Node', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-c-core-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const socket = join(directory, 's');
  const server = await own.listen(socket, {
    unary: {
      Echo: async (request) => request,
      Header: async (request, { header }) => Buffer.from(header(request.toString()) ?? ''),
      Large: async (request) => Buffer.alloc(Number(request)),
      Fail: async (request) => {
        throw { code: GrpcCode.NOT_FOUND, details: request.toString() };
      },
      Wait: (_request, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject({ code: GrpcCode.CANCELLED, details: '' })),
        ),
    },
    streaming: {
      async *Count(request) {
        for (let at = 0; at < Number(request); at += 1) yield Buffer.from(String(at));
      },
    },
  });
  t.after(() => server.destroy());
  const client = join(import.meta.dirname, 'c-core-client.py');
  const { stdout } = await promisify(execFile)('/usr/bin/python3', [client, socket], { timeout: 120_000 });
  const lines = stdout.trim().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [
      ...[0, 1, 70_000, 1 << 20].map((size) => ({ name: 'echo', size, same: true })),
      { name: 'large', size: 9_000_000 },
      { name: 'header', value: true },
      { name: 'fail', code: 'NOT_FOUND', details: 'a\u4e2d\n%\ud83d\ude00' },
      { name: 'missing', code: 'UNIMPLEMENTED' },
      { name: 'deadline', code: 'DEADLINE_EXCEEDED' },
      { name: 'gzip', code: 'UNIMPLEMENTED' },
      { name: 'count', values: true },
      { name: 'cancelled', code: 'CANCELLED' },
      { name: 'many', same: true },
    ],
  );
});
