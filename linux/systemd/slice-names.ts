/**
 * Names of systemd's slices (systemd.slice(5), systemd.unit(5)). The dashes of a name are its place in the tree:
 * `a-b.slice` is in `a.slice`, at `/a.slice/a-b.slice` below the cgroup root; `-.slice` is the root itself.
 */
const MAX_NAME = 255;
const ENDING = '.slice';

export const ROOT_SLICE = '-.slice';

/** Whether systemd takes it as the name of a slice. */
export function isSliceName(name: string): boolean {
  if (name === ROOT_SLICE) return true;
  if (name.length > MAX_NAME || !name.endsWith(ENDING)) return false;
  const parts = name.slice(0, -ENDING.length).split('-');
  return parts.every((part) => /^[A-Za-z0-9:_.\\]+$/.test(part));
}

/** The slice and those that hold it, the outermost first; the root slice is left out. */
export function sliceChain(name: string): string[] {
  if (name === ROOT_SLICE) return [];
  const parts = name.slice(0, -ENDING.length).split('-');
  return parts.map((_, index) => `${parts.slice(0, index + 1).join('-')}${ENDING}`);
}

/** The slice's path below the cgroup root; `/` for the root slice. */
export const slicePath = (name: string): string => `/${sliceChain(name).join('/')}`;

/** The slice that a given parent means: its expanded path, or its name alone; undefined where it is neither. */
export function sliceOf(parent: string): string | undefined {
  const plain = parent.replace(/\/$/, '');
  const name = plain.slice(plain.lastIndexOf('/') + 1);
  if (!isSliceName(name)) return undefined;
  return plain === name || plain === `/${name}` || plain === slicePath(name) ? name : undefined;
}

/** The name of the slice in the other one. */
export const sliceWithin = (outer: string, part: string): string =>
  outer === ROOT_SLICE ? `${part}${ENDING}` : `${outer.slice(0, -ENDING.length)}-${part}${ENDING}`;

/**
 * The slice of a cgroup path such as `/crisp` or `/a/b-c`: one level a segment. What a name cannot hold, the dash above
 * all, is written as `\x2d`, as systemd-escape(1) does; so different paths never share a slice.
 */
export function sliceOfPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '');
  return parts.length === 0 ? ROOT_SLICE : `${parts.map(escapePart).join('-')}${ENDING}`;
}

const escapePart = (part: string): string =>
  [...Buffer.from(part)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9:_.]/.test(character) ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
