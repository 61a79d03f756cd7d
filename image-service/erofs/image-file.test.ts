import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { BLOCK } from './format.ts';
import { IMAGE_FILE_BYTES, ImageFile } from './image-file.ts';

function place(t: TestContext): string {
  const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'image-file-'));
  t.after(() => rmSync(base, { recursive: true }));
  return join(base, 'image');
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Appends so many bytes in pieces; `between` runs after each. Returns the file's bytes without the first block. */
async function append(image: ImageFile, count: number, between: () => unknown): Promise<Buffer> {
  const all = randomBytes(count);
  for (let at = 0; at < count; at += 300_001) {
    image.append(all.subarray(at, at + 300_001));
    await between();
  }
  image.fillBlock();
  return Buffer.concat([all, Buffer.alloc(image.position - BLOCK - count)]);
}

for (const [name, isPaced] of [
  ['when it is ready', true],
  ['faster than it is written', false],
] as const) {
  test(`what is appended ${name} can be read at any time, and is in the file with its digest`, async (t) => {
    const path = place(t);
    using image = new ImageFile(path);
    let seen = 0;
    const all: Buffer[] = [];
    const bytes = await append(image, 3 * IMAGE_FILE_BYTES + 12_345, async () => {
      // From the file, across its end, and from what is not in it yet.
      const length = image.position - BLOCK;
      for (const from of [seen, Math.max(0, length - (1 << 20) - 5000), length - 700])
        all.push(
          Buffer.from([from / 2 ** 24, from / 2 ** 16, from / 2 ** 8, from]),
          image.read(BLOCK + from, 600),
        );
      seen = length;
      if (isPaced) await image.ready();
    });
    for (let n = 0; n < all.length; n += 2) {
      const from = all[n]?.readUInt32BE() ?? 0;
      assert.ok(all[n + 1]?.equals(bytes.subarray(from, from + 600)), `read at ${from}`);
    }
    assert.equal((await image.digestSoFar()).toString('hex'), sha256(bytes));
    const first = randomBytes(BLOCK);
    const end = await image.finish(first);
    assert.ok(readFileSync(path).equals(Buffer.concat([first, bytes])));
    assert.deepEqual(end, {
      digest: Buffer.from(sha256(Buffer.concat([bytes, first])), 'hex'),
      bytes: BLOCK + bytes.length,
    });
  });
}

test('a write that fails is the error of the next read, too, and not damage', () => {
  const directory = process.env['CRISP_TEST_DIR'] ?? tmpdir();
  const source = `import { mkdtempSync, rmSync } from 'node:fs';
    import { ImageFile } from ${JSON.stringify(new URL('image-file.ts', import.meta.url).href)};
    process.on('SIGXFSZ', () => {});
    const base = mkdtempSync(${JSON.stringify(join(directory, 'limit-'))});
    const image = new ImageFile(base + '/image');
    image.append(Buffer.alloc(3 << 20, 'x'));
    const why = (act) => { try { act(); return 'none'; } catch (error) { return error.code + ' ' + error.message; } };
    await image.ready().catch(() => {});
    while (true) {
      image.append(Buffer.alloc(1 << 20));
      const failed = await image.ready().then(() => undefined, (error) => error);
      if (failed) break;
    }
    console.log(why(() => image.read(2 << 20, 4096)));
    rmSync(base, { recursive: true });`;
  const run = ['ulimit -f 2048; exec "$@"', 'sh', process.execPath, '--input-type=module', '--eval', source];
  const { stdout, stderr } = spawnSync('bash', ['-c', ...run], { encoding: 'utf8' });
  assert.match(stdout, /EFBIG/, stderr);
});

test('an image that is given up while it is written leaves its file to be deleted', async (t) => {
  const path = place(t);
  const image = new ImageFile(path);
  image.append(randomBytes(IMAGE_FILE_BYTES - 1));
  image[Symbol.dispose]();
  image[Symbol.dispose]();
  rmSync(path);
  using next = new ImageFile(path);
  const bytes = await append(next, IMAGE_FILE_BYTES, () => next.ready());
  assert.equal((await next.digestSoFar()).toString('hex'), sha256(bytes));
});
