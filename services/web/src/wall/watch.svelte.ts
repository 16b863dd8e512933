// What the wall knows of alarms and warnings. Rows replace the rows before them; those that are over go.
import type { AlarmRow, WarningRow } from '../api/client';

export class Watch {
  #alarms = $state.raw<ReadonlyMap<string, AlarmRow>>(new Map());
  #warnings = $state.raw<ReadonlyMap<string, WarningRow>>(new Map());

  /** Open alarms: exercises after all that is meant, then the highest level first, those that nobody has seen before the others. */
  readonly alarms = $derived(
    [...this.#alarms.values()].sort(
      (a, b) =>
        Number(a.exercise) - Number(b.exercise) ||
        b.level - a.level ||
        Number(b.state === 'raised') - Number(a.state === 'raised') ||
        a.raised_at.localeCompare(b.raised_at),
    ),
  );
  /** What is announced: alarms of the last change that are new or have risen. What stood there at first is read, not announced. */
  news = $state.raw<readonly AlarmRow[]>([]);
  #begun = false;
  readonly unseen = $derived(this.alarms.filter((alarm) => alarm.state === 'raised').length);

  /** Warnings in force at a time: exercises after all that is meant, then the newest first. */
  inForce(now: number): WarningRow[] {
    const warnings = [...this.#warnings.values()].filter((warning) => Date.parse(warning.expires_at) > now);
    return warnings.sort((a, b) => Number(a.exercise) - Number(b.exercise) || b.released_at.localeCompare(a.released_at));
  }

  /** Rows that changed; `fresh` when they are all there are. */
  take(alarms: readonly AlarmRow[], warnings: readonly WarningRow[], fresh: boolean): void {
    const risen = alarms.filter((alarm) => alarm.state !== 'closed' && alarm.level > (this.#alarms.get(alarm.id)?.level ?? 0));
    if (this.#begun && risen.length > 0) this.news = risen;
    this.#begun = true;
    const known = new Map(fresh ? [] : this.#alarms);
    for (const alarm of alarms) {
      if (alarm.state === 'closed') known.delete(alarm.id);
      else known.set(alarm.id, alarm);
    }
    const told = new Map(fresh ? [] : this.#warnings);
    for (const warning of warnings) {
      if (warning.ended) told.delete(warning.alert_id);
      else told.set(warning.alert_id, warning);
    }
    [this.#alarms, this.#warnings] = [known, told];
  }
}
