import assert from 'node:assert/strict';
import test from 'node:test';
import { FeelSamples, feelTable } from './feel-results.ts';

test('a row is the ratio of medians, EROFS to directories', () => {
  const samples = new FeelSamples();
  for (const value of [10, 30, 20]) samples.add('find', 'cold', 'erofs', value);
  for (const value of [40, 40]) samples.add('find', 'cold', 'directory', value);
  assert.deepEqual(samples.rows(), [
    { access: 'find', state: 'cold', unit: 'ms', n: 2, erofs: 20, directory: 40, ratio: 0.5 },
  ]);
});

test('an access that one form lacks is left out, and rows have the order of the accesses, cold first', () => {
  const samples = new FeelSamples();
  for (const form of ['erofs', 'directory'] as const) {
    samples.add('find -ls', 'warm', form, 1);
    samples.add('find -ls', 'cold', form, 1);
    samples.add('find', 'warm', form, 1);
  }
  samples.add('read 200 MiB', 'cold', 'erofs', 1);
  assert.deepEqual(
    samples.rows().map(({ access, state }) => `${access} ${state}`),
    ['find warm', 'find -ls cold', 'find -ls warm'],
  );
});

test('the table marks what takes more than a tenth longer on EROFS', () => {
  const samples = new FeelSamples();
  samples.add('find', 'cold', 'erofs', 110);
  samples.add('find', 'cold', 'directory', 100);
  samples.add('find', 'warm', 'erofs', 111);
  samples.add('find', 'warm', 'directory', 100);
  const lines = feelTable(samples.rows()).split('\n');
  assert.match(lines[2] ?? '', /find, cold .* 1\.10 \| met/);
  assert.match(lines[3] ?? '', /find, warm .* 1\.11 \| MISSED/);
});
