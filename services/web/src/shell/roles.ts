// What the pages know about the roles of the program: their order, names and one sentence each.
import type { RoleHealth } from '../api/client';
import type { Text } from './text';

export type State = 'ready' | 'not-ready' | 'down' | 'unknown';

export interface Span {
  readonly service: string;
  readonly name: string;
  readonly about: string;
  readonly state: State;
  readonly ready: number;
  readonly all: number;
  readonly detail: string;
}

const ORDER = ['identity', 'wallet', 'reports', 'notifications', 'ioc'] as const;

function names(text: Text): Record<string, [name: string, about: string]> {
  return {
    identity: [text.roleIdentity, text.roleIdentityText],
    wallet: [text.roleWallet, text.roleWalletText],
    reports: [text.roleReports, text.roleReportsText],
    notifications: [text.roleNotifications, text.roleNotificationsText],
    ioc: [text.roleIoc, text.roleIocText],
  };
}

/** One entry per role in the program's order; the five known ones always show, also before anything was heard of them. */
export function spans(roles: readonly RoleHealth[], text: Text): Span[] {
  const known = names(text);
  const others = [...new Set(roles.map((role) => role.service))].filter((service) => !(service in known)).sort();
  return [...ORDER, ...others].map((service) => {
    const instances = roles.filter((role) => role.service === service);
    const ready = instances.filter((role) => role.ready).length;
    const [name, about] = known[service] ?? [service, ''];
    const detail = instances.find((role) => !role.ready)?.detail ?? '';
    return { service, name, about, state: stateOf(instances), ready, all: instances.length, detail };
  });
}

function stateOf(instances: readonly RoleHealth[]): State {
  if (instances.length === 0) return 'unknown';
  if (instances.every((role) => role.ready)) return 'ready';
  return instances.some((role) => role.up) ? 'not-ready' : 'down';
}

export function stateName(state: State, text: Text): string {
  return { ready: text.ready, 'not-ready': text.notReady, down: text.down, unknown: '–' }[state];
}
