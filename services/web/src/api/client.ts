// The typed client: paths and bodies come from the program's own OpenAPI document (`npm run api`).
import type { components, paths } from './schema';

export type Overview = components['schemas']['Overview'];
export type Delta = components['schemas']['Delta'];
export type Pulse = components['schemas']['Pulse'];
export type RoleHealth = components['schemas']['RoleHealth'];
export type Tally = components['schemas']['Tally'];
export type MinuteTally = components['schemas']['MinuteTally'];
export type LastPayment = components['schemas']['LastPayment'];
export type CityName = components['schemas']['CityName'];
export type Books = components['schemas']['Books'];

/** Paths whose GET answers JSON and needs no parameter. */
type Readable = {
  [P in keyof paths]: paths[P] extends {
    get: { responses: { 200: { content: { 'application/json': unknown } } } };
  }
    ? P
    : never;
}[keyof paths];

type Answer<P extends Readable> = paths[P] extends {
  get: { responses: { 200: { content: { 'application/json': infer Body } } } };
}
  ? Body
  : never;

/** An answer that was not 2xx. */
export class Refused extends Error {
  constructor(readonly status: number) {
    super(`answered ${status}`);
  }
}

const WAIT_MS = 5_000;

/** Reads one path; refuses after five seconds. */
export async function read<P extends Readable>(path: P): Promise<Answer<P>> {
  const answer = await fetch(path, {
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(WAIT_MS),
  });
  if (!answer.ok) throw new Refused(answer.status);
  return (await answer.json()) as Answer<P>;
}
