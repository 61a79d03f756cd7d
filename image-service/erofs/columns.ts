/** Columns of a table, one number per row, that grow together: objects would need ten times the memory. */
type Column = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

/** The least capacity of a column with room for the row: half as much again when it is full. */
export function grown<T extends Column>(column: T, row: number): T {
  if (row < column.length) return column;
  const make = column.constructor as new (length: number) => T;
  const larger = new make(Math.max(row + 1, Math.ceil(column.length * 1.5)));
  larger.set(column as never);
  return larger;
}
