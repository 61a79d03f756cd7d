/** The log of the kernel's parts (a part of core's Log). */
export interface KernelLog {
  warn(fields: object, message: string): void;
}
