import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode } from '#core/json-record.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import type { LayerForm, LayerRecord } from './layer-record.ts';
import type { Staging } from './staging.ts';

/** Names in a layer's directory: of its files, or of their image. */
export const FILES_NAME = 'fs';
export const IMAGE_NAME = 'layer.erofs';
const RECORD_NAME = 'record.json';

/** A directory in which a layer is created; deleted at the end of its scope unless it was committed. */
export interface StagedLayer extends AsyncDisposable {
  /** Holds `fs` or, later, the image. */
  readonly path: string;
  readonly form: LayerForm['form'];
  /** Where the files go: of the form `directory` a directory that exists, else nothing. */
  readonly fs: string;
  /** Where an EROFS image goes instead; does not exist. */
  readonly image: string;
}

/** Makes the directory in which a layer of this form is created. */
export async function stageLayer(staging: Staging, form: LayerForm['form']): Promise<StagedLayer> {
  const path = staging.path('layer');
  const fs = join(path, FILES_NAME);
  try {
    await naming(`make ${path}`, async () => {
      await mkdir(path, { mode: 0o700 });
      if (form === 'directory') await mkdir(fs, { mode: 0o755 });
    });
  } catch (error) {
    await staging.discard(path);
    throw error;
  }
  return {
    path,
    form,
    fs,
    image: join(path, IMAGE_NAME),
    // Also once it was committed: the end of a pull waits for no large trees that are being deleted.
    [Symbol.asyncDispose]: () => staging.discard(path, { isTree: form === 'directory' }),
  };
}

/**
 * Writes the record of a staged layer. `byFile`: with it the image, the record and their names outlive a power cut, once the
 * directory has its name; what else the directory holds has been flushed by the caller.
 */
export async function writeLayerRecord(
  staged: StagedLayer,
  record: LayerRecord,
  files: Files,
  byFile: boolean,
): Promise<void> {
  const place = join(staged.path, RECORD_NAME);
  if (!byFile) {
    // Not flushed, like the files: the layer is trusted only if an image's record names it, which is written after a sync.
    return naming(`write ${place}`, () => writeFile(place, encode(record), { mode: 0o600 }));
  }
  if (record.image) {
    await files.syncFile(staged.image);
    await files.sealFile(staged.image);
  }
  await files.writeAtomic(place, encode(record), { mode: 0o600 });
  await files.syncDirectory(staged.path);
}
