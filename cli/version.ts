/** `crisp version`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Parsed } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';

export function version(parsed: Parsed, terminal: Terminal): number {
  const format = outputOf(parsed, TEXT_OR_JSON);
  const text = readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8');
  const { version: own } = JSON.parse(text) as { version: string };
  terminal.out(
    format === 'json'
      ? jsonText({ version: own, node: process.version })
      : `crisp ${own} (node ${process.version})\n`,
  );
  return 0;
}
