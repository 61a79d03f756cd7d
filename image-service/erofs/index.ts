/** Layers as EROFS images: one file that the kernel mounts, written while its archive streams in. */
export { ErofsLayer, type FinishedImage } from './erofs-layer.ts';
