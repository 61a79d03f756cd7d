import { CrispError } from '#core/errors.ts';

interface StreamFlags {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** The streams of a session. Throws InvalidArgument where there are none, or stderr with a terminal. */
export function checkedStreamFlags(call: string, { stdin, stdout, stderr, tty }: StreamFlags): StreamFlags {
  if (tty && stderr) {
    throw new CrispError('InvalidArgument', `${call}: tty and stderr cannot both be true`, {
      hint: 'a terminal has one output: leave stderr out',
    });
  }
  if (!stdin && !stdout && !stderr) {
    throw new CrispError('InvalidArgument', `${call}: one of stdin, stdout, stderr must be true`, {
      hint: 'set the streams that the session needs',
    });
  }
  return { stdin, stdout, stderr, tty };
}
