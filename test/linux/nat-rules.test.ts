/** crisp's own rules in nf_tables beside those of the node's iptables. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, beforeEach } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import type { Kernel, Masquerade } from '#linux/ports/kernel.ts';

let kernel: Kernel;
before(async () => {
  kernel = await openKernel();
});
after(() => kernel.close());
beforeEach(() => void execFileSync('nft', ['flush', 'ruleset']));

const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
const soon = () => AbortSignal.timeout(20_000);
const CHAIN = 'CNI-0123456789abcdef01234567';

const pod = (changes: Partial<Masquerade> = {}): Masquerade => ({
  family: 4,
  chain: CHAIN,
  text: 'name: "test" id: "0a1b"',
  address: '10.66.1.9',
  prefixLength: 24,
  ...changes,
});
const pod6 = (prefixLength: number) => pod({ family: 6, address: 'fd00:66::9', prefixLength });

/** The expected rules, as iptables writes them. */
function rulesOf({ family, chain, text, address, prefixLength }: Masquerade): string {
  const note = `-m comment --comment "${text.replaceAll('"', '\\"')}"`;
  return `*nat
:${chain} - [0:0]
-A ${chain} -d ${address}/${prefixLength} ${note} -j ACCEPT
-A ${chain} ! -d ${family === 4 ? '224.0.0.0/4' : 'ff00::/8'} ${note} -j MASQUERADE
-A POSTROUTING -s ${address} ${note} -j ${chain}
COMMIT
`;
}

const program = (family: 4 | 6, verb: string) => `ip${family === 4 ? '' : '6'}tables-${verb}`;
const restore = (family: 4 | 6, input: string) =>
  execFileSync(program(family, 'restore'), ['--noflush'], { input, env });
const saved = (family: 4 | 6 = 4): string =>
  execFileSync(program(family, 'save'), ['-t', 'nat'], { env, encoding: 'utf8' }).replace(/^#.*\n/gm, '');
const ruleset = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
/** The base chains of the node, as the first rule of any program makes them. */
const prepare = (family: 4 | 6) =>
  restore(
    family,
    '*nat\n-A POSTROUTING -s 0:: -j RETURN\nCOMMIT\n'.replace('0::', family === 4 ? '10.0.0.1' : '::1'),
  );

const alike = (rules: Masquerade, argv: readonly string[], signal = soon()) =>
  kernel.nat.matchesIptables({ argv, env, input: rulesOf(rules) }, rules, signal);

test('the node’s iptables writes as crisp does, and crisp leaves the node’s tables alone meanwhile', async () => {
  const all = [
    ...[8, 16, 20, 24, 28, 30].map((prefixLength) => pod({ prefixLength })),
    ...[48, 61, 64, 112, 126].map(pod6),
  ];
  for (const rules of all) {
    const argv = [program(rules.family, 'restore'), '--noflush'];
    assert.equal(await alike(rules, argv), true, `${rules.address}/${rules.prefixLength}`);
  }
  assert.equal(ruleset(), '');
});

test('an iptables that writes different rules is detected', async () => {
  const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'nat-'));
  const script = (text: string): string[] => {
    const path = join(directory, 'iptables');
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return [path];
  };
  const through = (filter: string) => script(`${filter} | iptables-restore --noflush`);
  assert.equal(await alike(pod(), through('cat')), true);
  for (const filter of [
    'sed s/0a1b/0a1c/',
    'sed s/224.0.0.0/240.0.0.0/',
    'sed "/MASQUERADE/s/$/ --random/"',
    'sed s/ACCEPT/RETURN/',
    'sed "s/-A POSTROUTING/-I POSTROUTING 1/;/^COMMIT/i -A POSTROUTING -j RETURN"',
    'sed "/^COMMIT/i -A PREROUTING -j RETURN"',
  ])
    assert.equal(await alike(pod(), through(filter)), false, filter);
  assert.equal(await alike(pod(), script('exit 0')), false, 'one that writes nothing');
  assert.equal(
    await alike(pod(), ['iptables-legacy-restore', '--noflush']),
    false,
    'one that writes elsewhere',
  );
  assert.equal(await alike(pod(), script('exit 1')), false);
  await assert.rejects(alike(pod(), ['/none/iptables']), (error) => hasCode(error, 'NotFound'));
  const started = new AbortController();
  const hanging = alike(pod(), script(`echo > ${directory}/up; exec sleep 1000`), started.signal);
  setTimeout(() => started.abort(), 100);
  await assert.rejects(hanging, (error) => hasCode(error, 'Cancelled'));
});

for (const rules of [pod({ prefixLength: 20 }), pod6(64)]) {
  test(`IPv${rules.family}: either takes away what the other has made`, async () => {
    const { family } = rules;
    prepare(family);
    const before = saved(family);
    restore(family, rulesOf(rules));
    const theirs = saved(family);
    assert.equal(await kernel.nat.remove(rules), true);
    assert.equal(saved(family), before);
    assert.equal(await kernel.nat.add(rules), true);
    assert.equal(saved(family), theirs);
    restore(
      family,
      `*nat\n:${CHAIN} -\n-D ${/^-A (POSTROUTING .*CNI.*)$/m.exec(theirs)?.[1]}\n-X ${CHAIN}\nCOMMIT\n`,
    );
    assert.equal(saved(family), before);
  });
}

test('what is not as it should be is left as it is', async () => {
  assert.equal(await kernel.nat.add(pod()), false, 'no chain of the node');
  assert.equal(await kernel.nat.remove(pod()), false);
  assert.equal(ruleset(), '');
  prepare(4);
  const before = saved();
  assert.equal(await kernel.nat.remove(pod()), false, 'nothing to remove');
  assert.equal(saved(), before);
  assert.equal(await kernel.nat.add(pod()), true);
  const once = saved();
  assert.equal(await kernel.nat.add(pod()), false, 'the chain is there');
  assert.equal(saved(), once);
  restore(4, `*nat\n:OTHER -\n-A OTHER -j ${CHAIN}\nCOMMIT\n`);
  const elsewhere = saved();
  assert.equal(await kernel.nat.remove(pod()), false, 'a jump from elsewhere');
  assert.equal(saved(), elsewhere);
});

test('many at once, and the jumps of others stay', async () => {
  prepare(4);
  const before = saved();
  const pods = Array.from({ length: 40 }, (_, n) =>
    pod({ address: `10.66.1.${n + 1}`, chain: `CNI-${n.toString(16).padStart(24, '0')}` }),
  );
  assert.ok((await Promise.all(pods.map((one) => kernel.nat.add(one)))).every(Boolean));
  const jumps = () => saved().match(/^-A POSTROUTING .*CNI/gm)?.length ?? 0;
  assert.equal(jumps(), 40);
  const removed = await Promise.all(pods.slice(0, 20).map((one) => kernel.nat.remove(one)));
  assert.ok(removed.every(Boolean));
  assert.equal(jumps(), 20);
  for (const one of pods.slice(20)) assert.equal(await kernel.nat.remove(one), true);
  assert.equal(saved(), before);
});
