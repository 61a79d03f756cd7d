import type { ImageServiceHandlers } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { imageFsInfo } from './image-fs-info.ts';
import { imageStatus } from './image-status.ts';
import { listImages } from './list-images.ts';
import { pullImage } from './pull-image.ts';
import { removeImage } from './remove-image.ts';
import { streamImages } from './stream-images.ts';

type Handlers = Partial<ImageServiceHandlers<Operation>>;

/** The implemented RPCs of ImageService; the server returns UNIMPLEMENTED for the others. */
export const imageHandlers = (services: CriServices): Record<string, never> & Handlers =>
  ({
    ListImages: listImages(services),
    ImageStatus: imageStatus(services),
    PullImage: pullImage(services),
    RemoveImage: removeImage(services),
    ImageFsInfo: imageFsInfo(services),
    StreamImages: streamImages(services),
  }) satisfies Handlers as never;
