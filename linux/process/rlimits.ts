/** The soft limit in /proc/PID/limits (proc(5)); undefined: none, or no such line. */
export function parseOpenFiles(text: string): bigint | undefined {
  const found = /^Max open files +(\d+) /m.exec(text)?.[1];
  return found === undefined ? undefined : BigInt(found);
}
