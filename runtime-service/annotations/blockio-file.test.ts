import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { parseBlockioClasses, readBlockioClasses } from './blockio-file.ts';

const FILE = '/etc/containers/blockio.yaml';
const parse = (text: string) => parseBlockioClasses(FILE, text);

test('the example of goresctrl: names in any case, quantities as texts and numbers', () => {
  const classes = parse(`
Classes:
  LowPrioThrottled:
  - Weight: 80
  - Devices:
    - /dev/sd[a-z]
    - /dev/vd[a-z]
    ThrottleReadBps: 50M   # max read bytes per second
    ThrottleWriteBps: 10Mi
    ThrottleReadIOPS: 10k
    ThrottleWriteIOPS: 5000
    Weight: 50
  HighPrioFullSpeed:
  - weight: 400
  empty: []
`);
  assert.deepEqual([...classes.keys()], ['LowPrioThrottled', 'HighPrioFullSpeed', 'empty']);
  assert.deepEqual(classes.get('LowPrioThrottled'), [
    { devices: undefined, weight: 80, rates: {} },
    {
      devices: ['/dev/sd[a-z]', '/dev/vd[a-z]'],
      weight: 50,
      rates: {
        throttleReadBps: 50e6,
        throttleWriteBps: 10 * 2 ** 20,
        throttleReadIOPS: 10_000,
        throttleWriteIOPS: 5000,
      },
    },
  ]);
  for (const nothing of ['', 'classes:', '# no class yet']) assert.equal(parse(nothing).size, 0);
});

test('what is wrong is refused with the file, the class and the field', () => {
  for (const [text, message] of [
    ['[]', /blockio\.yaml is not an object/],
    ['classes: 7', /classes is 7, not an object/],
    ['class: {}', /class is unknown/],
    ['classes: {a: 1}', /class a: rules is 1, not a list/],
    ['classes: {a: [1]}', /class a\[0\] is not an object/],
    ['classes: {a: [{weight: 5}]}', /class a\[0\]: weight is 5, not a quantity from 10 to 1000/],
    ['classes: {a: [{weight: 50, wait: 1}]}', /wait is unknown/],
    ['classes: {a: [{throttlereadbps: 5M}]}', /throttleReadBps is set without devices/],
    ['classes: {a: [{devices: [/dev/sda], throttleReadBps: 5X}]}', /throttlereadbps is "5X"/],
    ['classes: {a: [{devices: [/dev/sda], throttleReadBps: -1}]}', /throttlereadbps is -1/],
    ['classes: {a: [{devices: [sda]}]}', /devices has "sda", not below \/dev/],
  ] as const)
    assert.throws(
      () => parse(text),
      (error) =>
        hasCode(error, 'FailedPrecondition') && message.test(error.message) && error.message.includes(FILE),
      text,
    );
  assert.throws(() => parse('classes: {'));
});

test('any text is classes or an error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.constant('*!')), (text) => {
      try {
        parse(text);
      } catch (error) {
        // An alias without its anchor is a ReferenceError of the parser.
        const ofYaml = ['YAMLParseError', 'ReferenceError'].includes((error as Error).name);
        assert.ok(error instanceof CrispError || ofYaml, String(error));
      }
    }),
  );
});

test('a file that is missing, writable by others or wrong is an error of the option', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-blockio-'));
  try {
    const file = join(directory, 'blockio.yaml');
    const refused = (path: string, message: RegExp) =>
      assert.rejects(
        readBlockioClasses(path),
        (error) =>
          hasCode(error, 'InvalidArgument') &&
          error.message.startsWith('container.blockio_config_file: ') &&
          message.test(error.message),
      );
    assert.equal((await readBlockioClasses('')).size, 0);
    await refused(file, /ENOENT/);
    writeFileSync(file, 'classes: {a: [{weight: 1}]}', { mode: 0o644 });
    await refused(file, /class a\[0\]: weight is 1/);
    writeFileSync(file, 'classes: {a: [{weight: 10}]}');
    assert.equal((await readBlockioClasses(file)).get('a')?.[0]?.weight, 10);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
