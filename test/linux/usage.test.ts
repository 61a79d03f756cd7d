/** Stats of real groups, links and trees. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { openKernel } from '#linux/index.ts';

const kernel = await openKernel();
const group = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-usage`;
const directory = mkdtempSync(join(tmpdir(), 'crisp-usage-'));
const soon = () => AbortSignal.timeout(120_000);
const env = { PATH: '/usr/bin:/bin' };
await kernel.cgroups.create(`${group}/busy`);
await kernel.cgroups.create(`${group}/idle`);
const child = await kernel.processes.spawn({
  argv: ['sh', '-c', 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; sleep 1000'],
  env,
  stdout: 'pipe',
});
await kernel.cgroups.join(`${group}/busy`, child.process.pid);
await new Promise((resolve) => child.stdout?.once('data', resolve));

after(async () => {
  await kernel.cgroups.kill(group, soon());
  await child.exited;
  child.stdout?.destroy();
  await kernel.cgroups.remove(group, soon());
  rmSync(directory, { recursive: true });
  await kernel.close();
});

test('a group that has used CPU and memory shows it, an idle one shows none, a removed one is undefined', async () => {
  const paths = [`${group}/busy`, `${group}/idle`, `${group}/none`, group];
  for (const detail of ['stats', 'metrics'] as const) {
    const [busy, idle, none, both] = await kernel.usage.groups(paths, detail);
    assert.ok((busy?.cpu?.usage ?? 0n) > 0n);
    assert.ok((busy?.memory?.usage ?? 0n) > 0n);
    assert.ok((busy?.memory?.workingSet ?? 0n) <= (busy?.memory?.usage ?? 0n));
    assert.ok((busy?.threads ?? 0n) >= 1n);
    assert.equal(idle?.cpu?.usage, 0n);
    assert.equal(none, undefined);
    assert.ok((both?.cpu?.usage ?? 0n) >= (busy?.cpu?.usage ?? 0n), 'the parent counts its children');
    assert.equal(busy?.oomKills, detail === 'metrics' ? 0n : undefined);
  }
});

test('many groups in one pass keep their order', async () => {
  const paths = Array.from({ length: 400 }, (_, at) =>
    at % 3 === 0 ? `${group}/busy` : `${group}/none${at}`,
  );
  const usages = await kernel.usage.groups(paths, 'metrics');
  assert.deepEqual(
    usages.map((usage) => usage !== undefined),
    paths.map((path) => path.endsWith('busy')),
  );
});

test('links of a process; a recycled pid has none', async () => {
  const [own, other] = await kernel.usage.links([child.process, { ...child.process, startTime: '1' }]);
  assert.ok(own?.some(({ name }) => name === 'lo'));
  assert.deepEqual(other, []);
});

test('the limit of open files of a process; a recycled pid has none', async () => {
  const [own, other] = await kernel.usage.openFiles([child.process, { ...child.process, startTime: '1' }]);
  assert.ok((own ?? 0n) > 0n);
  assert.equal(other, undefined);
});

test('processes of groups, with their descriptors', async () => {
  const [busy, none, above] = await kernel.usage.processes([`${group}/busy`, `${group}/none`, group], true);
  assert.ok((busy?.processes ?? 0) >= 1);
  assert.ok((busy?.descriptors ?? 0) >= 3);
  assert.deepEqual(none, { processes: 0, descriptors: 0, sockets: 0 });
  assert.equal(above?.processes, busy?.processes);
});

test('a tree: each inode once, links not followed, names of any bytes, a missing one empty', async () => {
  const top = join(directory, 'tree');
  mkdirSync(join(top, 'deep/er'), { recursive: true });
  writeFileSync(join(top, 'file'), Buffer.alloc(100_000, 1));
  linkSync(join(top, 'file'), join(top, 'deep/again'));
  symlinkSync('/', join(top, 'root'));
  writeFileSync(Buffer.concat([Buffer.from(`${top}/deep/er/`), Buffer.from([0xff, 0xfe])]), 'x');
  const { bytes, inodes } = await kernel.usage.tree(top, soon());
  assert.equal(inodes, 6n);
  assert.ok(bytes >= 100_000n && bytes < 200_000n, String(bytes));
  assert.deepEqual(await kernel.usage.tree(join(directory, 'none'), soon()), { bytes: 0n, inodes: 0n });
  await assert.rejects(kernel.usage.tree(top, AbortSignal.abort()));
});

test('a large tree is walked in slices while the thread answers others', async () => {
  const top = join(directory, 'large');
  for (let at = 0; at < 100; at++) {
    mkdirSync(join(top, `${at}`), { recursive: true });
    for (let file = 0; file < 40; file++) writeFileSync(join(top, `${at}/${file}`), '');
  }
  const [tree, [usage]] = await Promise.all([
    kernel.usage.tree(top, soon()),
    kernel.usage.groups([`${group}/busy`], 'stats'),
  ]);
  assert.equal(tree.inodes, 4101n);
  assert.ok(usage);
});
