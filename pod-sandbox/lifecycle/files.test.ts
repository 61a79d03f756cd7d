import assert from 'node:assert/strict';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { defaultLinux } from '../config.ts';
import { effectiveHostname, resolvConf, sandboxPaths } from './files.ts';

test('resolv.conf: search, name servers, options, in that order; nothing for nothing', () => {
  const dns = { servers: ['10.0.0.1', 'fd00::1'], searches: ['a', 'b'], options: ['ndots:5', 'rotate'] };
  assert.equal(
    resolvConf(dns),
    'search a b\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5 rotate\n',
  );
  assert.equal(resolvConf({ servers: [], searches: [], options: [] }), '');
  assert.equal(resolvConf({ servers: ['1.1.1.1'], searches: [], options: [] }), 'nameserver 1.1.1.1\n');
});

test('a pod without a host name gets one of its own, or the node its own on the node network', () => {
  const id = newSandboxId();
  const { security } = defaultLinux;
  const onNode = { ...security, namespaces: { ...security.namespaces, network: 'node' as const } };
  assert.equal(effectiveHostname(sampleConfig({ hostname: 'x' }), id), 'x');
  assert.equal(effectiveHostname(sampleConfig({ hostname: '' }), id), id.slice(0, 12));
  const linux = { ...defaultLinux, security: onNode };
  assert.notEqual(effectiveHostname(sampleConfig({ hostname: '', linux }), id), id.slice(0, 12));
  assert.equal(effectiveHostname(sampleConfig({ hostname: 'x', linux }), id), 'x');
});

test('with the IPC namespace of the node the pod has its /dev/shm', () => {
  const { security } = defaultLinux;
  const namespaces = { ...security.namespaces, ipc: 'node' as const };
  const linux = { ...defaultLinux, security: { ...security, namespaces } };
  assert.equal(sandboxPaths('/run/crisp', newSandboxId(), sampleConfig({ linux })).files.shm, '/dev/shm');
});
