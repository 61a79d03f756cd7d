import type { PeerCertificate } from 'node:tls';
import { RegistryFailure } from './failure.ts';
import type { TlsError } from './http/tls-connector.ts';

/** A server's certificate may have thousands of names. */
const MAX_SHOWN = 300;

type Kind = { readonly codes: RegExp; readonly why: string; readonly hint: (server: string) => string };

const entryOf = (server: string): string => `[image.registries.${JSON.stringify(withoutDefault(server))}]`;
const withoutDefault = (server: string): string => server.replace(/:443$/, '');

/** What OpenSSL's and Node's codes mean, and the remedy for each. */
const KINDS: readonly Kind[] = [
  {
    codes: /^CERT_HAS_EXPIRED$/,
    why: 'a certificate has expired',
    hint: (server) =>
      `renew the certificate of ${server} or of its authority, and check the clock of this node`,
  },
  {
    codes: /^CERT_NOT_YET_VALID$/,
    why: 'a certificate is not valid yet',
    hint: () => 'check the clock of this node',
  },
  {
    codes: /ALTNAME_INVALID/,
    why: 'the certificate is not for this name',
    hint: (server) =>
      `ask ${server} by one of the names of its certificate, or have a certificate issued for this one`,
  },
  {
    codes: /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE|^EPROTO$/,
    why: 'the server does not use TLS',
    hint: (server) =>
      `if it is to be asked by plain http, set insecure = true in ${entryOf(server)}, or write http:// before a mirror`,
  },
  {
    codes:
      /ALERT_(BAD_CERTIFICATE|CERTIFICATE_|UNKNOWN_CA|HANDSHAKE_FAILURE|ACCESS_DENIED|UNSUPPORTED_CERTIFICATE)/,
    why: "the server requires a client's certificate, or refuses the one that it is shown",
    hint: (server) =>
      `put client.cert and client.key, issued by an authority that the server trusts, into /etc/docker/certs.d/${withoutDefault(server)}/`,
  },
  {
    codes: /^(UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)/,
    why: 'the certificate is issued by an unknown authority',
    hint: (server) =>
      `add its authority to those of the system (update-ca-certificates), to /etc/docker/certs.d/${withoutDefault(server)}/ca.crt, or as ca_file of ${entryOf(server)}; or have the server send its whole chain`,
  },
];

/** The failure of a TLS handshake. No retry: a certificate does not change by itself. */
export function failureOfTls(error: TlsError, what: string): RegistryFailure {
  const { code, server, certificate, authorities } = error;
  const kind = KINDS.find(({ codes }) => codes.test(code));
  const why = kind ? `${kind.why} (${code})` : code;
  const shown = certificate ? `; the certificate is ${described(certificate)}` : '';
  const trusted = authorities === '' ? '' : `; trusted are the authorities of ${authorities}`;
  return new RegistryFailure('RegistryUnavailable', `${what}: TLS with ${server}: ${why}${shown}`, {
    hint:
      (kind?.hint(server) ?? `check the TLS settings of ${server}`) + (kind === KINDS.at(-1) ? trusted : ''),
  });
}

/** `CN=x (DNS:a, IP:b), issued by O=Corp, CN=ca, valid from … to …`. All of it is chosen by the server. */
function described({ subject, issuer, subjectaltname, valid_from, valid_to }: PeerCertificate): string {
  const names = subjectaltname ? ` (${plain(subjectaltname.replaceAll('IP Address:', 'IP:'))})` : '';
  return `${named(subject)}${names}, issued by ${named(issuer)}, valid from ${date(valid_from)} to ${date(valid_to)}`;
}

const named = (name: PeerCertificate['subject'] | undefined): string =>
  plain(
    Object.entries(name ?? {})
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(', ') || 'no name',
  );

function date(text: string | undefined): string {
  const time = Date.parse(text ?? '');
  return Number.isNaN(time) ? 'an unknown date' : new Date(time).toISOString().replace('.000Z', 'Z');
}

/** Without control characters, and of limited length. */
function plain(text: string): string {
  const clean = text.slice(0, MAX_SHOWN).replace(/[^\x20-\x7e]/g, '?');
  return text.length > MAX_SHOWN ? `${clean}…` : clean;
}
