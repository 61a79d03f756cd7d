/** Pods and events in the words of a reason. */
import type { CoreV1Event, V1ContainerState, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';

/** `waiting CrashLoopBackOff (back-off 10s …)`, `running`, `terminated Error (exit code 7)`. */
function stateText(state: V1ContainerState | undefined): string {
  if (state?.waiting) {
    const { reason, message } = state.waiting;
    return `waiting ${reason ?? ''}${message ? ` (${message})` : ''}`.trimEnd();
  }
  if (state?.running) return 'running';
  if (!state?.terminated) return 'unknown';
  const { reason, exitCode, message } = state.terminated;
  return `terminated ${reason ?? ''} (exit code ${exitCode}${message ? `, ${message.trim()}` : ''})`;
}

/** All of a pod: init, main and ephemeral ones. */
export const containersOf = ({ status }: V1Pod): V1ContainerStatus[] => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
  ...(status?.ephemeralContainerStatuses ?? []),
];

/** The status of the container with this name; undefined where the kubelet has not reported it yet. */
export const containerOf = (pod: V1Pod | undefined, name: string): V1ContainerStatus | undefined =>
  pod && containersOf(pod).find((status) => status.name === name);

/** One line: the phase, its reason, conditions that are false, and each container. */
export function describePod(name: string, pod: V1Pod | undefined): string {
  if (!pod?.status) return `the pod ${name} does not exist`;
  const { phase, reason, message, conditions } = pod.status;
  const unmet = (conditions ?? []).filter(({ status, message: text }) => status !== 'True' && text);
  return [
    `the pod ${name} is ${pod.metadata?.deletionTimestamp ? 'Terminating' : phase}`,
    ...(reason ? [`${reason}${message ? `: ${message}` : ''}`] : []),
    ...unmet.map(({ type, message: text }) => `${type}: ${text}`),
    ...containersOf(pod).map(
      ({ name: container, state, restartCount }) =>
        `${container} ${stateText(state)}${restartCount > 0 ? `, ${restartCount} restarts` : ''}`,
    ),
  ].join('; ');
}

const timeOf = (event: CoreV1Event): string =>
  String(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? '');

/** Of the objects that `concerns` takes, oldest first, one line each: `Warning BackOff (3×) pod/a: message`. */
export function eventLines(
  events: readonly CoreV1Event[],
  concerns: (name: string, kind: string) => boolean,
): string[] {
  return events
    .filter(({ involvedObject: { name = '', kind = '' } }) => concerns(name, kind))
    .toSorted((one, other) => timeOf(one).localeCompare(timeOf(other)))
    .map(({ type, reason, count, involvedObject, message }) => {
      const object = `${(involvedObject.kind ?? '').toLowerCase()}/${involvedObject.name}`;
      return `${type} ${reason}${(count ?? 1) > 1 ? ` (${count}×)` : ''} ${object}: ${message?.trim() ?? ''}`;
    });
}

/** The last warning about an object, if there is one: mostly the reason why it is not what was expected. */
export function lastWarning(events: readonly CoreV1Event[], object: string): string | undefined {
  const warnings = events.filter(({ type }) => type === 'Warning');
  return eventLines(warnings, (name) => name === object).at(-1);
}
