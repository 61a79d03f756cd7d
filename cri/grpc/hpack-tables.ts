/** The constant tables of HPACK (RFC 7541, appendices A and B). */

/** Appendix A, from index 1 on. */
export const STATIC_TABLE: readonly (readonly [name: string, value: string])[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...(
    'accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control ' +
    'content-disposition content-encoding content-language content-length content-location content-range ' +
    'content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range ' +
    'if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range ' +
    'referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary ' +
    'via www-authenticate'
  )
    .split(' ')
    .map((name) => [name, ''] as const),
];

/**
 * Appendix B. The code is canonical: codes of one length follow each other in the order of their bytes, so the bytes of each
 * length are all that it takes. 256 is the end of the string, which must not occur.
 */
const BYTES_OF_LENGTH: Readonly<Record<number, string>> = {
  5: '48-50 97 99 101 105 111 115 116',
  6: '32 37 45-47 51-57 61 65 95 98 100 102-104 108-110 112 114 117',
  7: '58 66-87 89 106 107 113 118-122',
  8: '38 42 44 59 88 90',
  10: '33 34 40 41 63',
  11: '39 43 124',
  12: '35 62',
  13: '0 36 64 91 93 126',
  14: '94 125',
  15: '60 96 123',
  19: '92 195 208',
  20: '128 130 131 162 184 194 224 226',
  21: '153 161 167 172 176 177 179 209 216 217 227 229 230',
  22: '129 132-134 136 146 154 156 160 163 164 169 170 173 178 181 185-187 189 190 196 198 228 232 233',
  23: '1 135 137-141 143 147 149-152 155 157 158 165 166 168 174 175 180 182 183 188 191 197 231 239',
  24: '9 142 144 145 148 159 171 206 215 225 236 237',
  25: '199 207 234 235',
  26: '192 193 200-202 205 210 213 218 219 238 240 242 243 255',
  27: '203 204 211 212 214 221-223 241 244-248 250-254',
  28: '2-8 11 12 14-21 23-31 127 220 249',
  30: '10 13 22 256',
};

export const END_OF_STRING = 256;

function* bytesOf(ranges: string): Generator<number> {
  for (const range of ranges.split(' ')) {
    const [from, to = from] = range.split('-').map(Number) as [number, number?];
    for (let byte = from; byte <= to; byte += 1) yield byte;
  }
}

/**
 * The code as a binary tree in an array: node `n` has its branches at `2n` and `2n + 1`. A branch is the number of another node, or
 * for a byte the complement of its value (negative); the root is node 0.
 */
export function huffmanTree(): Int16Array {
  const tree = new Int16Array(2 * 256);
  let nodes = 1;
  const insert = (code: number, length: number, byte: number): void => {
    let node = 0;
    for (let bit = length - 1; bit > 0; bit -= 1) {
      const at = 2 * node + ((code >> bit) & 1);
      if (tree[at] === 0) tree[at] = nodes++;
      node = tree[at] as number;
    }
    tree[2 * node + (code & 1)] = ~byte;
  };
  let code = 0;
  let before = 0;
  for (const [length, bytes] of Object.entries(BYTES_OF_LENGTH)) {
    code <<= Number(length) - before;
    before = Number(length);
    for (const byte of bytesOf(bytes)) insert(code++, before, byte);
  }
  return tree;
}
