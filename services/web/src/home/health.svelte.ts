// The roles' health, asked again every few seconds while the page is visible.
import { read, Refused, type RoleHealth } from '../api/client';

const EVERY_MS = 3_000;

export type Reading = 'loading' | 'read' | 'unreachable';

export class Health {
  reading = $state<Reading>('loading');
  roles = $state.raw<readonly RoleHealth[]>([]);

  /** Polls until the returned function is called. */
  start(): () => void {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      if (!document.hidden) await this.#ask();
      if (!stopped) timer = setTimeout(() => void ask(), EVERY_MS);
    };
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  async #ask(): Promise<void> {
    try {
      this.roles = (await read('/ioc/v1/roles')).roles;
      this.reading = 'read';
    } catch (fault) {
      this.reading = 'unreachable';
      if (!(fault instanceof Refused)) this.roles = this.roles.map((role) => ({ ...role, up: false, ready: false }));
    }
  }
}
