import assert from 'node:assert/strict';
import test from 'node:test';
import {
  CrispError,
  codeOf,
  describeError,
  type ErrorCode,
  errnoHints,
  errnoOf,
  errorTable,
  hasCode,
  hintOf,
  serializeError,
} from './errors.ts';

const codes = Object.keys(errorTable) as ErrorCode[];

test('an error takes the remedy of the table, or its own', () => {
  for (const code of codes) {
    const error = new CrispError(code, 'what failed');
    assert.equal(error.hint, errorTable[code].hint);
    assert.notEqual(error.hint, '', code);
  }
  assert.equal(new CrispError('NotFound', 'x', { hint: 'look again' }).hint, 'look again');
});

test('UNKNOWN is kept for the reasons that the kubelet parses', () => {
  for (const code of codes) {
    const entry: { grpc: string; prefix?: string } = errorTable[code];
    assert.equal(entry.grpc === 'UNKNOWN', entry.prefix !== undefined, code);
  }
  const prefixes = codes.flatMap((code) => ('prefix' in errorTable[code] ? [errorTable[code].prefix] : []));
  assert.deepEqual(prefixes, [
    'RegistryUnavailable',
    'SignatureValidationFailed',
    'ImageVolumeMountFailed',
    'RROUnsupported',
  ]);
});

test('a code is known by hasCode alone of the own errors', () => {
  const error = new CrispError('Aborted', 'x');
  assert.ok(hasCode(error, 'Aborted'));
  assert.ok(!hasCode(error, 'NotFound'));
  assert.ok(!hasCode(Object.assign(new Error('x'), { code: 'Aborted' }), 'Aborted'));
  assert.ok(!hasCode(undefined, 'Aborted'));
});

test('the errno is found in errors of crisp and of Node', () => {
  assert.equal(errnoOf(new CrispError('KernelRefused', 'x', { errno: 'ENOSPC' })), 'ENOSPC');
  assert.equal(errnoOf(new CrispError('KernelRefused', 'x')), undefined);
  assert.equal(errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT');
  assert.equal(errnoOf(new Error('x')), undefined);
  assert.equal(errnoOf('ENOENT'), undefined);
});

test('a system error that tells of the node is no bug of crisp, and no other says NOT_FOUND', () => {
  const of = (code: string) => Object.assign(new Error(`${code}: x`), { code });
  assert.equal(codeOf(of('ENOSPC')), 'ResourceExhausted');
  assert.match(hintOf(of('ENOSPC')), /free space/);
  assert.equal(codeOf(of('EMFILE')), 'ResourceExhausted');
  assert.equal(codeOf(of('EROFS')), 'KernelRefused');
  assert.match(hintOf(of('EROFS')), /read-only/);
  for (const code of ['ENOENT', 'ESRCH', 'ERR_INVALID_ARG_TYPE']) {
    assert.equal(codeOf(of(code)), 'Internal');
    assert.equal(hintOf(of(code)), errorTable.Internal.hint);
  }
  assert.deepEqual(serializeError(of('EIO')), {
    code: 'KernelRefused',
    message: 'EIO: x',
    hint: errnoHints['EIO'],
    errno: 'EIO',
  });
});

test('a description joins the chain of causes without repeats', () => {
  const inner = new Error('no space left');
  const middle = new CrispError('ResourceExhausted', 'write record', { cause: inner });
  assert.equal(describeError(new Error('create', { cause: middle })), 'create: write record: no space left');
  assert.equal(describeError(new Error('write: no space left', { cause: inner })), 'write: no space left');
  assert.equal(describeError('a text'), 'a text');
  assert.equal(describeError(undefined), '');
  assert.equal(describeError(new Error('x', { cause: 'why' })), 'x: why');
});

test('a ring of causes has an end', () => {
  const first = new Error('a');
  const second = new Error('b', { cause: first });
  first.cause = second;
  assert.equal(describeError(first), 'a: b');
});
