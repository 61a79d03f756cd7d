/** Huge pages of a group: sizes as the kernel's control files and CRI name them, `2MB`. */
import { readdirSync } from 'node:fs';
import type { CgroupVersion } from '../ports/kernel.ts';
import type { HugePageStats } from '../ports/stats.ts';

/** Of each size that this machine's kernel has, smallest first; they are set at its start. */
export function hugePageSizes(): string[] {
  let names: string[];
  try {
    names = readdirSync('/sys/kernel/mm/hugepages');
  } catch {
    return []; // a kernel without them
  }
  return names
    .flatMap((name) => /^hugepages-(\d+)kB$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b)
    .map(sizeName);
}

/** As mm/hugetlb_cgroup.c writes it. */
function sizeName(kilobytes: number): string {
  if (kilobytes >= 1 << 20) return `${kilobytes >> 20}GB`;
  return kilobytes >= 1 << 10 ? `${kilobytes >> 10}MB` : `${kilobytes}KB`;
}

/** What version 2 does not keep: the most that was ever in use. */
const FILES = { 1: ['usage_in_bytes', 'max_usage_in_bytes'], 2: ['current'] } as const;

export const hugePageFiles = (version: CgroupVersion, sizes: readonly string[]): string[] =>
  sizes.flatMap((size) => FILES[version].map((file) => `hugetlb.${size}.${file}`));

/** None where the controller is not there. */
export function parseHugePages(version: CgroupVersion, texts: ReadonlyMap<string, string>): HugePageStats[] {
  const [now, most] = FILES[version];
  return [...texts].flatMap(([name, text]) => {
    const [, pageSize, file] = /^hugetlb\.(\w+)\.(\w+)$/.exec(name) ?? [];
    const usage = bytes(text);
    if (pageSize === undefined || file !== now || usage === undefined) return [];
    const peak = most === undefined ? undefined : bytes(texts.get(`hugetlb.${pageSize}.${most}`));
    return [{ pageSize, usage, peak }];
  });
}

const bytes = (text: string | undefined): bigint | undefined =>
  /^\d+\n?$/.test(text ?? '') ? BigInt(text?.trim() ?? 0) : undefined;
