import type { CheckedPart, CheckLine } from '#api/admin/contract.ts';
import { type CheckEvent, type CheckedObject, nameOf } from '#image-service/index.ts';

const partOf = ({ kind, name, images }: CheckedObject): CheckedPart => ({
  kind,
  name,
  images: images.map(nameOf),
});

/** The events of a check as lines of the admin API. */
export async function* checkLines(events: AsyncGenerator<CheckEvent>): AsyncGenerator<CheckLine> {
  for await (const event of events) yield lineOf(event);
}

function lineOf(event: CheckEvent): CheckLine {
  if (event.kind === 'plan' || event.kind === 'end') return event;
  if (event.kind === 'progress') {
    const { object, objects, bytes } = event;
    return { kind: 'progress', part: partOf(object), objects, bytes };
  }
  if (event.kind === 'finding') {
    const { object, fault, message } = event;
    return { kind: 'finding', part: partOf(object), fault, message };
  }
  const part = partOf(event.finding.object);
  return event.kind === 'repairing'
    ? { kind: 'repairing', part }
    : { kind: 'repair', part, ...event.outcome };
}
