/** Something that is wrong with the node and that operators should hear of while the daemon serves all the same. */
export interface Trouble {
  /** A word for machines, as the reasons of conditions in Kubernetes are: `InotifyExhausted`. */
  readonly reason: string;
  /** What is wrong, with the culprit and the values. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
  /** Whether no pod can be made meanwhile. */
  readonly podsFail: boolean;
}
