import assert from 'node:assert/strict';
import test from 'node:test';
import { status } from '@grpc/grpc-js';
import { CrispError, codeOf, type ErrorCode, errorTable } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { rpcStatus } from './errors.ts';

const codes = Object.keys(errorTable) as ErrorCode[];
const of = (error: unknown) => rpcStatus(error, new Operation('StopContainer'));

test('every code of the table has a gRPC status; UNKNOWN is sent only with a prefix', () => {
  for (const code of codes) {
    const entry: { grpc: string; prefix?: string } = errorTable[code];
    const sent = of(new CrispError(code, 'it failed'));
    assert.equal(sent.code, status[entry.grpc as keyof typeof status], code);
    assert.equal(typeof sent.code, 'number', code);
    assert.notEqual(sent.code, status.OK, code);
    assert.equal(sent.code === status.UNKNOWN, entry.prefix !== undefined, code);
    assert.ok(
      sent.details.startsWith(entry.prefix ? `${entry.prefix}: it failed` : 'it failed'),
      sent.details,
    );
  }
});

test('an error that crisp did not throw itself is INTERNAL, never UNKNOWN', () => {
  for (const thrown of [
    new Error('x'),
    new TypeError('y'),
    'text',
    undefined,
    null,
    { code: status.UNKNOWN },
  ]) {
    assert.equal(of(thrown).code, status.INTERNAL);
    assert.equal(codeOf(thrown), 'Internal');
  }
  assert.equal(codeOf(new CrispError('Aborted', 'x')), 'Aborted');
});

test('the message has the causes, the stage that failed, and the remedy', async () => {
  const op = new Operation('StartContainer');
  await op.stage('mount root', () => {});
  const failing = op.stage('OCI create', () => {
    throw new CrispError('RuntimeFailed', 'crun failed', {
      cause: new Error('no such file'),
      hint: 'check there',
    });
  });
  const error = await failing.catch((thrown: unknown) => thrown);
  const { details } = rpcStatus(error, op);
  assert.match(
    details,
    /^crun failed: no such file \(StartContainer, stage OCI create, after \d+\.\d\d s\); check there$/,
  );
  assert.match(of(new Error('x')).details, /\(StopContainer, after /);
});

test('the message is bounded and fits into a header, whatever its characters', () => {
  for (const text of [
    'x'.repeat(100_000),
    '\ud83d\ude00'.repeat(50_000),
    `a${'\ud83d\ude00'.repeat(50_000)}`,
    '\ud800',
    'a\0\r\nb',
  ]) {
    const { details } = of(new CrispError('NotFound', text));
    assert.ok(details.length <= 4096);
    encodeURI(details); // as grpc-js does; throws on half of a surrogate pair
  }
  const prefixed = of(new CrispError('RegistryUnavailable', 'x'.repeat(100_000)));
  assert.ok(prefixed.details.startsWith('RegistryUnavailable: x'));
});
