/** Types of the tables from which messages are read and written. */

/**
 * A field: its number, its name, the type of its values (a scalar type or a message's name), and `one`, `list`, or for a map the
 * type of its keys.
 */
export type FieldRow = readonly [number: number, name: string, type: string, shape: string];
