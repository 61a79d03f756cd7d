/** The verdict of a seccomp filter on a call: the classic BPF of seccomp(2), as far as filters use it. */

export interface Call {
  readonly nr: number;
  readonly arch: number;
  readonly args: readonly bigint[];
}

interface Instruction {
  readonly code: number;
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly k: number;
}

/** An array of `struct sock_filter`. */
function instructionsOf(program: Buffer): Instruction[] {
  return Array.from({ length: program.length / 8 }, (_, n) => ({
    code: program.readUInt16LE(n * 8),
    ifTrue: program.readUInt8(n * 8 + 2),
    ifFalse: program.readUInt8(n * 8 + 3),
    k: program.readUInt32LE(n * 8 + 4),
  }));
}

/** A word of `struct seccomp_data`. */
function word({ nr, arch, args }: Call, offset: number): number {
  if (offset === 0) return nr;
  if (offset === 4) return arch;
  if (offset < 16) return 0; // the instruction pointer, which no filter reads
  const value = args[(offset - 16) >> 3] ?? 0n;
  return Number(BigInt.asUintN(32, offset % 8 === 0 ? value : value >> 32n));
}

const COMPARISONS: Readonly<Record<number, (a: number, k: number) => boolean>> = {
  21: (a, k) => a === k,
  37: (a, k) => a > k,
  53: (a, k) => a >= k,
  69: (a, k) => (a & k) !== 0,
};

/** The SECCOMP_RET_* word. Throws for an instruction that no filter has, or an end without a verdict. */
export function verdict(program: Buffer, call: Call): number {
  const instructions = instructionsOf(program);
  let accumulator = 0;
  for (let at = 0; at < instructions.length; at++) {
    const { code, ifTrue, ifFalse, k } = instructions[at] as Instruction;
    const compare = COMPARISONS[code];
    if (compare) at += compare(accumulator, k) ? ifTrue : ifFalse;
    else if (code === 0x20) accumulator = word(call, k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x05) at += k;
    else if (code === 0x06) return k;
    else throw new Error(`instruction 0x${code.toString(16)} at ${at}`);
  }
  throw new Error('the filter ends without a verdict');
}

/** The constants that a filter compares with: where verdicts change. */
export function constants(program: Buffer): Set<number> {
  return new Set(
    instructionsOf(program)
      .filter(({ code }) => COMPARISONS[code])
      .map(({ k }) => k),
  );
}
