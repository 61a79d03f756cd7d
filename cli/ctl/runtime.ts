/** `crisp ctl version` and `info`. */
import { toJson } from '#api/cri/v1/index.ts';
import type { Command } from '../command.ts';
import { renderDocument } from '../documents.ts';
import { printable } from '../format.ts';
import { outputFlag, outputOf } from '../output.ts';
import { type Ctl, DOCUMENT_FORMATS } from './context.ts';
import { infoDocument } from './status-document.ts';

const VERSION_FORMATS = ['text', 'json', 'yaml'] as const;

export const version: Command<Ctl> = {
  name: 'version',
  usage: '',
  summary: 'Show the version of the runtime',
  flags: outputFlag(VERSION_FORMATS),
  arity: [0, 0],
  async run(ctl, parsed) {
    const format = outputOf(parsed, VERSION_FORMATS);
    const reply = await ctl.client.Version({ version: 'v1' }, ctl.call());
    if (format !== 'text') {
      ctl.terminal.out(renderDocument(toJson('VersionResponse', reply), format));
      return 0;
    }
    const lines = [
      `Version:  ${reply.version}`,
      `RuntimeName:  ${reply.runtimeName}`,
      `RuntimeVersion:  ${reply.runtimeVersion}`,
      `RuntimeApiVersion:  ${reply.runtimeApiVersion}`,
    ];
    ctl.terminal.out(lines.map((line) => `${printable(line)}\n`).join(''));
    return 0;
  },
};

export const info: Command<Ctl> = {
  name: 'info',
  usage: '',
  summary: 'Show the state of the runtime and what it can do',
  flags: { ...outputFlag(DOCUMENT_FORMATS) },
  arity: [0, 0],
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    const reply = await ctl.client.Status({ verbose: true }, ctl.call());
    const { status, runtimeHandlers, features } = toJson('StatusResponse', reply);
    ctl.terminal.out(
      renderDocument({ ...infoDocument(reply.info), status, runtimeHandlers, features }, format),
    );
    return 0;
  },
};
