/** A problem of the node that operators should be notified of while the daemon keeps serving. */
export interface Trouble {
  /** CamelCase, as the reasons of conditions in Kubernetes are: `InotifyExhausted`. */
  readonly reason: string;
  /** What is wrong, with the culprit and the values. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
  /** Whether no pod can be made meanwhile. */
  readonly podsFail: boolean;
}
