import type { FileHandle } from 'node:fs/promises';
import { type TarMember, tarHeader, tarPadding } from '#core/tar/writer.ts';

const CHUNK = 1 << 20;

/** An open file as a member of an archive; one that grows meanwhile is truncated, one that shrinks is filled with zeros. */
export async function* fileMember(
  file: FileHandle,
  member: Omit<TarMember, 'type' | 'size'>,
): AsyncGenerator<Buffer> {
  const { size } = await file.stat();
  yield tarHeader({ ...member, type: 'file', size });
  for (let at = 0; at < size; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
    yield bytesRead === 0 ? chunk.fill(0) : chunk.subarray(0, bytesRead);
    at += bytesRead === 0 ? chunk.length : bytesRead;
  }
  yield tarPadding(size);
}

/** A generated file, owned by root. */
export function textMember(name: string, text: string): Buffer {
  const bytes = Buffer.from(text);
  const header = tarHeader({
    type: 'file',
    name,
    mode: 0o600,
    uid: 0,
    gid: 0,
    size: bytes.length,
    mtime: Date.now() / 1000,
  });
  return Buffer.concat([header, bytes, tarPadding(bytes.length)]);
}
