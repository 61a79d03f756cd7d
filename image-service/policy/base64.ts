/** The bytes of padded base64 in the standard alphabet, line ends ignored; undefined for other text. */
export function decodeBase64(text: string): Buffer | undefined {
  const bare = text.replaceAll(/[\r\n]/g, '');
  if (bare.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(bare)) return undefined;
  return Buffer.from(bare, 'base64');
}
