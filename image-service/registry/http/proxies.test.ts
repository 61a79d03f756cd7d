import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { Proxies, parseProxy, shownProxies } from './proxies.ts';
import { proxyOptions } from './proxy-settings.ts';

const none = { http: '', https: '', noProxy: [] };
const parse = (value: string) => parseProxy({ value, source: 'HTTPS_PROXY' });

test('the forms of an address', () => {
  for (const [value, protocol, name, login] of [
    ['http://proxy.corp:3128', 'http:', 'proxy.corp:3128', undefined],
    ['http://proxy.corp:3128/', 'http:', 'proxy.corp:3128', undefined],
    ['proxy.corp:3128', 'http:', 'proxy.corp:3128', undefined],
    ['proxy.corp', 'http:', 'proxy.corp:80', undefined],
    ['10.0.0.1:8080', 'http:', '10.0.0.1:8080', undefined],
    ['https://proxy.corp', 'https:', 'proxy.corp:443', undefined],
    ['HTTP://Proxy.Corp:80', 'http:', 'proxy.corp:80', undefined],
    [' http://[fd00::1]:3128 ', 'http:', '[fd00::1]:3128', undefined],
    ['socks5://proxy.corp', 'socks5:', 'proxy.corp:1080', undefined],
    ['socks5h://u:p@proxy.corp:9', 'socks5:', 'proxy.corp:9', { username: 'u', password: 'p' }],
    ['http://us%40er:p%3Aw%2F@proxy:1', 'http:', 'proxy:1', { username: 'us@er', password: 'p:w/' }],
    ['user:pass@proxy:1', 'http:', 'proxy:1', { username: 'user', password: 'pass' }],
    ['http://user@proxy:1', 'http:', 'proxy:1', { username: 'user', password: '' }],
  ] as const) {
    const parsed = parse(value);
    assert.deepEqual([parsed.protocol, parsed.name, parsed.login], [protocol, name, login], value);
    assert.equal(parsed.origin, `${protocol}//${name}`);
  }
});

test('what is not an address is refused without its password, with the setting', () => {
  for (const value of [
    'http://',
    'http://u:hunter2@',
    'http://u:hunter2@h:99999',
    'ftp://u:hunter2@h',
    'http://u:hunter2%zz@h',
  ]) {
    assert.throws(
      () => parse(value),
      (error) =>
        error instanceof CrispError &&
        error.code === 'FailedPrecondition' &&
        error.message.includes('HTTPS_PROXY') &&
        !`${error.message} ${error.hint}`.includes('hunter2'),
      value,
    );
  }
});

test('each setting comes from the configuration, else from the environment, upper case first', () => {
  const env = {
    HTTP_PROXY: 'http://a',
    http_proxy: 'http://b',
    https_proxy: 'http://c',
    NO_PROXY: '',
    no_proxy: 'x',
  };
  assert.deepEqual(proxyOptions(none, env), {
    http: { value: 'http://a', source: 'HTTP_PROXY' },
    https: { value: 'http://c', source: 'https_proxy' },
    noProxy: { value: 'x', source: 'no_proxy' },
  });
  const config = { http: '', https: 'http://d', noProxy: ['a.test', '10.0.0.0/8'] };
  assert.deepEqual(proxyOptions(config, env), {
    http: { value: 'http://a', source: 'HTTP_PROXY' },
    https: { value: 'http://d', source: 'image.proxy.https' },
    noProxy: { value: 'a.test,10.0.0.0/8', source: 'image.proxy.no_proxy' },
  });
  assert.deepEqual(proxyOptions(none, {}), {});
});

test('each URL has its own proxy; https has none where only http has one', () => {
  const env = { HTTP_PROXY: 'plain:1', HTTPS_PROXY: 'secure:2', NO_PROXY: '.corp,10.0.0.0/8,a.test:5000' };
  const proxies = new Proxies(proxyOptions(none, env));
  const nameOf = (url: string) => proxies.of(new URL(url))?.name;
  assert.equal(nameOf('http://r.test/v2/'), 'plain:1');
  assert.equal(nameOf('https://r.test/v2/'), 'secure:2');
  assert.equal(nameOf('https://r.corp/v2/'), undefined);
  assert.equal(nameOf('https://10.2.3.4/v2/'), undefined);
  assert.equal(nameOf('https://a.test:5000/v2/'), undefined);
  assert.equal(nameOf('https://a.test/v2/'), 'secure:2');
  assert.equal(nameOf('http://localhost:5000/v2/'), undefined);
  assert.equal(nameOf('http://[::1]:5000/v2/'), undefined);
  const plain = new Proxies(proxyOptions(none, { HTTP_PROXY: 'plain:1' }));
  assert.equal(plain.of(new URL('https://r.test/')), undefined);
});

test('what is shown has no password', () => {
  const env = { HTTP_PROXY: 'http://user:hunter2@p:1', HTTPS_PROXY: 'ftp://u:hunter2@p', NO_PROXY: '.corp' };
  const shown = shownProxies(proxyOptions(none, env));
  assert.equal(shown['http'], 'http://user:***@p:1 (HTTP_PROXY)');
  assert.equal(shown['noProxy'], '.corp (NO_PROXY)');
  assert.ok(!JSON.stringify(shown).includes('hunter2'));
});
