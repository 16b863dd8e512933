// The rows behind each number of the wall, as tables: built from what the wall knows, so that they move with it.
// Nothing here names a citizen. Counts of reports lead on to the reports themselves, all others to what they count, one by one.
import type { HappeningFilter, QueueFilter } from '../api/client';
import type { Language } from '../shell/language.svelte';
import { hourMinute, percent, whole } from '../shell/format';
import type { Text } from '../shell/text';
import { ATTEMPTED, BEHIND_AFTER_S, BILLS, MOVEMENTS, type Board } from './board.svelte';
import type { Counted } from './Happenings.svelte';
import type { Places } from './places.svelte';
import type { Wanted } from './Rows.svelte';

export interface Cell {
  readonly text: string;
  readonly href?: string;
  /** Leads to these reports, or to what was counted. */
  readonly leads?: Wanted | Counted;
  readonly bad?: boolean;
  /** A number, written to the right. */
  readonly count?: boolean;
}

export interface Sheet {
  readonly title: string;
  readonly note: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A number that was asked about. */
export type Topic =
  | { readonly of: 'minutes' | 'money' | 'satisfaction' | 'messages' | 'people' | 'alarms' | 'warnings' | 'health' }
  | { readonly of: 'agency'; readonly code: string };

export const LANES = ['emergency', 'security', 'payment', 'service', 'news'] as const;
const OUTCOMES = ['delivered', 'failed', 'suppressed'] as const;
/** What people do with their accounts: kind and outcome. */
const PEOPLE = [
  ['citizen', 'registered'],
  ['citizen', 'tier-changed'],
  ['otp', 'requested'],
  ['session', 'started'],
  ['session', 'revoked'],
] as const;

interface View {
  readonly board: Board;
  readonly places: Places;
  readonly text: Text;
  readonly language: Language;
}

const say = (text: string): Cell => ({ text });
/** What is counted, leading to the reports that are. */
const leading = (text: string, filter: QueueFilter): Cell => ({ text, leads: { title: text, filter } });

export function sheet(topic: Topic, view: View): Sheet {
  switch (topic.of) {
    case 'minutes':
      return minutes(view);
    case 'money':
      return money(view);
    case 'satisfaction':
      return satisfaction(view);
    case 'messages':
      return messages(view);
    case 'people':
      return people(view);
    case 'alarms':
      return alarms(view);
    case 'warnings':
      return warnings(view);
    case 'health':
      return health(view);
    case 'agency':
      return agency(view, topic.code);
  }
}

function number({ language }: View, value: number | bigint, bad = false): Cell {
  return { text: whole(value, language), count: true, bad: bad && value > 0 };
}

/** A number that leads to what it counts, where that is anything. */
function counted(cell: Cell, title: string, filter: HappeningFilter): Cell {
  return cell.text === '0' ? cell : { ...cell, leads: { title, counted: filter } };
}

function minutes(view: View): Sheet {
  const { board, text } = view;
  const rows = [...board.bars].reverse().filter((bar) => bar.payments + bar.bills + bar.topUps + bar.refused + bar.reports > 0);
  return {
    title: text.lastHour,
    note: text.minutesNote,
    head: [text.columnMinute, text.payments, text.billsAndFees, text.topUps, text.refused, text.columnReports],
    rows: rows.map((bar) => {
      const time = hourMinute(bar.minute, board.zone);
      const of = (cell: Cell, name: string, kinds: readonly string[], outcome: string): Cell =>
        counted(cell, `${name} · ${time}`, { kind: kinds.join(), outcome, minute: new Date(bar.minute).toISOString() });
      return [
        say(time),
        of(number(view, bar.payments), text.payments, ['payment'], 'completed'),
        of(number(view, bar.bills), text.billsAndFees, BILLS, 'completed'),
        of(number(view, bar.topUps), text.topUps, ['top-up'], 'completed'),
        of(number(view, bar.refused, true), text.refused, ATTEMPTED, 'rejected,failed'),
        of(number(view, bar.reports), text.submittedListed, ['report'], 'submitted'),
      ];
    }),
  };
}

/** Everything that moves money or tries to, by kind and how it ended; what the headline sums up; and why payments were refused. */
function money(view: View): Sheet {
  const { board, text, language } = view;
  const rows = MOVEMENTS.flatMap((kind) => board.tallies.filter((tally) => tally.kind === kind));
  const completed = rows.filter((tally) => tally.outcome === 'completed').reduce((sum, tally) => sum + tally.count, 0);
  const refused = board.tallies.filter((tally) => tally.kind === 'refusal').sort((a, b) => b.count - a.count);
  const amount = (value: bigint): Cell => ({ text: `${whole(value, language)} ₫`, count: true });
  const today = (cell: Cell, title: string, kind: string, outcome: string): Cell =>
    counted(cell, title, { kind, outcome, day: board.day });
  return {
    title: text.moneyMoved,
    note: text.moneyNote,
    head: [text.columnKind, text.columnOutcome, text.columnCount, text.columnAmount],
    rows: [
      ...rows.map((tally) => {
        const [kind, outcome] = [text.kinds[tally.kind] ?? tally.kind, text.outcomes[tally.outcome] ?? tally.outcome];
        const count = number(view, tally.count, tally.outcome !== 'completed');
        return [say(kind), say(outcome), today(count, `${kind} · ${outcome}`, tally.kind, tally.outcome), amount(BigInt(tally.amount.amount))];
      }),
      [
        say(text.moneyInAll),
        say(text.outcomes['completed'] ?? ''),
        today(number(view, completed), text.moneyInAll, MOVEMENTS.join(), 'completed'),
        amount(board.moved),
      ],
      ...refused.map((tally) => {
        const reason = text.reasons[tally.outcome] ?? tally.outcome;
        const count = number(view, tally.count, true);
        return [say(text.refusals), say(reason), today(count, reason, 'refusal', tally.outcome), amount(BigInt(tally.amount.amount))];
      }),
    ],
  };
}

function satisfaction(view: View): Sheet {
  const { board, places, text, language } = view;
  const rows = [...board.reports.happened('rating', 'totals')];
  rows.sort((a, b) => a.agency.localeCompare(b.agency) || a.outcome.localeCompare(b.outcome));
  return {
    title: text.satisfaction,
    note: text.satisfactionListNote,
    head: [text.columnAgency, text.columnRating, text.columnCount],
    rows: rows.map((row) => [
      say(places.name(row.agency, language)),
      leading(text.ratings[row.outcome] ?? row.outcome, { happened: 'rating', outcome: row.outcome, lead_agency: row.agency }),
      number(view, row.count, row.outcome === 'dissatisfied'),
    ]),
  };
}

function messages(view: View): Sheet {
  const { board, text } = view;
  const row = (name: string, kind: string): Cell[] => [
    say(name),
    ...OUTCOMES.map((outcome) =>
      counted(number(view, board.happened(kind, outcome), outcome === 'failed'), `${name} · ${text.outcomes[outcome] ?? outcome}`, {
        kind,
        outcome,
        day: board.day,
      }),
    ),
  ];
  return {
    title: text.messagesToday,
    note: text.messagesNote,
    head: [text.columnLane, ...OUTCOMES.map((outcome) => text.outcomes[outcome] ?? outcome)],
    rows: [
      ...LANES.map((lane) => row(text.lanes[lane], `lane-${lane}`)),
      ...(['in-app', 'push', 'sms'] as const).map((channel) => row(text.channels[channel], `message-${channel}`)),
    ],
  };
}

/** Registrations, codes and sessions of the day; never whose. */
function people(view: View): Sheet {
  const { board, text } = view;
  return {
    title: text.peopleToday,
    note: text.peopleNote,
    head: [text.columnKind, text.columnOutcome, text.columnCount],
    rows: PEOPLE.map(([kind, outcome]) => {
      const [what, how] = [text.kinds[kind] ?? kind, text.outcomes[outcome] ?? outcome];
      const count = number(view, board.happened(kind, outcome));
      return [say(what), say(how), counted(count, `${what} · ${how}`, { kind, outcome, day: board.day })];
    }),
  };
}

function alarms(view: View): Sheet {
  const { board, text, language } = view;
  const metres = new Intl.NumberFormat(language === 'vi' ? 'vi-VN' : 'en-GB', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return {
    title: text.alarms,
    note: text.alarmsNote,
    head: [text.columnStation, text.columnLevel, text.columnReading, text.columnMeasured, text.columnState],
    rows: board.watch.alarms.map((alarm) => [
      { text: `${alarm.station_name} (${alarm.river[language]})${alarm.exercise ? ` · ${text.exercise}` : ''}`, href: `/ioc/v1/alarms/${alarm.id}` },
      { text: String(alarm.level), count: true, bad: alarm.level > 2 },
      { text: `${metres.format(alarm.value_m)} m`, count: true },
      say(moment(view, alarm.measured_at)),
      { text: text.alarmStates[alarm.state] ?? alarm.state, bad: alarm.state === 'raised' },
    ]),
  };
}

/** Each warning in force, and below it how many of each of its wards have it. */
function warnings(view: View): Sheet {
  const { board, places, text, language } = view;
  const share = (reached: number, recipients: number): Cell => ({
    text: recipients > 0 ? `${percent(reached, recipients, language)} %` : '–',
    count: true,
  });
  return {
    title: text.warnings,
    note: text.warningsNote,
    head: [text.columnWarning, text.columnUntil, text.columnRecipients, text.columnReached, text.columnShare],
    rows: board.watch.inForce(board.now).flatMap((warning) => [
      [
        { text: `${warning.headline[language]}${warning.exercise ? ` · ${text.exercise}` : ''}`, href: `/cap/v1/alerts/${warning.identifier}.xml` },
        say(moment(view, warning.expires_at)),
        number(view, warning.recipients),
        number(view, warning.reached),
        share(warning.reached, warning.recipients),
      ],
      ...[...warning.wards].sort((a, b) => b.recipients - a.recipients).map((ward) => [
        say(`– ${places.name(ward.ward, language)}`),
        say(''),
        number(view, ward.recipients),
        number(view, ward.reached),
        share(ward.reached, ward.recipients),
      ]),
    ]),
  };
}

/** How every role of every process is, and below how far the figures trail what they are counted from. */
function health({ board, text }: View): Sheet {
  const behind = (seconds: number): Cell => ({ text: text.seconds(seconds), bad: seconds > BEHIND_AFTER_S });
  const sources = [{ stream: text.roleBooks, behind_seconds: board.books?.behind_seconds ?? 0 }, ...board.streams];
  return {
    title: text.rolesTitle,
    note: text.healthNote(board.books?.position ?? 0),
    head: [text.columnRole, text.columnInstance, text.columnState, text.columnDetail],
    rows: [
      ...board.roles.map((role) => [
        { text: role.service, href: `/${role.service}/readyz` },
        say(role.instance),
        { text: role.ready ? text.ready : role.up ? text.notReady : text.down, bad: !role.ready },
        say(role.detail ?? ''),
      ]),
      ...sources.map((source) => [say(text.figuresOf(source.stream)), say(''), behind(source.behind_seconds), say(text.behindNote)]),
    ],
  };
}

function agency(view: View, code: string): Sheet {
  const { board, places, text, language } = view;
  const row = board.reports.agencies.find((known) => known.agency === code);
  const results = board.reports.happened('result', 'totals').filter((result) => result.agency === code);
  const ratings = board.reports.happened('rating', 'totals').filter((rating) => rating.agency === code);
  const late = board.reports.happened('breach', 'today').filter((breach) => breach.agency === code);
  const sum = (rows: readonly { count: number }[]): number => rows.reduce((total, one) => total + one.count, 0);
  return {
    title: places.name(code, language),
    note: text.queueNote,
    head: [text.columnWhat, text.columnCount],
    rows: [
      [leading(text.columnOpen, { lead_agency: code }), number(view, row?.open ?? 0)],
      [leading(text.columnOverdue, { lead_agency: code, overdue: true }), number(view, row?.overdue ?? 0, true)],
      [leading(text.breachesListed, { happened: 'breach', day: board.day, lead_agency: code }), number(view, sum(late), true)],
      ...results.map((result) => [
        leading(text.results[result.outcome] ?? result.outcome, { happened: 'result', outcome: result.outcome, lead_agency: code }),
        number(view, result.count, result.outcome === 'late'),
      ]),
      ...ratings.map((rating) => [
        leading(text.ratings[rating.outcome] ?? rating.outcome, { happened: 'rating', outcome: rating.outcome, lead_agency: code }),
        number(view, rating.count),
      ]),
    ],
  };
}

function moment({ board }: View, at: string): string {
  const day = new Intl.DateTimeFormat('en-GB', { timeZone: board.zone, day: '2-digit', month: '2-digit' });
  return `${day.format(Date.parse(at))} ${hourMinute(Date.parse(at), board.zone)}`;
}
