import type Long from 'long';
import protobuf from 'protobufjs/minimal.js';
import { CrispError } from '#core/errors.ts';

// The class that protobufjs decodes into: its declarations have no static members.
const { fromBits } = protobuf.util.Long as unknown as Pick<typeof Long, 'fromBits'>;

const MIN = -(2n ** 63n);
const MAX_SIGNED = 2n ** 63n - 1n;
const MAX_UNSIGNED = 2n ** 64n - 1n;

/** A 64-bit value of a message as a bigint; absent is 0n. */
export function toBigInt(value: Long | null | undefined): bigint {
  if (!value) return 0n;
  const bits = (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
  return value.unsigned ? bits : BigInt.asIntN(64, bits);
}

/** A bigint as a 64-bit value of a message. Throws Internal outside of -2^63 … 2^64-1. */
export function fromBigInt(value: bigint): Long {
  if (value < MIN || value > MAX_UNSIGNED) {
    throw new CrispError('Internal', `${value} does not fit into 64 bits`);
  }
  const low = Number(BigInt.asIntN(32, value));
  const high = Number(BigInt.asIntN(32, value >> 32n));
  return fromBits(low, high, value > MAX_SIGNED);
}
