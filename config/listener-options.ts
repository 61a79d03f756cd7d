/** What sections with a TCP listener have in common. */
import { choice, optionalPath } from './option.ts';

const PORT = '(\\d{1,4}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d{2}|655[0-2]\\d|6553[0-5])';

/** An address to listen on with its port, or nothing. */
export const LISTEN = new RegExp(`^$|^(\\d{1,3}(\\.\\d{1,3}){3}|\\[[0-9a-fA-F:]+\\]|localhost):${PORT}$`);

/** TLS of a listener; off where none of the files is named. */
export const tlsOptions = {
  tls_cert_file: optionalPath('PEM file of the certificate; with it and the key connections are encrypted.'),
  tls_key_file: optionalPath('PEM file of its key.'),
  tls_client_ca_file: optionalPath(
    'PEM file of CAs; where set, clients need a certificate signed by one of them.',
  ),
  tls_min_version: choice(['1.2', '1.3'], '1.2', 'Lowest version of TLS that clients may use.'),
};
