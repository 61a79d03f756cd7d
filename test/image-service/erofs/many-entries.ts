/**
 * Writes one large layer as an EROFS image, in a process of its own, whose memory is then the writer's:
 * `many-entries.ts KIND COUNT IMAGE`. Prints the peak of the process's memory before and after, in KiB, and what was written.
 */
import type { TarEntry } from '#core/tar/entry.ts';
import { ErofsLayer } from '#image-service/erofs/index.ts';
import { defaultImageOptions } from '#image-service/index.ts';

const common = { link: '', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 1n, major: 0, minor: 0 } as const;
const bare = new Map<string, Uint8Array>();
const root: TarEntry = { ...common, type: 'directory', name: './', mode: 0o755, xattrs: bare };
const file = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({
  ...common,
  type: 'file',
  name,
  xattrs: bare,
  ...more,
});
/** Files over directories of a thousand each. */
const spread = (n: number): string => `d${n >> 10}/file-${n}`;

const KINDS: Readonly<Record<string, (n: number) => TarEntry>> = {
  links: (n) => (n === 0 ? file('one', { size: 8 }) : file(spread(n), { type: 'hardlink', link: 'one' })),
  files: (n) => file(spread(n), { size: 8 }),
  flat: (n) => file(`file-${n}`),
  attributes: (n) => file(spread(n), { xattrs: new Map([['user.own', Buffer.from(`value of ${n}`)]]) }),
  symlinks: (n) => file(spread(n), { type: 'symlink', link: `../of/${n}` }),
};

const [, , kind = '', count = '0', path = ''] = process.argv;
const make = KINDS[kind];
if (!make) throw new Error(`no kind ${kind}`);
const before = process.resourceUsage().maxRSS;
using layer = new ErofsLayer(path, defaultImageOptions.limits);
layer.entry(root);
layer.entryEnd();
for (let n = 0; n < Number(count); n++) {
  const entry = make(n);
  layer.entry(entry);
  if (entry.size > 0) layer.data(Buffer.from(String(n).padStart(entry.size)));
  layer.entryEnd();
}
const { rootDeclared, implied } = layer.report();
const written = await layer.finish(new AbortController().signal);
const peak = process.resourceUsage().maxRSS;
console.log(JSON.stringify({ before, peak, ...written, rootDeclared, implied: implied.length }));
