/** The events of NRI v1alpha1 to which plugins subscribe. */
import { nri, type PluginMethods } from '#api/nri/index.ts';

interface EventKind {
  /** As ConfigureResponse and StateChangeEvent count it. */
  readonly number: number;
  /** Plugins built with an NRI before 0.11 know it as a StateChangeEvent alone. */
  readonly byStateChange: boolean;
}

const { Event } = nri;
const own = (number: number): EventKind => ({ number, byStateChange: false });
const older = (number: number): EventKind => ({ number, byStateChange: true });

/** By the name of the plugin's method. */
export const events = {
  RunPodSandbox: older(Event.RUN_POD_SANDBOX),
  UpdatePodSandbox: own(Event.UPDATE_POD_SANDBOX),
  PostUpdatePodSandbox: older(Event.POST_UPDATE_POD_SANDBOX),
  StopPodSandbox: older(Event.STOP_POD_SANDBOX),
  RemovePodSandbox: older(Event.REMOVE_POD_SANDBOX),
  CreateContainer: own(Event.CREATE_CONTAINER),
  PostCreateContainer: older(Event.POST_CREATE_CONTAINER),
  StartContainer: older(Event.START_CONTAINER),
  PostStartContainer: older(Event.POST_START_CONTAINER),
  UpdateContainer: own(Event.UPDATE_CONTAINER),
  PostUpdateContainer: older(Event.POST_UPDATE_CONTAINER),
  StopContainer: own(Event.STOP_CONTAINER),
  RemoveContainer: older(Event.REMOVE_CONTAINER),
  ValidateContainerAdjustment: own(Event.VALIDATE_CONTAINER_ADJUSTMENT),
} as const satisfies Partial<Record<keyof PluginMethods, EventKind>>;

export type EventName = keyof typeof events;

const names = Object.keys(events) as readonly EventName[];
const ALL = names.reduce((mask, name) => mask | bit(name), 0);

function bit(event: EventName): number {
  return 1 << (events[event].number - 1);
}

/** What a plugin has subscribed to. */
export class Subscription {
  #mask: number;
  /** It has named no event and gets all, also those that it does not know. */
  readonly isOfAll: boolean;

  /** `mask` as in ConfigureResponse. */
  constructor(mask: number) {
    this.isOfAll = mask === 0;
    this.#mask = mask === 0 ? ALL : mask;
  }

  has(event: EventName): boolean {
    return (this.#mask & bit(event)) !== 0;
  }

  remove(event: EventName): void {
    this.#mask &= ~bit(event);
  }

  /** Whether it has asked to judge containers: one that takes all events as they come has not. */
  get isValidator(): boolean {
    return !this.isOfAll && this.has('ValidateContainerAdjustment');
  }

  get events(): readonly EventName[] {
    return names.filter((name) => this.has(name));
  }

  /** The bits that stand for no event; 0: none. */
  static unknown(mask: number): number {
    return (mask & ~ALL) >>> 0;
  }
}
