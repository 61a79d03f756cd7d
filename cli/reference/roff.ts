/** Text as groff_man(7) has it, for `man` of both groff and mandoc. */

const SPECIAL: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '~': '\\(ti',
  '^': '\\(ha',
  '"': '\\(dq',
};
const WIDTH = 78;

const escaped = (text: string): string => text.replaceAll(/[\\\-'`~^"]/g, (char) => SPECIAL[char] ?? char);

export const bold = (text: string): string => (text === '' ? '' : `\\fB${escaped(text)}\\fR`);
export const italic = (text: string): string => (text === '' ? '' : `\\fI${escaped(text)}\\fR`);

/** Prose; what is in backquotes is bold. */
export const inline = (text: string): string =>
  text
    .split('`')
    .map((part, index) => (index % 2 === 1 ? bold(part) : escaped(part)))
    .join('');

/** Lines of input, broken at spaces; one that would begin a request is not one. */
export function wrapped(roff: string): string[] {
  const lines: string[] = [];
  for (const word of roff.split(/ +/)) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + word.length < WIDTH) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => (line.startsWith('.') ? `\\&${line}` : line));
}

export const paragraph = (text: string): string[] => ['.PP', ...wrapped(inline(text))];
export const heading = (text: string): string => `.SH ${text}`;
/** Below a heading; a macro's argument is in quotes. */
export const subheading = (text: string): string => `.SS "${escaped(text)}"`;
/** A term and, indented below it, what it is. */
export const item = (term: string, text: string): string[] => ['.TP', term, ...wrapped(inline(text))];
/** Lines as they are. */
export const verbatim = (lines: readonly string[]): string[] => [
  '.PP',
  '.nf',
  '.RS 4',
  ...lines.map((line) => `\\&${escaped(line)}`),
  '.RE',
  '.fi',
];
