import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { noProxy } from './no-proxy.ts';

/** [list, `host:port`, whether it is asked directly], as golang.org/x/net/http/httpproxy decides. */
const cases: readonly (readonly [string, string, boolean])[] = [
  ['', 'registry.example:443', false],
  ['', 'localhost:5000', true],
  ['', '127.9.9.9:5000', true],
  ['', '::1:443', true],
  ['', '::ffff:127.0.0.1:443', true],
  ['*', 'registry.example:443', true],
  [' a.test , * ', 'registry.example:443', true],
  ['example', 'registry.example:443', true],
  ['registry.example', 'registry.example:443', true],
  ['registry.example', 'sub.registry.example:443', true],
  ['registry.example', 'myregistry.example:443', false],
  ['.registry.example', 'registry.example:443', false],
  ['.registry.example', 'a.registry.example:443', true],
  ['*.registry.example', 'registry.example:443', false],
  ['*.registry.example', 'a.b.registry.example:443', true],
  ['REGISTRY.Example', 'registry.example:443', true],
  ['registry.example:5000', 'registry.example:5000', true],
  ['registry.example:5000', 'registry.example:443', false],
  ['.example:443', 'registry.example:443', true],
  ['*.example:80', 'registry.example:443', false],
  ['registry.example:', 'registry.example:443', true],
  ['10.0.0.1', '10.0.0.1:443', true],
  ['10.0.0.1', '10.0.0.10:443', false],
  ['10.0.0.1:5000', '10.0.0.1:5000', true],
  ['10.0.0.1:5000', '10.0.0.1:443', false],
  ['10.0.0.0/8', '10.200.3.4:443', true],
  ['10.0.0.0/8', '11.0.0.1:443', false],
  ['10.0.0.7/8', '10.1.1.1:443', true],
  ['10.0.0.0/8', '::ffff:10.1.2.3:443', true],
  ['10.0.0.0/33', '10.0.0.1:443', false],
  ['0.0.0.0/0', '8.8.8.8:443', true],
  ['0.0.0.0/0', 'registry.example:443', false],
  ['fd00::/8', 'fd12::1:443', true],
  ['fd00::/8', 'fe80::1:443', false],
  ['::/0', 'fd12::1:443', true],
  ['::/0', '8.8.8.8:443', false],
  ['::/0', '::ffff:8.8.8.8:443', false],
  ['::ffff:0:0/95', '8.8.8.8:443', false],
  ['::ffff:10.0.0.0/104', '10.1.2.3:443', true],
  ['::ffff:10.0.0.0/104', '11.1.2.3:443', false],
  ['fd00::1', 'fd00:0::1:443', true],
  ['[fd00::1]:5000', 'fd00::1:5000', true],
  ['[fd00::1]:5000', 'fd00::1:443', false],
  ['[fd00::1]', 'fd00::1:443', true],
  ['münchen.example', 'xn--mnchen-3ya.example:443', true],
  ['a.test b.test', 'a.test:443', false],
  [',, ,', 'registry.example:443', false],
  [':5000', 'registry.example:5000', false],
  ['.1', '10.0.0.1:443', true],
];

for (const [list, address, direct] of cases) {
  test(`NO_PROXY=${JSON.stringify(list)}: ${address} is asked ${direct ? 'directly' : 'by the proxy'}`, () => {
    const colon = address.lastIndexOf(':');
    assert.equal(noProxy(list)({ host: address.slice(0, colon), port: address.slice(colon + 1) }), direct);
  });
}

test('any list is read, any host answered', () => {
  const text = fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.domain());
  const lists = fc
    .array(
      fc.oneof(
        text,
        fc.tuple(text, fc.nat(200)).map((pair) => pair.join('/')),
      ),
    )
    .map(String);
  fc.assert(
    fc.property(lists, text, (list, host) => typeof noProxy(list)({ host, port: '443' }) === 'boolean'),
  );
});
