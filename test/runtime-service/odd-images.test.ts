/** Images that other runtimes take, from the pull to the process: no entry point, absolute names, another machine's programs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { buildImage, busyboxEntries } from '../harness/images.ts';
import { endsClean, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('odd-images');
const pod = await node.runPod();
const here = process.arch === 'x64' ? 'amd64' : process.arch;
const other = here === 'arm64' ? 'amd64' : 'arm64';

test('ENTRYPOINT [""] is none: the CMD runs, the args of the pod, its command, and nothing is refused by name', async () => {
  const config = { Env: ['PATH=/bin'], Entrypoint: [''] };
  const layers = [{ entries: busyboxEntries() }];
  const id = await node.addImage('empty', buildImage({ layers, config: { ...config, Cmd: ['echo', 'C'] } }));
  const image = { image: id };
  for (const [command, args, want] of [
    [[], [], 'C'],
    [[], ['echo', 'A'], 'A'],
    [['echo', 'K'], ['A'], 'K A'],
  ] as const)
    assert.equal((await node.output(pod, [...command], { image, args: [...args] })).out, want);
  const bare = await node.addImage('bare', buildImage({ layers, config }));
  await refused(node.create(pod, { image: { image: bare }, command: [] }), 'InvalidArgument', /command/);
});

test('an image whose layers have absolute names runs', async () => {
  const entries = busyboxEntries().map((entry) => ({
    ...entry,
    name: `/${entry.name.replace(/^\.\//, '')}`,
  }));
  const links = [{ name: '/links/echo', type: 'hardlink', link: '/bin/busybox' }] as const;
  const id = await node.addImage('absolute', buildImage({ layers: [{ entries }, { entries: links }] }));
  const image = { image: id };
  assert.equal((await node.output(pod, ['/links/echo', 'it runs'], { image })).out, 'it runs');
});

test("an image that claims another machine runs if its programs do; another machine's program fails at its start", async () => {
  const platform = { os: 'linux', architecture: other };
  const mine = await node.addImage('mine', buildImage({ layers: [{ entries: busyboxEntries() }], platform }));
  const { out } = await node.output(pod, ['/bin/echo', 'it runs'], { image: { image: mine } });
  assert.equal(out, 'it runs');
  const foreign = readFileSync('/bin/busybox');
  foreign.writeUInt16LE(0xf3 ^ (here === 'riscv64' ? 1 : 0), 18); // e_machine: RISC-V
  const entries = [...busyboxEntries([]), { name: 'bin/foreign', content: foreign, mode: 0o755 }];
  const theirs = await node.addImage('theirs', buildImage({ layers: [{ entries }], platform }));
  const failed = await node.output(pod, ['/bin/foreign'], { image: { image: theirs } });
  assert.notEqual(failed.code, 0);
  assert.match(failed.err, /exec format error/i);
});

endsClean(node);
