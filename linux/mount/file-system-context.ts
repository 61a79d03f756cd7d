import { readSync } from 'node:fs';

/** The kernel's messages about a refusal: the context of fsopen(2) has its own log, one message for each read. */
export function kernelMessages(context: number): string {
  const lines: string[] = [];
  const buffer = Buffer.alloc(1024);
  for (let n = 0; n < 8; n++) {
    try {
      const length = readSync(context, buffer);
      lines.push(buffer.toString('utf8', 2, length).trim());
    } catch {
      break; // ENODATA: no more
    }
  }
  return lines.join('; ');
}
