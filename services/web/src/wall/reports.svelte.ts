// What the wall knows of field reports. Rows replace the rows before them; derived figures are sums over rows, never kept apart.
import type { ReportFigures, ReportTally } from '../api/client';

/** States in which a report has not ended, in the order of its way. */
export const OPEN = ['received', 'verifying', 'needs-info', 'distributed', 'in-progress', 'result-submitted'] as const;

export type OpenState = (typeof OPEN)[number];

export interface Standing {
  readonly open: number;
  readonly overdue: number;
}

export interface StateRow extends Standing {
  readonly state: OpenState;
}

export interface AgencyRow extends Standing {
  readonly agency: string;
  /** Published results, and how many of them kept which deadline. */
  readonly results: number;
  readonly first: number;
  readonly extended: number;
}

const NOTHING: Standing = { open: 0, overdue: 0 };

export class Reports {
  #states = $state.raw<ReadonlyMap<string, Standing>>(new Map());
  #agencies = $state.raw<ReadonlyMap<string, Standing>>(new Map());
  #today = $state.raw<ReadonlyMap<string, ReportTally>>(new Map());
  #totals = $state.raw<ReadonlyMap<string, ReportTally>>(new Map());
  /** By code of the ward; the empty code for reports whose ward is not known. */
  wards = $state.raw<ReadonlyMap<string, Standing>>(new Map());

  readonly states = $derived(OPEN.map((state): StateRow => ({ state, ...(this.#states.get(state) ?? NOTHING) })));
  readonly open = $derived(this.states.reduce((sum, row) => sum + row.open, 0));
  readonly overdue = $derived(this.states.reduce((sum, row) => sum + row.overdue, 0));
  readonly submitted = $derived(count(this.#today, (row) => row.kind === 'submitted'));
  readonly breaches = $derived(count(this.#today, (row) => row.kind === 'breach'));

  /** Rounds that ended, those of them that were rated, and those rated `satisfied`. */
  readonly ended = $derived(count(this.#totals, (row) => row.kind === 'rating'));
  readonly rated = $derived(count(this.#totals, (row) => row.kind === 'rating' && row.outcome !== 'none'));
  readonly satisfied = $derived(count(this.#totals, (row) => row.kind === 'rating' && row.outcome === 'satisfied'));

  /** Agencies that lead something, those with most overdue reports first, then those with most. */
  readonly agencies = $derived.by(() => {
    const rows = [...this.#agencies]
      .filter(([agency, row]) => agency !== '' && row.open > 0)
      .map(([agency, row]): AgencyRow => ({ agency, ...row, ...this.#results(agency) }));
    return rows.sort((a, b) => b.overdue - a.overdue || b.open - a.open || a.agency.localeCompare(b.agency));
  });

  /** Rows that changed; `fresh` when they are all there are. */
  take(figures: ReportFigures, fresh: boolean): void {
    const from = <T>(known: ReadonlyMap<string, T>): Map<string, T> => (fresh ? new Map() : new Map(known));
    const [states, agencies, wards] = [from(this.#states), from(this.#agencies), from(this.wards)];
    for (const row of figures.states) states.set(row.state, { open: row.reports, overdue: row.overdue });
    for (const row of figures.agencies) agencies.set(row.agency, row);
    for (const row of figures.wards) wards.set(row.ward, row);
    const [today, totals] = [from(this.#today), from(this.#totals)];
    for (const row of figures.today) today.set(key(row), row);
    for (const row of figures.totals) totals.set(key(row), row);
    [this.#states, this.#agencies, this.wards, this.#today, this.#totals] = [states, agencies, wards, today, totals];
  }

  /** What happened of a kind, today or since the beginning. */
  happened(kind: string, when: 'today' | 'totals'): ReportTally[] {
    const rows = when === 'today' ? this.#today : this.#totals;
    return [...rows.values()].filter((row) => row.kind === kind).sort((a, b) => b.count - a.count);
  }

  /** A new day begins empty. */
  turn(): void {
    this.#today = new Map();
  }

  #results(agency: string): { results: number; first: number; extended: number } {
    const kept = (outcomes: readonly string[]): number =>
      count(this.#totals, (row) => row.kind === 'result' && row.agency === agency && outcomes.includes(row.outcome));
    const [first, extended] = [kept(['first']), kept(['extended'])];
    return { results: first + extended + kept(['late']), first, extended: first + extended };
  }
}

function count(rows: ReadonlyMap<string, ReportTally>, wanted: (row: ReportTally) => boolean): number {
  let sum = 0;
  for (const row of rows.values()) if (wanted(row)) sum += row.count;
  return sum;
}

function key(row: ReportTally): string {
  return [row.kind, row.outcome, row.agency, row.category, row.ward].join(' ');
}
