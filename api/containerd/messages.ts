/**
 * Messages of containerd's gRPC API, as far as cAdvisor reads them: packages containerd.services.containers.v1,
 * containerd.services.tasks.v1, containerd.v1.types and containerd.services.version.v1. Field numbers are from their
 * protos; unknown fields of requests are skipped.
 */
import protobuf from 'protobufjs/minimal.js';

/** A type URL and what it says the value is. */
export interface Any {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export interface Container {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  readonly runtime: string;
  readonly spec: Any;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
}

/** The numbers of containerd.v1.types.Status. */
export const TaskStatus = { UNKNOWN: 0, CREATED: 1, RUNNING: 2, STOPPED: 3, PAUSED: 4, PAUSING: 5 } as const;

export interface Process {
  readonly id: string;
  readonly pid: number;
  readonly status: number;
  readonly terminal: boolean;
  readonly exitStatus: number;
  /** Nanoseconds since the epoch; 0 while it runs. */
  readonly exitedAt: bigint;
}

export interface Version {
  readonly version: string;
  readonly revision: string;
}

/** Wire types of protobuf: varint, and length and bytes. */
const VARINT = 0;
const BYTES = 2;
const tag = (field: number, wireType: typeof VARINT | typeof BYTES): number => field * 8 + wireType;

const begin = (writer: protobuf.Writer, field: number): protobuf.Writer =>
  writer.uint32(tag(field, BYTES)).fork();

function text(writer: protobuf.Writer, field: number, value: string): void {
  if (value !== '') writer.uint32(tag(field, BYTES)).string(value);
}

function number(writer: protobuf.Writer, field: number, value: number): void {
  if (value !== 0) writer.uint32(tag(field, VARINT)).uint32(value);
}

/** google.protobuf.Timestamp; nothing for 0. */
function time(writer: protobuf.Writer, field: number, nanoseconds: bigint): void {
  if (nanoseconds <= 0n) return;
  begin(writer, field);
  writer.uint32(tag(1, VARINT)).int64(Number(nanoseconds / 1_000_000_000n));
  number(writer, 2, Number(nanoseconds % 1_000_000_000n));
  writer.ldelim();
}

/**
 * The id in a GetContainerRequest, or in a GetRequest of the tasks, whose field 2, exec_id, cAdvisor leaves empty. Throws an
 * Error where the bytes are malformed.
 */
export function decodeId(bytes: Uint8Array): { readonly id: string } {
  const reader = protobuf.Reader.create(bytes);
  let id = '';
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    if (key === tag(1, BYTES)) id = reader.string();
    else reader.skipType(key & 7);
  }
  return { id };
}

/** A GetContainerResponse. */
export function encodeContainer({ id, labels, image, runtime, spec, createdAt }: Container): Uint8Array {
  const writer = begin(protobuf.Writer.create(), 1);
  text(writer, 1, id);
  for (const [key, value] of Object.entries(labels)) {
    begin(writer, 2);
    text(writer, 1, key);
    text(writer, 2, value);
    writer.ldelim();
  }
  text(writer, 3, image);
  begin(writer, 4);
  text(writer, 1, runtime);
  begin(writer.ldelim(), 5);
  text(writer, 1, spec.typeUrl);
  writer.uint32(tag(2, BYTES)).bytes(spec.value).ldelim();
  time(writer, 8, createdAt);
  return writer.ldelim().finish();
}

/** A GetResponse of the tasks. */
export function encodeProcess({ id, pid, status, terminal, exitStatus, exitedAt }: Process): Uint8Array {
  const writer = begin(protobuf.Writer.create(), 1);
  text(writer, 2, id);
  number(writer, 3, pid);
  number(writer, 4, status);
  number(writer, 8, Number(terminal));
  number(writer, 9, exitStatus);
  time(writer, 10, exitedAt);
  return writer.ldelim().finish();
}

/** A VersionResponse. Its request is google.protobuf.Empty. */
export function encodeVersion({ version, revision }: Version): Uint8Array {
  const writer = protobuf.Writer.create();
  text(writer, 1, version);
  text(writer, 2, revision);
  return writer.finish();
}
