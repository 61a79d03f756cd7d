/** `crisp config import`: the configuration of CRI-O or containerd as that of crisp. */
import { type Parsed, UsageError } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { findingsOf } from './import/findings.ts';
import { peers } from './import/peers.ts';
import { jsonText, tomlText } from './import/print.ts';
import { IMPORT_FORMATS } from './import-flags.ts';
import { outputOf } from './output.ts';

/** Runs the command; resolves to the exit code. Throws InvalidArgument for files that are wrong, with file and line. */
export async function importConfig(parsed: Parsed, terminal: Pick<Terminal, 'out'>): Promise<number> {
  const [name = '', ...given] = parsed.args;
  const peer = peers[name];
  if (!peer) throw new UsageError(`crisp config import: '${name}' is not crio or containerd`);
  const output = outputOf(parsed, IMPORT_FORMATS);
  const reading = await peer.read(given.length > 0 ? given : peer.defaultFiles);
  const findings = findingsOf(peer, reading.leaves);
  terminal.out(output === 'json' ? jsonText(findings) : tomlText(peer, reading, findings));
  return 0;
}
