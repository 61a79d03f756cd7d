/** What the kernel's parts say in the log (a part of core's Log). */
export interface KernelLog {
  warn(fields: object, message: string): void;
}
