import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { layerArchive } from './layer-archive.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-layer-'));
after(() => rmSync(root, { recursive: true }));

async function collected(archive: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const piece of archive) text += piece.toString('latin1');
  return text;
}

test('a directory that the container swaps for a link meanwhile leads nowhere', async () => {
  const [upper, outside] = [join(root, 'swap'), join(root, 'outside')];
  mkdirSync(join(upper, 'd'), { recursive: true });
  mkdirSync(outside);
  for (const name of ['a', 'b']) writeFileSync(join(upper, 'd', name), `own ${name}`);
  writeFileSync(join(outside, 'b'), 'the secret of the node');
  const archive = layerArchive(upper);
  let text = '';
  for await (const piece of archive) {
    text += piece.toString('latin1');
    if (!text.includes('own a') || text.includes('own b')) continue;
    renameSync(join(upper, 'd'), join(upper, 'moved'));
    symlinkSync(outside, join(upper, 'd'));
    text += await collected(archive);
  }
  assert.ok(!text.includes('secret'), 'nothing of the node is in the archive');
  assert.ok(text.includes('own b'));
});

test('names that are no UTF-8 and links to anywhere are kept as they are', async () => {
  const upper = join(root, 'names');
  mkdirSync(upper);
  const name = Buffer.from([0x66, 0xff, 0xfe]);
  writeFileSync(Buffer.concat([Buffer.from(`${upper}/`), name]), 'odd');
  symlinkSync('/etc/shadow', join(upper, 'link'));
  const text = await collected(layerArchive(upper));
  assert.ok(text.includes(`${name.toString('latin1')}\0`));
  assert.ok(text.includes('odd'));
  assert.ok(text.includes('/etc/shadow'));
});
