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
export type ReportFigures = components['schemas']['ReportFigures'];
export type ReportTally = components['schemas']['ReportTally'];
export type Directory = components['schemas']['Directory'];
export type ReportItem = components['schemas']['Page_QueueItem']['items'][number];
export type AlarmRow = components['schemas']['AlarmRow'];
export type WarningRow = components['schemas']['WarningRow'];
export type StreamLag = components['schemas']['StreamLag'];
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
  return (await ask(path)) as Answer<P>;
}

/** A page of a list. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Where the list goes on; nothing at its end. */
  readonly next_cursor?: string | null;
}

/** Which reports of the officers' queue: of those that have not ended, or of those to which something happened. */
export type QueueFilter = Omit<NonNullable<paths['/ioc/v1/queue']['get']['parameters']['query']>, 'limit' | 'cursor'>;

/** Reports that have not ended, the most urgent first; or those to which something happened, the newest first. */
export async function queue(filter: QueueFilter, cursor?: string): Promise<Page<ReportItem>> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filter, cursor })) if (value !== undefined && value !== null) query.set(name, String(value));
  return (await ask(`/ioc/v1/queue?${query}`)) as components['schemas']['Page_QueueItem'];
}

/** Which happenings: of these kinds and outcomes, with commas between, on a day of the city or in a minute. */
export interface HappeningFilter {
  readonly kind: string;
  readonly outcome?: string;
  readonly day?: string;
  readonly minute?: string;
}

/** One event, as what it was counted. */
export type Happening = components['schemas']['Happening'];
export type HappeningPage = components['schemas']['HappeningPage'];

/** What a number counts, one by one, the newest first. */
export async function happenings(filter: HappeningFilter, cursor?: string): Promise<HappeningPage> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filter, cursor })) if (value !== undefined) query.set(name, String(value));
  return (await ask(`/ioc/v1/happenings?${query}`)) as HappeningPage;
}

/** Who looks at the wall. */
export async function viewer(): Promise<{ user_id?: string | null; may_watch: boolean }> {
  return (await ask('/ioc/v1/session')) as { user_id?: string | null; may_watch: boolean };
}

async function ask(url: string): Promise<unknown> {
  const answer = await fetch(url, {
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(WAIT_MS),
  });
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}
