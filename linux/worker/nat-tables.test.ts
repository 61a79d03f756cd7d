import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import type { AsyncNetlink } from '../net/async-netlink.ts';
import { RealNatTables } from './nat-tables.ts';

/** A kernel that carries out so many changes and refuses the next one. */
function kernel(changes: number, errno: string) {
  let left = changes;
  const answer = async (what: string) => {
    if (left-- <= 0) throw refused(what, errno);
    return [];
  };
  const netlink = { send: answer, get: answer, dump: answer } as unknown as AsyncNetlink;
  return new RealNatTables({ use: (act) => act(netlink) });
}

test('what the kernel lacks is named, with its module', async () => {
  const all = { family: 6, masquerade: true, ports: true } as const;
  const expected = [
    [0, 'EOPNOTSUPP', 'nf_tables', 'nf_tables'],
    [0, 'EPROTONOSUPPORT', 'nf_tables', 'nf_tables'],
    [1, 'ENOENT', 'NAT', 'nft_chain_nat'],
    [2, 'ENOENT', 'masquerade', 'nft_masq'],
    [4, 'ENOENT', 'fib daddr type', 'nft_fib_ipv6'],
    [5, 'ENOENT', 'dnat', 'nft_nat'],
  ] as const;
  for (const [changes, errno, part, module] of expected)
    await assert.rejects(
      kernel(changes, errno).check(all),
      (error) =>
        hasCode(error, 'FailedPrecondition') &&
        error.message.includes(`lacks ${part} for IPv6 (${errno})`) &&
        error.hint.includes(`modprobe ${module},`),
      `${part} ${errno}`,
    );
  await assert.rejects(kernel(2, 'EPERM').check(all), (error) => hasCode(error, 'KernelRefused'));
  await assert.rejects(kernel(0, 'ENOENT').check({ ...all, masquerade: false }), /nf_tables/);
});

test('a kernel without nf_tables has no rules to remove', async () => {
  const pod = { network: 'n', id: 'i', interfaceName: 'eth0' };
  for (const errno of ['EOPNOTSUPP', 'EPROTONOSUPPORT', 'EINVAL']) {
    assert.equal(await kernel(0, errno).erase(pod), false);
    assert.deepEqual(await kernel(0, errno).owners(['n']), []);
  }
  await assert.rejects(kernel(0, 'EPERM').erase(pod), /EPERM/);
});
