import { printable } from './format.ts';

/** A column: its title and what it shows of an item. */
export type Column<T> = readonly [title: string, show: (item: T) => string];

/** Columns padded to their widest cell and separated by four spaces or more, as crictl prints them. */
export function renderTable<T>(columns: readonly Column<T>[], items: readonly T[]): string {
  const rows = [
    columns.map(([title]) => title),
    ...items.map((item) => columns.map(([, show]) => printable(show(item)))),
  ];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => [...(row[index] ?? '')].length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, index) => cell + ' '.repeat((widths[index] ?? 0) - [...cell].length + 4))
      .join('')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}
