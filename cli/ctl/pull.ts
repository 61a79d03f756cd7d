/** `crisp ctl pull`, and the pull that other commands begin with. */
import type { cri } from '#api/cri/v1/index.ts';
import { type Command, type Flag, type Parsed, UsageError } from '../command.ts';
import { readMessage } from '../documents.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import { type Ctl, labelsOf } from './context.ts';
import { pullProgress } from './pull-progress.ts';

export const credentialFlags: Record<string, Flag> = {
  creds: {
    type: 'string',
    value: 'USER[:PASSWORD]',
    doc: 'Credentials; without a password REGISTRY_PASSWORD is used',
  },
  auth: { type: 'string', value: 'BASE64', doc: 'base64 of user:password' },
};

/** Credentials of the flags; undefined where there are none. */
export function authOf(parsed: Parsed): cri.AuthConfigInit | undefined {
  const [creds, auth] = [parsed.text('creds'), parsed.text('auth')];
  if (creds !== undefined && auth !== undefined)
    throw new UsageError('--creds and --auth exclude each other');
  if (auth !== undefined) return { auth };
  if (creds === undefined) return undefined;
  const colon = creds.indexOf(':');
  const username = colon < 0 ? creds : creds.slice(0, colon);
  const password = colon < 0 ? process.env['REGISTRY_PASSWORD'] : creds.slice(colon + 1);
  if (username === '' || password === undefined)
    throw new UsageError('--creds must be USER:PASSWORD, or USER with REGISTRY_PASSWORD set');
  return { username, password };
}

/** Pulls and resolves to the image's id; an interactive terminal shows the progress. */
export async function pullImage(ctl: Ctl, request: cri.PullImageRequestInit): Promise<string> {
  using _lines = await pullProgress(ctl, request.image?.image ?? '');
  const { imageRef } = await ctl.client.PullImage(request, { ...ctl.call(), timeoutMs: Infinity });
  return imageRef;
}

export const pull: Command<Ctl> = {
  name: 'pull',
  usage: 'IMAGE',
  summary: 'Pull an image',
  flags: {
    ...credentialFlags,
    annotation: {
      type: 'string',
      short: 'a',
      multiple: true,
      value: 'KEY=VALUE',
      doc: 'Annotation of the image',
    },
    'pod-config': { type: 'string', value: 'POD-FILE', doc: 'The pod that the image is for' },
    ...outputFlag(TEXT_OR_JSON),
  },
  arity: [1, 1],
  async run(ctl, parsed) {
    const format = outputOf(parsed, TEXT_OR_JSON);
    const podFile = parsed.text('pod-config');
    const imageRef = await pullImage(ctl, {
      image: { image: parsed.args[0], annotations: labelsOf(parsed, 'annotation') },
      auth: authOf(parsed),
      ...(podFile === undefined ? {} : { sandboxConfig: await readMessage('PodSandboxConfig', podFile) }),
    });
    ctl.terminal.out(format === 'json' ? jsonText({ imageRef }) : `Image is up to date for ${imageRef}\n`);
    return 0;
  },
};
