/** Signatures by certificates, of a Fulcio, a Rekor and a CA of the test's own: what is accepted, and each way to be refused. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { isDigest } from '#core/ids.ts';
import { CA, type Certificate, issue, keyless, logEntry, signerExtensions } from '#test/harness/fulcio.ts';
import { payloadOf, type SignatureSpec, signBytes } from '#test/harness/signatures.ts';
import type { SigstoreSigned } from './policy.ts';
import { parsePolicy } from './read-policy.ts';
import { requireSignature } from './sigstore.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-fulcio-'));
after(() => rmSync(directory, { recursive: true }));

const HOUR = 3600;
const TIME = 1_700_000_000;
const EMAIL = 'ci@example.com';
const ISSUER = 'https://accounts.example.com';
const digest = `sha256:${'d'.repeat(64)}`;
const payload = payloadOf(digest, 'r.io/app:v1');
const pulled = { name: 'r.io/app', tag: 'v1', digest: undefined };

const long = { from: TIME - 1000 * HOUR, to: TIME + 1000 * HOUR };
const short = { from: TIME - 60, to: TIME + 540 };
const root = issue(directory, { subject: 'root', extensions: CA, ...long });
const middle = issue(directory, {
  subject: 'middle',
  issuer: root,
  extensions: [...CA, 'extendedKeyUsage=codeSigning'],
  ...long,
});
const stranger = issue(directory, { subject: 'root', extensions: CA, ...long });
const signer = (more: Partial<Parameters<typeof issue>[1]> = {}): Certificate =>
  issue(directory, {
    subject: 'signer',
    issuer: middle,
    extensions: signerExtensions(EMAIL, ISSUER),
    ...short,
    ...more,
  });
const leaf = signer();
const log = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const otherLog = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const base64 = (text: string): string => Buffer.from(text).toString('base64');

function requirement(fields: object): SigstoreSigned {
  const text = JSON.stringify({ default: [{ type: 'sigstoreSigned', ...fields }] });
  const [found] = parsePolicy(text, 'P').default;
  assert.ok(found?.type === 'sigstoreSigned');
  return found;
}

const fulcio = (more: object = {}, rekor: KeyObject = log.publicKey) =>
  requirement({
    fulcio: { caData: base64(root.pem), oidcIssuer: ISSUER, subjectEmail: EMAIL, ...more },
    rekorPublicKeyData: base64(pem(rekor)),
  });

async function check(
  required: SigstoreSigned,
  { payload: bytes, annotations }: SignatureSpec,
): Promise<void> {
  assert.ok(isDigest(digest));
  const signature = { payload: bytes, annotations: new Map(Object.entries(annotations)), signed: digest };
  await requireSignature(required, pulled, [signature]);
}

async function refused(required: SigstoreSigned, signature: SignatureSpec, why: RegExp): Promise<void> {
  const error = await check(required, signature).then(
    () => assert.fail(`accepted, expected ${why}`),
    (reason: unknown) => reason,
  );
  assert.ok(hasCode(error, 'SignatureValidationFailed'), String(error));
  assert.match(error.message, why);
}

const good = keyless(payload, leaf, [middle, root], log.privateKey, TIME);

test('a certificate of Fulcio that was valid when the log recorded the signature', async () => {
  await check(fulcio(), good);
  await check(fulcio(), keyless(payload, leaf, [middle], log.privateKey, TIME));
  // The intermediate may be trusted itself, beside the root.
  await check(
    fulcio({ caData: base64(middle.pem + root.pem) }),
    keyless(payload, leaf, [], log.privateKey, TIME),
  );
  await check(fulcio({ caData: base64(stranger.pem + root.pem) }), good);
  const caPath = join(directory, 'ca.pem');
  writeFileSync(caPath, root.pem);
  const byPaths = requirement({
    fulcio: { caPath, oidcIssuer: ISSUER, subjectEmail: EMAIL },
    rekorPublicKeyDatas: [base64(pem(otherLog.publicKey)), base64(pem(log.publicKey))],
  });
  await check(byPaths, good);
  for (const key of [generateKeyPairSync('rsa', { modulusLength: 2048 }), generateKeyPairSync('ed25519')])
    await check(fulcio(), keyless(payload, signer({ key: key.privateKey }), [middle], log.privateKey, TIME));
});

test('refused: another CA, log, issuer or signer, and a time at which the certificate was not valid', async () => {
  await refused(fulcio({ caData: base64(stranger.pem) }), good, /certificate chain/);
  await refused(fulcio(), keyless(payload, leaf, [], log.privateKey, TIME), /certificate chain/);
  await refused(fulcio({}, otherLog.publicKey), good, /inclusion promise/);
  await refused(fulcio({ oidcIssuer: 'https://evil.example.com' }), good, /OIDC issuer "https:\/\/accounts/);
  await refused(
    fulcio({ subjectEmail: 'me@example.com' }),
    good,
    /email:ci@example\.com.*not me@example\.com/,
  );
  for (const time of [TIME - 61, TIME + 541])
    await refused(fulcio(), keyless(payload, leaf, [middle], log.privateKey, time), /not valid or expired/);
});

test('refused: chains that an attacker makes', async () => {
  const forgedMiddle = issue(directory, { subject: 'middle', issuer: stranger, extensions: CA, ...long });
  const forged = signer({ issuer: forgedMiddle });
  await refused(
    fulcio(),
    keyless(payload, forged, [forgedMiddle, stranger], log.privateKey, TIME),
    /certificate chain/,
  );
  const selfSigned = issue(directory, {
    subject: 'signer',
    extensions: signerExtensions(EMAIL, ISSUER),
    ...short,
  });
  await refused(fulcio(), keyless(payload, selfSigned, [root], log.privateKey, TIME), /certificate chain/);
  // A signer that issues certificates, though it is not a CA.
  const issued = signer({ issuer: leaf });
  await refused(
    fulcio(),
    keyless(payload, issued, [leaf, middle], log.privateKey, TIME),
    /certificate chain/,
  );
  const late = issue(directory, {
    subject: 'late',
    issuer: root,
    extensions: CA,
    from: TIME + 60,
    to: long.to,
  });
  await refused(
    fulcio(),
    keyless(payload, signer({ issuer: late }), [late], log.privateKey, TIME),
    /not valid or expired/,
  );
  const limited = issue(directory, {
    subject: 'limited',
    issuer: root,
    extensions: [...CA.slice(1), 'basicConstraints=critical,CA:true,pathlen:0'],
    ...long,
  });
  const below = issue(directory, { subject: 'below', issuer: limited, extensions: CA, ...long });
  await refused(
    fulcio(),
    keyless(payload, signer({ issuer: below }), [below, limited], log.privateKey, TIME),
    /path length/,
  );
  const forTls = issue(directory, {
    subject: 'tls',
    issuer: root,
    extensions: [...CA, 'extendedKeyUsage=serverAuth'],
    ...long,
  });
  await refused(
    fulcio(),
    keyless(payload, signer({ issuer: forTls }), [forTls], log.privateKey, TIME),
    /certificate chain/,
  );
  const server = signerExtensions(EMAIL, ISSUER).map((line) => line.replace('codeSigning', 'serverAuth'));
  await refused(
    fulcio(),
    keyless(payload, signer({ extensions: server }), [middle], log.privateKey, TIME),
    /not for signing code/,
  );
  const named = issue(directory, {
    subject: 'named',
    extensions: [...CA, 'nameConstraints=critical,permitted;email:example.org'],
    ...long,
  });
  await assert.rejects(
    check(fulcio({ caData: base64(named.pem) }), good),
    /name constraints, which are not supported/,
  );
});

test('refused: a log entry of another signature, payload, key or kind', async () => {
  const other = payloadOf(`sha256:${'e'.repeat(64)}`, 'r.io/app:v1');
  const bundle = 'dev.sigstore.cosign/bundle';
  const withEntry = (entry: string) => ({ payload, annotations: { ...good.annotations, [bundle]: entry } });
  const signature = Buffer.from(good.annotations['dev.cosignproject.cosign/signature'] ?? '', 'base64');
  const entry = { signer: leaf.pem, payload, signature, time: TIME };
  await check(fulcio(), withEntry(logEntry(log.privateKey, entry)));
  const rows: readonly (readonly [object, RegExp])[] = [
    [{ payload: other }, /digest mismatch/],
    [{ signature: signBytes(payload, leaf.key) }, /signature mismatch/],
    [{ signer: signer({ key: leaf.key }).pem }, /another certificate/],
    [{ signer: 'none' }, /no key or certificate/],
    [{ time: -5 }, /not a whole number/],
  ];
  for (const [change, why] of rows)
    await refused(fulcio(), withEntry(logEntry(log.privateKey, { ...entry, ...change })), why);
  const text = logEntry(log.privateKey, entry);
  await refused(fulcio(), withEntry(text.replace('"logIndex":42', '"logIndex":43')), /inclusion promise/);
  await refused(fulcio(), withEntry(text.replace('"Payload"', '"payload"')), /unknown key/);
  await refused(fulcio(), withEntry(text + ' '.repeat(1 << 20)), /more than 262144 bytes/);
  await refused(fulcio(), withEntry('['.repeat(1 << 16)), /not valid JSON/);
  await refused(fulcio(), withEntry(`${'['.repeat(1 << 16)}${']'.repeat(1 << 16)}`), /levels/);
  await refused(fulcio(), withEntry(text.replace('{"Sig', '{"Payload":{},"Sig')), /given twice/);
  await refused(fulcio(), { payload, annotations: { ...good.annotations, [bundle]: '{}' } }, /missing/);
  const { [bundle]: _without, ...annotations } = good.annotations;
  await refused(fulcio(), { payload, annotations }, /no annotation dev\.sigstore\.cosign\/bundle/);
  await refused(fulcio(), { payload: other, annotations: good.annotations }, /mismatch/);
});

test('a key with a log: the log must have recorded the signature by that key', async () => {
  for (const key of [generateKeyPairSync('ec', { namedCurve: 'P-256' }), generateKeyPairSync('ed25519')]) {
    const signature = signBytes(payload, key.privateKey);
    const unused = generateKeyPairSync('ed25519').publicKey;
    const required = requirement({
      keyDatas: [base64(pem(unused)), base64(pem(key.publicKey))],
      rekorPublicKeyData: base64(pem(log.publicKey)),
    });
    const annotations = { 'dev.cosignproject.cosign/signature': signature.toString('base64') };
    const logged = (by: KeyObject, signedBy = pem(key.publicKey)) => ({
      payload,
      annotations: {
        ...annotations,
        'dev.sigstore.cosign/bundle': logEntry(by, { signer: signedBy, payload, signature, time: TIME }),
      },
    });
    await check(required, logged(log.privateKey));
    await refused(required, { payload, annotations }, /no annotation/);
    await refused(required, logged(otherLog.privateKey), /inclusion promise/);
    await refused(required, logged(log.privateKey, pem(createPublicKey(leaf.key))), /another key/);
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await assert.rejects(check(fulcio({}, rsa.publicKey), good), /Rekor public key is not an ECDSA key/);
});

test('a certificate of a CA that is valid now', async () => {
  const now = Math.floor(Date.now() / 1000);
  const dates = { from: now - HOUR, to: now + HOUR };
  const ca = issue(directory, { subject: 'ca', extensions: CA, ...dates });
  const sub = issue(directory, { subject: 'sub', issuer: ca, extensions: CA, ...dates });
  const usual = [
    'basicConstraints=critical,CA:false',
    'extendedKeyUsage=codeSigning',
    `subjectAltName=email:${EMAIL},email:other@example.com,DNS:build.example.com,DNS:*.ci.example.com,IP:192.0.2.7`,
  ];
  const make = (more: Partial<Parameters<typeof issue>[1]> = {}) =>
    issue(directory, { subject: 'build', issuer: sub, extensions: usual, ...dates, ...more });
  const signature = (by: Certificate, chain: readonly Certificate[]): SignatureSpec => {
    const { annotations } = keyless(payload, by, chain, log.privateKey, TIME);
    const { 'dev.sigstore.cosign/bundle': _entry, ...others } = annotations;
    return { payload, annotations: others };
  };
  const pki = (more: object) => requirement({ pki: { caRootsData: base64(ca.pem), ...more } });
  const made = make();
  const whole = signature(made, [sub, ca]);
  for (const subject of [
    { subjectEmail: EMAIL },
    { subjectEmail: 'other@example.com', subjectHostname: 'build.example.com' },
    { subjectHostname: 'a.ci.example.com' },
    { subjectHostname: '192.0.2.7' },
  ])
    await check(pki(subject), whole);
  const wanted = { subjectEmail: EMAIL };
  const bare = signature(made, []);
  await check(pki({ ...wanted, caIntermediatesData: base64(sub.pem) }), bare);
  await refused(pki(wanted), bare, /certificate chain/);
  await refused(pki({ ...wanted, caRootsData: base64(stranger.pem) }), whole, /certificate chain/);
  await refused(pki({ ...wanted, caIntermediatesData: base64(stranger.pem) }), bare, /certificate chain/);
  for (const [subject, why] of [
    [{ subjectEmail: 'evil@example.com' }, /not evil@example\.com/],
    [{ subjectEmail: EMAIL, subjectHostname: 'evil.example.com' }, /not evil/],
    [{ subjectHostname: 'a.b.ci.example.com' }, /not a\.b/],
    [{ subjectHostname: 'build' }, /not build/],
    [{ subjectHostname: '192.0.2.8' }, /not 192/],
  ] as const)
    await refused(pki(subject), whole, why);
  await refused(pki(wanted), signature(make({ to: now - 60 }), [sub, ca]), /not valid or expired/);
  await refused(pki(wanted), signature(make({ from: now + 60 }), [sub, ca]), /not valid or expired/);
  const forServers = usual.map((line) => line.replace('codeSigning', 'serverAuth'));
  await refused(pki(wanted), signature(make({ extensions: forServers }), [sub, ca]), /not for signing code/);
  const otherKey = { ...made, key: leaf.key };
  await refused(pki(wanted), signature(otherKey, [sub, ca]), /signature verification failed/);
});

test('damage of any annotation or of the payload is refused, and throws nothing else', async () => {
  const names = Object.keys(good.annotations);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(names.length),
      fc.nat(),
      fc.string({ maxLength: 3 }),
      fc.nat(4),
      async (which, at, put, cut) => {
        const damage = (text: string) => {
          const start = at % text.length;
          return text.slice(0, start) + put + text.slice(start + cut);
        };
        const name = names[which];
        const value = good.annotations[name ?? ''];
        const changed =
          name === undefined || value === undefined
            ? { payload: Buffer.from(damage(payload.toString())), annotations: good.annotations }
            : { payload, annotations: { ...good.annotations, [name]: damage(value) } };
        const harmless =
          (changed.annotations[name ?? ''] ?? '').replaceAll(/\s/g, '') ===
          (value ?? '').replaceAll(/\s/g, '');
        const same = name === undefined ? changed.payload.equals(payload) : harmless;
        await check(fulcio(), changed).then(
          // The chain is not signed: what is not of use in it may be damaged.
          () =>
            assert.ok(
              same || name === 'dev.sigstore.cosign/chain' || name === 'dev.sigstore.cosign/certificate',
              `${name}`,
            ),
          (error: unknown) =>
            assert.ok(
              error instanceof CrispError && error.code === 'SignatureValidationFailed',
              String(error),
            ),
        );
      },
    ),
    { numRuns: 300 },
  );
});
