/** A small Fulcio and Rekor: certificates by openssl, and entries of a log with its signature, as cosign keeps them. */
import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type SignatureSpec, sha256, signBytes } from './signatures.ts';

export interface Certificate {
  readonly pem: string;
  readonly key: KeyObject;
}

interface CertificateSpec {
  readonly subject: string;
  /** Absent: self-signed. */
  readonly issuer?: Certificate;
  readonly extensions: readonly string[];
  /** Seconds since the epoch. */
  readonly from: number;
  readonly to: number;
  readonly key?: KeyObject;
}

let directories = 0;

/** Issues a certificate by openssl, in a directory of its own below this one. */
export function issue(parent: string, spec: CertificateSpec): Certificate {
  const directory = join(parent, `certificate-${directories++}`);
  mkdirSync(directory, { recursive: true });
  const file = (name: string) => join(directory, name);
  const key = spec.key ?? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pemOf = (one: KeyObject) => one.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(file('key.pem'), pemOf(key));
  writeFileSync(file('issuer-key.pem'), pemOf(spec.issuer?.key ?? key));
  writeFileSync(file('issuer.pem'), spec.issuer?.pem ?? '');
  writeFileSync(file('index'), '');
  writeFileSync(file('extensions'), `${spec.extensions.join('\n')}\n`);
  writeFileSync(
    file('config'),
    `[ca]\ndefault_ca=own\n[own]\nnew_certs_dir=${directory}\ndatabase=${file('index')}\nrand_serial=yes\n` +
      'default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=optional\n[req]\ndistinguished_name=name\n[name]\n',
  );
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, OPENSSL_CONF: file('config') },
    });
  openssl('req', '-new', '-key', file('key.pem'), '-subj', `/CN=${spec.subject}`, '-out', file('request'));
  const dates = ['-startdate', timeOf(spec.from), '-enddate', timeOf(spec.to)];
  const by = spec.issuer ? ['-cert', file('issuer.pem')] : ['-selfsign'];
  openssl(
    'ca',
    '-batch',
    '-notext',
    '-config',
    file('config'),
    '-extfile',
    file('extensions'),
    ...dates,
    ...by,
    '-keyfile',
    file('issuer-key.pem'),
    '-in',
    file('request'),
    '-out',
    file('certificate'),
  );
  return { pem: readFileSync(file('certificate'), 'utf8'), key };
}

const timeOf = (seconds: number): string =>
  `${new Date(seconds * 1000).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;

export const CA = [
  'basicConstraints=critical,CA:true',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
];

/** The extensions of a signer's certificate, as Fulcio writes them. */
export function signerExtensions(email: string, issuer: string): string[] {
  const hex = (text: string) => Buffer.from(text).toString('hex');
  return [
    'basicConstraints=critical,CA:false',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=codeSigning',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
    `subjectAltName=critical,email:${email}`,
    `1.3.6.1.4.1.57264.1.1=DER:${hex(issuer)}`,
    `1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:${issuer}`,
    `1.3.6.1.4.1.11129.2.4.2=DER:${timestampOfTransparency().toString('hex')}`,
  ];
}

/** A list with one signed certificate timestamp (RFC 6962, section 3.3), by a log that nobody has a key of. */
function timestampOfTransparency(): Buffer {
  const lengths = (bytes: Buffer) =>
    Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  const signature = Buffer.alloc(70, 7);
  const timestamp = Buffer.concat([
    Buffer.from([0]),
    Buffer.alloc(32, 9),
    Buffer.alloc(8),
    lengths(Buffer.alloc(0)),
    Buffer.from([4, 3]),
    lengths(signature),
  ]);
  const list = lengths(lengths(timestamp));
  return Buffer.concat([Buffer.from([4, 0x81, list.length]), list]);
}

export interface EntrySpec {
  /** Key or certificate in PEM. */
  readonly signer: string;
  readonly payload: Buffer;
  readonly signature: Buffer;
  /** Seconds since the epoch. */
  readonly time: number;
}

/** The annotation `dev.sigstore.cosign/bundle`: an entry that the log has signed. */
export function logEntry(log: KeyObject, { signer, payload, signature, time }: EntrySpec): string {
  const body = {
    apiVersion: '0.0.1',
    kind: 'hashedrekord',
    spec: {
      data: { hash: { algorithm: 'sha256', value: sha256(payload).toString('hex') } },
      signature: {
        content: signature.toString('base64'),
        publicKey: { content: Buffer.from(signer).toString('base64') },
      },
    },
  };
  // Its keys are in the order of RFC 8785, which is what the log signs.
  const recorded = {
    body: Buffer.from(JSON.stringify(body)).toString('base64'),
    integratedTime: time,
    logID: sha256(
      createPublicKey(createPrivateKey(log.export({ type: 'pkcs8', format: 'pem' }))).export({
        type: 'spki',
        format: 'der',
      }),
    ).toString('hex'),
    logIndex: 42,
  };
  const set = signBytes(Buffer.from(JSON.stringify(recorded)), log);
  return JSON.stringify({ SignedEntryTimestamp: set.toString('base64'), Payload: recorded });
}

/** A keyless signature: certificate, chain and entry. */
export function keyless(
  payload: Buffer,
  signer: Certificate,
  chain: readonly Certificate[],
  log: KeyObject,
  time: number,
): SignatureSpec {
  const signature = signBytes(payload, signer.key);
  return {
    payload,
    annotations: {
      'dev.cosignproject.cosign/signature': signature.toString('base64'),
      'dev.sigstore.cosign/certificate': signer.pem,
      ...(chain.length > 0 ? { 'dev.sigstore.cosign/chain': chain.map(({ pem }) => pem).join('') } : {}),
      'dev.sigstore.cosign/bundle': logEntry(log, { signer: signer.pem, payload, signature, time }),
    },
  };
}
