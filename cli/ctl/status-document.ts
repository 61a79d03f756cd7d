/** Statuses as the inspect commands print them: proto3 JSON, but times as RFC 3339. */
import { type MessageName, type MessageOf, toJson } from '#api/cri/v1/index.ts';
import { timestamp } from '../format.ts';

const TIMES = ['createdAt', 'startedAt', 'finishedAt'];

/** A value of `info`: parsed where it is JSON, else the text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The status and, beside it as in crictl, the entries of `info`, parsed where they are JSON. */
export function statusDocument<N extends MessageName>(
  name: N,
  status: MessageOf<N>,
  info: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const document = toJson(name, status);
  for (const key of TIMES) {
    const value = document[key];
    if (typeof value === 'string') document[key] = timestamp(BigInt(value));
  }
  return { status: document, ...infoDocument(info) };
}

/** The values parsed where they are JSON. */
export const infoDocument = (info: Readonly<Record<string, string>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(info).map(([key, value]) => [key, parsed(value)]));
