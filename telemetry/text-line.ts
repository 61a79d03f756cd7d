const printable = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** A value without quotes where it is plain; control characters never reach a terminal. */
const show = (value: unknown): string => {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[\w./:@+-]+$/.test(text) ? text : printable(JSON.stringify(text));
};

/** One line of JSON as human-readable text: time, level, message, then the fields as key=value. */
export function textLine(json: string): string {
  const { time, level, msg, ...fields } = JSON.parse(json) as { time: string; level: string; msg?: string };
  const rest = Object.entries(fields).map(([key, value]) => ` ${printable(key)}=${show(value)}`);
  return `${time.slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${printable(msg ?? '')}${rest.join('')}\n`;
}
