/** Entries with the marker of removal: `-name` takes away, `-name` and `name` in one answer replace. */
import { type Change, type Field, type FieldValues, nameOf } from '../fields.ts';
import { quoted, type Reader, unmarked } from './reader.ts';

/** An entry as it was sent. */
export interface SentEntry<T> {
  readonly name: string;
  readonly value: T;
}

export interface EntryForm<F extends Field, T> {
  readonly field: F;
  /** The name, checked and in its only form. */
  readonly name: (name: string) => string;
  /** Not called for what is removed. */
  readonly value: (value: T, name: string) => FieldValues[F];
}

/**
 * One change for each name, in the order of the values; what is removed alone comes first.
 * Throws InvalidArgument where a name is empty, or is set or removed twice.
 */
export function entryChanges<F extends Field, T>(
  reader: Reader,
  { field, name, value }: EntryForm<F, T>,
  sent: readonly SentEntry<T>[],
): Change<F>[] {
  const removed = new Set<string>();
  const set = new Map<string, T>();
  for (const entry of reader.list(field, sent)) {
    const { name: text, marked } = unmarked(entry.name);
    if (text === '') reader.refuse(field, `${quoted(entry.name)} has no name`, 'name the entry');
    const key = name(text);
    if (marked ? removed.has(key) : set.has(key))
      reader.refuse(nameOf({ field, entry: key }), 'it is there twice', 'send each name once');
    if (marked) removed.add(key);
    else set.set(key, entry.value);
  }
  const changes = [...set].map(
    ([entry, item]): Change<F> => ({
      field,
      entry,
      value: value(item, entry),
      marked: removed.has(entry),
    }),
  );
  const gone = [...removed].filter((entry) => !set.has(entry));
  return [...gone.map((entry): Change<F> => ({ field, entry, value: undefined, marked: true })), ...changes];
}

/** Entries of a field that has no such marker. */
export function plainChanges<F extends Field, T>(
  reader: Reader,
  { field, name, value }: EntryForm<F, T>,
  sent: readonly SentEntry<T>[],
): Change<F>[] {
  const names = new Set<string>();
  return reader.list(field, sent).map((entry) => {
    const key = name(entry.name);
    if (names.has(key))
      reader.refuse(nameOf({ field, entry: key }), 'it is there twice', 'send each name once');
    names.add(key);
    return { field, entry: key, value: value(entry.value, key), marked: false };
  });
}

/** A field without entries; nothing where it is absent. */
export const singleChange = <F extends Field>(
  field: F,
  value: FieldValues[F] | undefined,
  marked = false,
): Change<F>[] => (value === undefined ? [] : [{ field, entry: '', value, marked }]);
