/** Arbitrary bytes that resemble valid HTTP/1 and HTTP/2 requests, in pieces as they are sent. */
import fc from 'fast-check';

const pieces = (text: fc.Arbitrary<Uint8Array>) => fc.array(text, { minLength: 1, maxLength: 4 });

/** Any bytes at all. */
export const anyBytes = pieces(fc.uint8Array({ maxLength: 300 }));

const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const oddText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom(
    '/',
    '//',
    '///',
    '//x:y@z',
    '*',
    '',
    '?',
    '/%',
    '/%zz',
    '/\\',
    '//[',
    '/../..',
    'http://',
    'http://[::',
    ':',
    '/#',
  ),
  fc.constantFrom(
    '/images/import',
    '/images/export?ref=',
    '/metrics',
    '/healthz',
    '/exec/',
    '/attach/x',
    '/portforward/',
  ),
  fc.constant(`/${'a'.repeat(70_000)}`),
);
const method = fc.constantFrom(
  'GET',
  'POST',
  'PUT',
  'HEAD',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'DELETE',
  'PRI',
  'M-SEARCH',
);
const header = fc.oneof(
  fc.constantFrom(
    'Connection: Upgrade\r\nUpgrade: h2c',
    'Connection: Upgrade\r\nUpgrade: SPDY/3.1',
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: chunked, chunked',
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Length: 99999999999999999999',
    'Expect: 100-continue',
    'Expect: nonsense',
    'Host: a\r\nHost: b',
    'Range: bytes=0-',
    'Traceparent: 00-',
  ),
  fc
    .tuple(fc.string({ unit: 'grapheme-ascii', maxLength: 20 }), fc.string({ unit: 'binary', maxLength: 60 }))
    .map(([name, value]) => `${name}: ${value}`),
);
const version = fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', '');

/** Requests of HTTP/1 with absurd targets, headers and bodies. */
export const httpBytes = fc
  .tuple(
    fc.array(fc.tuple(method, oddText, version, fc.array(header, { maxLength: 4 })), {
      minLength: 1,
      maxLength: 3,
    }),
    fc.boolean(),
    fc.uint8Array({ maxLength: 80 }),
  )
  .map(([requests, host, body]) => [
    ...requests.map(([verb, target, proto, headers]) =>
      latin1([`${verb} ${target} ${proto}`, ...(host ? ['Host: x'] : []), ...headers, '', ''].join('\r\n')),
    ),
    body,
  ]);

const frame = (type: number, flags: number, stream: number, payload: Uint8Array): Uint8Array => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
const literal = (name: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
const methods = ['Version', 'Status', 'ListContainers', 'RunPodSandbox', 'GetContainerEvents', 'Nothing', ''];
/** HEADERS of a call, as gRPC has them or nearly. */
const callHeaders = fc
  .tuple(
    fc.constantFrom(...methods),
    fc.constantFrom('POST', 'GET', ''),
    fc.constantFrom('application/grpc', 'text/plain', ''),
    fc.constantFrom('1S', '-1S', '99999999999H', 'x', ''),
  )
  .map(([name, verb, type, timeout]) =>
    Buffer.concat([
      literal(':method', verb),
      literal(':scheme', 'http'),
      literal(':path', `/runtime.v1.RuntimeService/${name}`),
      literal(':authority', 'x'),
      literal('content-type', type),
      literal('te', 'trailers'),
      literal('grpc-timeout', timeout),
      literal('grpc-encoding', timeout === 'x' ? 'gzip' : 'identity'),
      literal('traceparent', name),
    ]),
  );
const grpcMessage = fc
  .tuple(fc.constantFrom(0, 1, 7), fc.uint8Array({ maxLength: 40 }), fc.constantFrom(0, 0, 1, 1 << 30))
  .map(([flag, body, more]) => {
    const head = Buffer.alloc(5);
    head[0] = flag;
    head.writeUInt32BE(body.length + more, 1);
    return Buffer.concat([head, body]);
  });
const anyFrame = fc.oneof(
  fc
    .tuple(fc.constantFrom(4, 5), fc.constantFrom(1, 3), callHeaders)
    .map(([flags, stream, payload]) => frame(1, flags, stream, payload)),
  fc
    .tuple(fc.constantFrom(0, 1), fc.constantFrom(1, 3), grpcMessage)
    .map(([flags, stream, payload]) => frame(0, flags, stream, payload)),
  fc
    .tuple(fc.nat(12), fc.nat(255), fc.nat(6), fc.uint8Array({ maxLength: 40 }))
    .map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
);

/** The preface of HTTP/2, settings, then frames of calls and of nonsense. */
export const grpcBytes = fc
  .tuple(fc.boolean(), fc.array(anyFrame, { maxLength: 8 }))
  .map(([preface, frames]) => [
    ...(preface ? [] : []),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    ...(preface ? [frame(4, 0, 0, new Uint8Array())] : []),
    ...frames,
  ]);
