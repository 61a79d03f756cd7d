import type { LayerReport } from './layer-writer.ts';

/** A report as it crosses threads: its names in one text each. An array of a million would hold up the main thread for seconds. */
export interface SentReport extends Omit<LayerReport, 'implied' | 'links'> {
  readonly implied: string;
  readonly links: string;
}

/** What is left to be known of a layer that is an image. */
export type ImageReport = Pick<LayerReport, 'rootDeclared' | 'rootOpaque' | 'dropped'>;

/** Behind each name: none has one. */
const END = '\0';

export const sentReport = ({ implied, links, ...rest }: LayerReport): SentReport => ({
  ...rest,
  implied: implied.map((path) => path + END).join(''),
  links: links.map(([path, target]) => path + END + target + END).join(''),
});

export function receivedReport({ implied, links, ...rest }: SentReport): LayerReport {
  const names = namesOf(links);
  const pairs = Array.from({ length: names.length / 2 }, (_, n) => {
    const [path = '', target = ''] = [names[2 * n], names[2 * n + 1]];
    return [path, target] as const;
  });
  return { ...rest, implied: namesOf(implied), links: pairs };
}

const namesOf = (text: string): string[] => text.split(END).slice(0, -1);

export const imageReport = ({ rootDeclared, rootOpaque, dropped }: LayerReport): ImageReport => ({
  rootDeclared,
  rootOpaque,
  dropped,
});
