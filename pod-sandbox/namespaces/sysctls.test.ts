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
  label: '',
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

test("in a user namespace the pod's own groups may ping", () => {
  const { security } = defaultLinux;
  const withGroups = (...gids: readonly { containerId: number; hostId: number; length: number }[]) => {
    const user = { mode: 'pod' as const, uids: gids, gids };
    const linux = {
      ...defaultLinux,
      security: { ...security, namespaces: { ...security.namespaces, user } },
    };
    return (range: string) =>
      pauseRequest(
        sampleConfig({ linux: { ...linux, sysctls: { 'net.ipv4.ping_group_range': range } } }),
        place({}),
      ).sysctls;
  };
  const range = (gids: ReturnType<typeof withGroups>, text: string) =>
    gids(text)['net.ipv4.ping_group_range'];
  const first = withGroups({ containerId: 0, hostId: 100_000, length: 65_536 });
  assert.equal(range(first, '0 2147483647'), '100000 165535');
  assert.equal(range(first, '10\t20'), '100010 100020');
  assert.equal(range(first, '1 0'), '1 0');
  assert.equal(range(first, '70000 80000'), '1 0');
  const second = withGroups(
    { containerId: 5, hostId: 100_000, length: 5 },
    { containerId: 20, hostId: 7, length: 2 },
  );
  assert.equal(range(second, '0 20'), '1 0');
  assert.equal(range(second, '20 2147483647'), '7 8');
});
