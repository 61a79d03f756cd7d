import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { errnoOf, hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import { formatIp } from '#linux/net/ip-address.ts';
import { LinkRemoval } from '#linux/net/link-removal.ts';
import { NETLINK_ROUTE, openNetlink } from '#linux/net/netlink.ts';
import { LOOPBACK, RtnetlinkSocket } from '#linux/net/rtnetlink.ts';
import type { JoinRequest, Kernel } from '#linux/ports/kernel.ts';

let kernel: Kernel;
let directory: string;
before(async () => {
  kernel = await openKernel();
  directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'links-'));
});
after(() => kernel.close());

const soon = () => AbortSignal.timeout(20_000);
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
const veths = () => ip('-o', 'link', 'show', 'type', 'veth').split('\n').filter(Boolean);

async function joined(name: string, changes: Partial<JoinRequest> = {}): Promise<JoinRequest> {
  const netns = join(directory, name);
  await kernel.namespaces.pinEmptyNetwork(netns);
  const request: JoinRequest = {
    netns,
    interfaceName: 'eth0',
    bridge: 'links0',
    mtu: 0,
    hairpin: false,
    loopback: true,
    addresses: [{ address: '10.66.0.9', prefixLength: 24 }],
    routes: [],
    gateways: [],
    forceAddress: false,
    localnet: undefined,
    ...changes,
  };
  await kernel.links.join(request, soon());
  return request;
}

test('loopback and its addresses', () => {
  using links = new RtnetlinkSocket();
  assert.equal(links.find('lo')?.index, LOOPBACK);
  const texts = links.addresses(LOOPBACK).map(({ ip, prefixLength }) => `${formatIp(ip)}/${prefixLength}`);
  assert.equal(texts[0], '127.0.0.1/8');
  const inet6 = '/proc/net/if_inet6';
  if (existsSync(inet6) && readFileSync(inet6, 'utf8') !== '') assert.ok(texts.includes('::1/128'));
});

test("a bridge's other address is an error, or with forceAddress replaced", async (t) => {
  t.after(() => ip('link', 'delete', 'links0'));
  ip('link', 'add', 'links0', 'type', 'bridge');
  ip('addr', 'add', '10.9.9.1/24', 'dev', 'links0');
  const gateways = [{ address: '10.66.0.1', prefixLength: 24 }];
  const addresses = () => ip('-o', '-4', 'addr', 'show', 'links0').match(/inet \S+/g);
  await assert.rejects(
    joined('refused', { gateways }),
    /links0 has the address 10\.9\.9\.1\/24 instead of 10\.66\.0\.1\/24/,
  );
  assert.deepEqual(addresses(), ['inet 10.9.9.1/24']);
  for (const name of ['forced', 'forced-again']) {
    const request = await joined(name, { gateways, forceAddress: true });
    assert.deepEqual(addresses(), ['inet 10.66.0.1/24']);
    await kernel.links.leave(request);
    await kernel.mounts.unmount(request.netns);
  }
  await kernel.links.leave({ netns: join(directory, 'refused'), interfaceName: 'eth0', loopback: true });
  await kernel.mounts.unmount(join(directory, 'refused'));
});

test('pods that leave a bridge together are all removed when their calls end; a repeated leave is success', async (t) => {
  t.after(() => ip('link', 'delete', 'links0'));
  const requests = await Promise.all(Array.from({ length: 6 }, (_, n) => joined(`pod${n}`)));
  assert.equal(veths().length, 6);
  await Promise.all(
    requests.map(async (request) => {
      await kernel.links.leave(request);
      const inside = execFileSync('nsenter', [`--net=${request.netns}`, 'ip', '-o', 'link'], {
        encoding: 'utf8',
      });
      assert.match(inside, /^1: lo: <LOOPBACK> [^\n]*\n$/);
    }),
  );
  assert.deepEqual(veths(), []);
  for (const request of requests) {
    await kernel.links.leave(request);
    await kernel.mounts.unmount(request.netns);
  }
  await assert.rejects(
    kernel.links.leave({ ...requests[0], netns: join(directory, 'none') } as JoinRequest),
    (error) => hasCode(error, 'NotFound'),
  );
});

test('a link inside a pod is read with its addresses and routes', async (t) => {
  t.after(() => ip('link', 'delete', 'links0'));
  const route = { destination: '10.77.0.0', prefixLength: 16, gateway: '10.66.0.1' };
  const all = { destination: '0.0.0.0', prefixLength: 0, gateway: '10.66.0.1' };
  const request = await joined('inspected', { routes: [all, route] });
  const found = await kernel.links.inspect(request);
  assert.ok(found?.up);
  assert.match(found.mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  assert.ok(found.addresses.includes('10.66.0.9/24'));
  const routes = found.routes.map(({ to, gateway }) => `${to} ${gateway}`);
  for (const expected of ['0.0.0.0/0 10.66.0.1', '10.77.0.0/16 10.66.0.1', '10.66.0.0/24 undefined'])
    assert.ok(routes.includes(expected), `${routes} lacks ${expected}`);
  assert.equal(await kernel.links.inspect({ ...request, interfaceName: 'eth1' }), undefined);
  await kernel.links.leave(request);
  assert.equal(await kernel.links.inspect(request), undefined);
  await kernel.mounts.unmount(request.netns);
  await assert.rejects(kernel.links.inspect(request), (error) => error instanceof Error);
});

test('a link that cannot be deleted is an error, a missing one is none', async () => {
  const removal = new LinkRemoval();
  const remove = (index: number, isThere: boolean) =>
    removal.remove({ index, socket: openNetlink(NETLINK_ROUTE) }, async () => isThere);
  await assert.rejects(remove(LOOPBACK, true), (error) => errnoOf(error) === 'ENOTSUP');
  await remove(4_000, true);
  await remove(4_000, false);
});
