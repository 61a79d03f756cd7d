/** Filters of lists: an unset field matches all, set ones must all match (contract, section 1). */

/** Whether the object has every pair of the selector. */
export const hasLabels = (
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean =>
  selector === undefined ||
  Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
