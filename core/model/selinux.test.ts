import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '../errors.ts';
import {
  atLevel,
  categoriesOf,
  checkSelinuxOptions,
  formatContext,
  levelOf,
  parseContext,
  typeOf,
  withOptions,
} from './selinux.ts';

const LABELS = {
  process: 'system_u:system_r:container_t:s0:c1,c2',
  files: 'system_u:object_r:container_file_t:s0:c1,c2',
};
const NONE = { user: '', role: '', type: '', level: '' };

test('a context is taken apart and put together, with and without a level', () => {
  for (const text of ['a:b:c', 'a:b:c:s0', 'a:b:c:s0:c1,c2', 'a:b:c:s0-s15:c0.c1023']) {
    const parts = parseContext(text);
    assert.ok(parts);
    assert.equal(formatContext(parts), text);
  }
  assert.deepEqual(parseContext('a:b:c:s0-s0:c0.c1023'), {
    user: 'a',
    role: 'b',
    type: 'c',
    level: 's0-s0:c0.c1023',
  });
  for (const text of ['', 'kernel', 'a:b', 'a::c', ':b:c']) assert.equal(parseContext(text), undefined, text);
  assert.deepEqual([levelOf('a:b:c'), levelOf('a:b:c:s0:c5'), levelOf('')], ['', 's0:c5', '']);
  assert.deepEqual([typeOf('a:b:c:s0'), typeOf('kernel')], ['c', '']);
});

test('what is requested replaces the parts of the default, level and user also those of the files', () => {
  assert.deepEqual(withOptions(LABELS, undefined), LABELS);
  assert.deepEqual(withOptions(LABELS, NONE), LABELS);
  assert.deepEqual(withOptions(LABELS, { ...NONE, type: 'spc_t', role: 'r' }), {
    process: 'system_u:r:spc_t:s0:c1,c2',
    files: LABELS.files,
  });
  assert.deepEqual(withOptions(LABELS, { ...NONE, user: 'u', level: 's0:c7' }), {
    process: 'u:system_r:container_t:s0:c7',
    files: 'u:object_r:container_file_t:s0:c7',
  });
  assert.deepEqual(atLevel({ process: 'a:b:c', files: 'a:b:d:s0:c9' }, 's0:c1,c2'), {
    process: 'a:b:c:s0:c1,c2',
    files: 'a:b:d:s0:c1,c2',
  });
});

test('a part that would end the label, or another option of a mount, is refused by its name', () => {
  checkSelinuxOptions(undefined);
  checkSelinuxOptions({ user: 'a_u', role: 'b_r', type: 'c.d-e_t', level: 's0-s15:c0.c3,c9' });
  const wrong: [keyof typeof NONE, string][] = [
    ['type', 'a b'],
    ['type', 'a:b'],
    ['user', 'x,rw'],
    ['level', 's0"'],
    ['level', 's0\n'],
    ['role', 'x'.repeat(129)],
  ];
  for (const [part, value] of wrong) {
    assert.throws(
      () => checkSelinuxOptions({ ...NONE, [part]: value }),
      (error) => hasCode(error, 'InvalidArgument') && error.message.startsWith(`selinux_options.${part} `),
    );
  }
});

test('the categories of a level, however they are written', () => {
  assert.deepEqual(categoriesOf('s0'), []);
  assert.deepEqual(categoriesOf('s0:c2,c1'), [1, 2]);
  assert.deepEqual(categoriesOf('s0:c1.c2'), [1, 2]);
  assert.deepEqual(categoriesOf('s3:c9,c1.c3,c2'), [1, 2, 3, 9]);
  for (const level of ['', 's0-s0:c0.c1023', 's0:', 's0:x', 's0:c1.', 'c1,c2', 's0:c12345'])
    assert.equal(categoriesOf(level), undefined, level);
});
