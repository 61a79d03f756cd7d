/**
 * `derive`, its result kept for as long as its argument lives. For objects that are replaced and never changed, as records are: the
 * same one has the same result, so what is derived of that can be kept as well.
 */
export function derived<K extends object, V>(derive: (from: K) => V): (from: K) => V {
  const kept = new WeakMap<K, V>();
  return (from) => {
    const known = kept.get(from);
    if (known !== undefined) return known;
    const made = derive(from);
    kept.set(from, made);
    return made;
  };
}
