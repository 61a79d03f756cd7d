import assert from 'node:assert/strict';
import test from 'node:test';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import { fillTemplate, parseCidrs } from './template.ts';

const code = (wanted: ErrorCode) => (error: unknown) => hasCode(error, wanted);

test('one range, one of each family, none', () => {
  assert.deepEqual(parseCidrs('10.1.0.0/24'), [{ family: 4, text: '10.1.0.0/24' }]);
  assert.deepEqual(
    parseCidrs('10.1.0.0/24, fd00::/64').map(({ family }) => family),
    [4, 6],
  );
  assert.deepEqual(parseCidrs(''), []);
  assert.deepEqual(parseCidrs('  '), []);
});

test('what is not a range is refused', () => {
  const wrong = [
    '10.1.0.0',
    '10.1.0.0/33',
    '10.1.0/24',
    'fd00::/129',
    '10.1.0.0/24,10.2.0.0/24',
    '10.1.0.0/24,fd00::/64,fd01::/64',
    '10.1.0.0/24,',
    '10.1.0.0/24/8',
    'fe80::1%eth0/64',
    '10.1.0.0/-1',
    '"},"x":{"',
  ];
  for (const text of wrong) assert.throws(() => parseCidrs(text), code('InvalidArgument'), text);
});

test('the template’s words become values, whatever else it holds', () => {
  const template = JSON.stringify({
    name: 'net-{{subnet}}',
    plugins: [
      { type: 'bridge', mtu: 1500, ipam: { type: 'host-local', ranges: '{{ranges}}', routes: '{{routes}}' } },
    ],
  });
  const filled = JSON.parse(fillTemplate(template, parseCidrs('10.1.0.0/24,fd00::/64'), 't'));
  assert.equal(filled.name, 'net-10.1.0.0/24');
  assert.deepEqual(filled.plugins[0].ipam, {
    type: 'host-local',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
  assert.equal(filled.plugins[0].mtu, 1500);
});

test('a template that is not an object is an error with its path', () => {
  for (const text of ['', '[]', '"x"', '{'])
    assert.throws(
      () => fillTemplate(text, parseCidrs('10.1.0.0/24'), '/etc/t.json'),
      (error) => hasCode(error, 'FailedPrecondition') && error.message.includes('/etc/t.json'),
    );
});
