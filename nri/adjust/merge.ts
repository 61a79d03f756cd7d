/** The changes of several plugins to one container, in their order, and whose each of them is. */
import { CrispError } from '#core/errors.ts';
import { type Change, type Field, type FieldValues, fields, nameOf, shown } from './fields.ts';

export interface OwnedChange extends Change {
  readonly plugin: string;
}

/** What plugins have asked of one container so far; never changed in place. */
export class MergedChanges {
  /** By field and entry; in the order in which the values were set. */
  readonly #changes: ReadonlyMap<string, OwnedChange>;

  private constructor(changes: ReadonlyMap<string, OwnedChange>) {
    this.#changes = changes;
  }

  static readonly none: MergedChanges = new MergedChanges(new Map());

  get isEmpty(): boolean {
    return this.#changes.size === 0;
  }

  /**
   * These and the next plugin's, all of them or none. A plugin names each field and entry once. `of` names the container, where
   * it is not the one that is being created.
   * Throws FailedPrecondition, naming field, entry and both plugins, where another plugin has changed the same.
   */
  with(plugin: string, changes: readonly Change[], of = ''): MergedChanges {
    const merged = new Map(this.#changes);
    for (const change of changes) {
      const key = fields[change.field].kind === 'added' ? `${change.field} ${merged.size}` : nameOf(change);
      const earlier = merged.get(key);
      if (earlier) checkConflict(earlier, change, plugin, of);
      // Behind all others: what replaces an entry comes after what was set between both.
      merged.delete(key);
      merged.set(key, { ...change, plugin });
    }
    return new MergedChanges(merged);
  }

  *all(): Generator<OwnedChange> {
    yield* this.#changes.values();
  }

  /** Those of one field. */
  *of<F extends Field>(field: F): Generator<Change<F> & { readonly plugin: string }> {
    for (const change of this.#changes.values())
      if (change.field === field) yield change as unknown as Change<F> & { readonly plugin: string };
  }

  /** The value of a field that has no entries. */
  valueOf<F extends Field>(field: F): FieldValues[F] | undefined {
    return this.#changes.get(field)?.value as FieldValues[F] | undefined;
  }
}

const REMEDIES = {
  replaces:
    'configure one of both not to change it, or have the later plugin remove it in the same answer if it is to win',
  removes: 'configure one of both not to change it',
  none: 'configure one of both not to change it',
};

function checkConflict(earlier: OwnedChange, change: Change, plugin: string, of: string): void {
  const { marker } = fields[change.field];
  const name = `${shown(nameOf(change))}${of}`;
  if (earlier.plugin === plugin) {
    throw new CrispError('InvalidArgument', `NRI plugin ${plugin} changes ${name} twice`, {
      hint: 'correct the plugin: it may name each field and entry once',
    });
  }
  if (change.marked && marker === 'replaces') return;
  const did = (value: unknown) => (value === undefined ? 'removes' : 'sets');
  throw new CrispError(
    'FailedPrecondition',
    `NRI plugins ${earlier.plugin} and ${plugin} both change ${name}: ` +
      `${earlier.plugin} ${did(earlier.value)} it, then ${plugin} ${did(change.value)} it`,
    { hint: REMEDIES[marker] },
  );
}
