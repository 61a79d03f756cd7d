import type { KeyObject } from 'node:crypto';
import { parseLogEntry } from './log-entry.ts';
import { rejected } from './signature.ts';
import {
  annotation,
  ENTRY,
  logsOf,
  type SignedPayload,
  signatureOf,
  trustIn,
  verifyEntity,
} from './sigstore-entity.ts';

/** Whether this key made the signature and one of the logs recorded it. Throws where not, also errors of the library. */
export function verifyKeyLogged(signed: SignedPayload, key: KeyObject, logs: readonly KeyObject[]): void {
  const entry = parseLogEntry(annotation(signed, ENTRY));
  if (!key.export({ type: 'spki', format: 'der' }).equals(entry.signer))
    throw rejected('log entry: it is for another key');
  const publicKey = () => ({ publicKey: key, validFor: () => true });
  const material = { ...trustIn([]), ...logsOf(logs, entry), publicKey };
  const entity = {
    ...signatureOf(signed, entry),
    key: { $case: 'public-key' as const, hint: '' },
    timestamps: [],
  };
  verifyEntity(entity, material, { tlogThreshold: 1, timestampThreshold: 0 });
}
