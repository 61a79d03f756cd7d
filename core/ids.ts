import { randomBytes } from 'node:crypto';

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** 64 lowercase hex digits; the kubelet builds file names from ids, so no other character may appear. */
export type SandboxId = Brand<string, 'SandboxId'>;
/** 64 lowercase hex digits. */
export type ContainerId = Brand<string, 'ContainerId'>;
/** `sha256:<64 hex>` of the image's config, of an artifact's manifest: what CRI calls the image id. */
export type ImageId = Brand<string, 'ImageId'>;
/** `<algorithm>:<hex>` of some content. */
export type Digest = Brand<string, 'Digest'>;

const HEX64 = /^[0-9a-f]{64}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** A new random id, unique for all practical purposes (256 bits). */
export const newSandboxId = (): SandboxId => randomBytes(32).toString('hex') as SandboxId;
/** A new random id, unique for all practical purposes (256 bits). */
export const newContainerId = (): ContainerId => randomBytes(32).toString('hex') as ContainerId;

/** Whether the text has the form of a sandbox or container id in full. */
export const isFullId = (text: string): boolean => HEX64.test(text);
/** Whether the text is a digest that crisp can verify (sha256 only). */
export const isDigest = (text: string): text is Digest => DIGEST.test(text);
