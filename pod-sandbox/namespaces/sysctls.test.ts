import assert from 'node:assert/strict';
import test from 'node:test';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { defaultLinux } from '../config.ts';
import { pauseRequest } from './namespaces.ts';

const place = (defaultSysctls: Record<string, string>) => ({
  pins: '/pins',
  hostname: 'h',
  oomScoreAdj: 0,
  defaultSysctls,
  enter: undefined,
});

test("default sysctls give way to the pod's own and to the node's namespaces", () => {
  const { security } = defaultLinux;
  const defaults = { 'net.ipv4.ping_group_range': '0 0', 'net/core/somaxconn': '10', 'kernel.shmmni': '7' };
  const own = sampleConfig({ linux: { ...defaultLinux, sysctls: { 'net.core.somaxconn': '99' } } });
  assert.deepEqual(pauseRequest(own, place(defaults)).sysctls, {
    'net.ipv4.ping_group_range': '0 0',
    'net.core.somaxconn': '99',
    'kernel.shmmni': '7',
  });
  const onNode = { ...security, namespaces: { ...security.namespaces, network: 'node' as const } };
  const host = sampleConfig({ linux: { ...defaultLinux, security: onNode } });
  assert.deepEqual(pauseRequest(host, place(defaults)).sysctls, { 'kernel.shmmni': '7' });
});
