/** The scalar types of protobuf that NRI and ttrpc have. 64-bit values are bigint. */
import type Long from 'long';
import type protobuf from 'protobufjs/minimal.js';
import { CrispError } from '#core/errors.ts';
import { fromBigInt, toBigInt } from '../cri/v1/int64.ts';

/** Wire types. */
export const VARINT = 0;
export const BYTES = 2;
export type WireType = typeof VARINT | typeof BYTES;

export interface Scalar {
  readonly wire: WireType;
  /** What proto3 does not send. */
  readonly zero: unknown;
  read(reader: protobuf.Reader): unknown;
  write(writer: protobuf.Writer, value: never): unknown;
}

/** Throws Internal where a number would not arrive as it is. */
function fits(value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new CrispError('Internal', `${value} is not a whole number from ${min} to ${max}`);
}

function long(value: bigint, wrapped: bigint): Long {
  if (value !== wrapped) throw new CrispError('Internal', `${value} does not fit into 64 bits`);
  return fromBigInt(value);
}

export const SCALARS: Readonly<Record<string, Scalar>> = {
  string: {
    wire: BYTES,
    zero: '',
    read: (reader) => reader.stringVerify(),
    write: (writer, value: string) => writer.string(value.toWellFormed()),
  },
  bytes: {
    wire: BYTES,
    zero: Buffer.alloc(0),
    read: (reader) => reader.bytes(),
    write: (writer, value: Uint8Array) => writer.bytes(value),
  },
  bool: {
    wire: VARINT,
    zero: false,
    read: (reader) => reader.bool(),
    write: (writer, value: boolean) => writer.bool(value),
  },
  int32: {
    wire: VARINT,
    zero: 0,
    read: (reader) => reader.int32(),
    write: (writer, value: number) => writer.int32(fits(value, -(2 ** 31), 2 ** 31 - 1)),
  },
  uint32: {
    wire: VARINT,
    zero: 0,
    read: (reader) => reader.uint32(),
    write: (writer, value: number) => writer.uint32(fits(value, 0, 2 ** 32 - 1)),
  },
  int64: {
    wire: VARINT,
    zero: 0n,
    read: (reader) => toBigInt(reader.int64() as Long),
    write: (writer, value: bigint) => writer.int64(long(value, BigInt.asIntN(64, value))),
  },
  uint64: {
    wire: VARINT,
    zero: 0n,
    read: (reader) => toBigInt(reader.uint64() as Long),
    write: (writer, value: bigint) => writer.uint64(long(value, BigInt.asUintN(64, value))),
  },
};
