// Numbers, money and times as each language writes them. Money stays exact: decimal strings and bigint, never a float.
import type { Language } from './language.svelte';

const LOCALE: Record<Language, string> = { vi: 'vi-VN', en: 'en-GB' };
const made = new Map<string, Intl.NumberFormat | Intl.DateTimeFormat>();

function once<T extends Intl.NumberFormat | Intl.DateTimeFormat>(name: string, make: () => T): T {
  const known = made.get(name) as T | undefined;
  if (known) return known;
  const fresh = make();
  made.set(name, fresh);
  return fresh;
}

export function whole(value: number | bigint, language: Language): string {
  return once(`n${language}`, () => new Intl.NumberFormat(LOCALE[language], { maximumFractionDigits: 0 })).format(value);
}

/** One decimal, cut and never rounded up: 99.97 % is not shown as 100 %. */
export function percent(part: number, all: number, language: Language): string {
  const tenths = Math.floor((part * 1000) / all) / 10;
  const digits = tenths === 100 ? 0 : 1;
  return once(
    `p${language}${digits}`,
    () => new Intl.NumberFormat(LOCALE[language], { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  ).format(tenths);
}

export function clock(ms: number, zone: string): string {
  return once(
    `c${zone}`,
    () => new Intl.DateTimeFormat('en-GB', { timeZone: zone, hour: '2-digit', minute: '2-digit', second: '2-digit' }),
  ).format(ms);
}

export function hourMinute(ms: number, zone: string): string {
  return clock(ms, zone).slice(0, 5);
}

export function date(ms: number, zone: string, language: Language): string {
  return once(
    `d${zone}${language}`,
    () =>
      new Intl.DateTimeFormat(LOCALE[language], { timeZone: zone, weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }),
  ).format(ms);
}
