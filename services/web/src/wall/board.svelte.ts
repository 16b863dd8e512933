// What the wall knows: the server's last snapshot with every change since.
// Changes carry whole rows, never differences, so that applying one twice changes nothing.
import type { Books, CityName, Delta, LastPayment, MinuteTally, Overview, Pulse, RoleHealth, StreamLag, Tally } from '../api/client';
import { Reports } from './reports.svelte';
import { follow, type Message } from './stream';
import { Watch } from './watch.svelte';

const MINUTE_MS = 60_000;
const KEPT_MINUTES = 62;
const KEPT_PAYMENTS = 12;
const TICK_MS = 250;
/** No word for this long: the figures are shown as stale. The server speaks every two seconds. */
const STALE_AFTER_MS = 6_000;
/** The figures may trail what they are counted from for this long before that is shown. */
export const BEHIND_AFTER_S = 10;

/** Every kind of movement of money, in the order in which the wall tells of them. */
export const MOVEMENTS = ['payment', 'bill', 'fee', 'top-up', 'transfer', 'withdrawal', 'refund', 'payout'] as const;
/** Those that a citizen tries. */
export const ATTEMPTED = ['payment', 'bill', 'fee', 'top-up', 'transfer', 'withdrawal'] as const;
/** What citizens pay to utilities and public services. */
export const BILLS = ['bill', 'fee'] as const;

export type Line = 'connecting' | 'live' | 'lost' | 'signed-out' | 'no-role';

/** What an answer to the wall's request means, where it is a refusal. */
const REFUSALS: Readonly<Record<number, Line>> = { 401: 'signed-out', 403: 'no-role' };

export interface Bar {
  readonly minute: number;
  /** To merchants. */
  readonly payments: number;
  /** To utilities and public services. */
  readonly bills: number;
  readonly topUps: number;
  readonly refused: number;
  /** Field reports that came in. */
  readonly reports: number;
}

export class Board {
  line = $state<Line>('connecting');
  zone = $state('Asia/Ho_Chi_Minh');
  city = $state.raw<CityName | null>(null);
  roles = $state.raw<readonly RoleHealth[]>([]);
  books = $state.raw<Books | null>(null);
  streams = $state.raw<readonly StreamLag[]>([]);
  payments = $state.raw<readonly LastPayment[]>([]);
  readonly reports = new Reports();
  readonly watch = new Watch();
  loaded = $state(false);
  /** The newest payment of the last whole picture; later ones arrived before the viewer's eyes. */
  opened = $state(0);
  /** The city's day. */
  day = $state('');
  /** The server's clock, in milliseconds. */
  now = $state(Date.now());

  #today = $state.raw<ReadonlyMap<string, Tally>>(new Map());
  #minutes = $state.raw<ReadonlyMap<string, MinuteTally>>(new Map());
  #ahead = 0;
  #heard = $state(Date.now());

  /** How long nothing was heard, once that is too long; else 0. */
  readonly silent = $derived(this.now - this.#heard > STALE_AFTER_MS ? this.now - this.#heard : 0);
  /** Seconds that the figures trail the wallet's books, once that is too long; else 0. */
  readonly booksBehind = $derived(late(this.books?.behind_seconds ?? 0));
  /** Seconds that the figures trail whatever they are counted from, once that is too long; else 0. */
  readonly behind = $derived(Math.max(this.booksBehind, ...this.streams.map((lag) => late(lag.behind_seconds))));

  readonly bars = $derived(this.#bars(Math.floor(this.now / MINUTE_MS)));
  /** What citizens paid, to whomever, in the sliding last 60 seconds: this minute's, and the share of the last one's that the window still covers. */
  readonly perMinute = $derived.by(() => {
    const elapsed = (this.now % MINUTE_MS) / MINUTE_MS;
    const paid = (bar?: Bar): number => (bar ? bar.payments + bar.bills : 0);
    return Math.round(paid(this.bars.at(-1)) + paid(this.bars.at(-2)) * (1 - elapsed));
  });
  /** Everything counted today. */
  readonly tallies = $derived([...this.#today.values()].sort((a, b) => key(a.kind, a.outcome).localeCompare(key(b.kind, b.outcome))));
  /** What moved today, whichever way: as much as the books have of the day. */
  readonly moved = $derived(this.#amount(MOVEMENTS));
  readonly completed = $derived(this.#count(ATTEMPTED, 'completed'));
  readonly attempts = $derived(this.completed + this.#count(ATTEMPTED, 'rejected') + this.#count(ATTEMPTED, 'failed'));
  /** Of today's movements: payments to merchants, bills and fees, top-ups, all others. */
  readonly movements = $derived.by(() => {
    const [payments, bills, topUps] = [this.count('payment'), this.#count(BILLS, 'completed'), this.count('top-up')];
    return { payments, bills, topUps, others: this.#count(MOVEMENTS, 'completed') - payments - bills - topUps };
  });

  /** Follows the stream until the returned function is called. */
  start(): () => void {
    const stop = new AbortController();
    const clock = setInterval(() => (this.now = Date.now() + this.#ahead), TICK_MS);
    void follow(
      '/ioc/v1/stream',
      {
        message: (message) => this.take(message),
        connected: () => (this.line = 'live'),
        lost: (status) => (this.line = REFUSALS[status ?? 0] ?? 'lost'),
      },
      stop.signal,
    );
    return () => {
      stop.abort();
      clearInterval(clock);
    };
  }

  take({ event, data }: Message): void {
    if (event === 'snapshot') this.#snapshot(JSON.parse(data) as Overview);
    else if (event === 'delta') this.#delta(JSON.parse(data) as Delta);
    else if (event === 'pulse') this.#pulse(JSON.parse(data) as Pulse);
    else return;
    this.#heard = this.now;
  }

  /** Today's completed count of one kind. */
  count(kind: string): number {
    return this.happened(kind, 'completed');
  }

  /** Today's count of one kind that ended in one way. */
  happened(kind: string, outcome: string): number {
    return this.#today.get(key(kind, outcome))?.count ?? 0;
  }

  #snapshot(overview: Overview): void {
    this.zone = overview.city.time_zone;
    this.city = overview.city.name;
    this.#today = new Map();
    this.#minutes = new Map();
    this.payments = [];
    this.#delta(overview, true);
    this.#pulse(overview);
    this.opened = this.payments[0]?.position ?? 0;
    this.loaded = true;
  }

  #delta(delta: Pick<Delta, 'as_of' | 'day' | 'today' | 'minutes' | 'last_payments' | 'reports' | 'alarms' | 'warnings'>, fresh = false): void {
    this.#hear(delta.as_of);
    this.#turn(delta.day);
    const today = new Map(this.#today);
    for (const tally of delta.today) today.set(key(tally.kind, tally.outcome), tally);
    this.#today = today;

    const oldest = this.now - KEPT_MINUTES * MINUTE_MS;
    const minutes = new Map([...this.#minutes].filter(([, tally]) => Date.parse(tally.minute) >= oldest));
    for (const tally of delta.minutes) minutes.set(`${Date.parse(tally.minute)} ${key(tally.kind, tally.outcome)}`, tally);
    this.#minutes = minutes;

    this.reports.take(delta.reports, fresh);
    this.watch.take(delta.alarms, delta.warnings, fresh);

    const known = new Map(this.payments.map((payment) => [payment.position, payment]));
    for (const payment of delta.last_payments) known.set(payment.position, payment);
    this.payments = [...known.values()].sort((a, b) => b.position - a.position).slice(0, KEPT_PAYMENTS);
  }

  #pulse(pulse: Pulse): void {
    this.#hear(pulse.as_of);
    this.#turn(pulse.day);
    this.roles = pulse.roles;
    this.books = pulse.books;
    this.streams = pulse.streams;
  }

  /** A new day begins empty. */
  #turn(day: string): void {
    if (day === this.day) return;
    this.day = day;
    this.#today = new Map();
    this.reports.turn();
  }

  #hear(asOf: string): void {
    this.#ahead = Date.parse(asOf) - Date.now();
    this.now = Date.now() + this.#ahead;
  }

  #bars(current: number): Bar[] {
    const at = (minute: number, kind: string, outcome: string): number =>
      this.#minutes.get(`${minute * MINUTE_MS} ${key(kind, outcome)}`)?.count ?? 0;
    return Array.from({ length: 60 }, (_, index) => {
      const minute = current - 59 + index;
      let refused = 0;
      for (const kind of ATTEMPTED) refused += at(minute, kind, 'rejected') + at(minute, kind, 'failed');
      return {
        minute: minute * MINUTE_MS,
        payments: at(minute, 'payment', 'completed'),
        bills: BILLS.reduce((sum, kind) => sum + at(minute, kind, 'completed'), 0),
        topUps: at(minute, 'top-up', 'completed'),
        refused,
        reports: at(minute, 'report', 'submitted'),
      };
    });
  }

  #count(kinds: readonly string[], outcome: string): number {
    return kinds.reduce((sum, kind) => sum + this.happened(kind, outcome), 0);
  }

  #amount(kinds: readonly string[]): bigint {
    return kinds.reduce((sum, kind) => sum + BigInt(this.#today.get(key(kind, 'completed'))?.amount.amount ?? 0), 0n);
  }
}

/** Seconds that are too long; else 0. */
function late(seconds: number): number {
  return seconds > BEHIND_AFTER_S ? seconds : 0;
}

function key(kind: string, outcome: string): string {
  return `${kind} ${outcome}`;
}
