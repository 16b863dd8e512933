// Debian's Chromium with an empty profile, and pages that keep what went wrong in them.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const OUTPUT = new URL('./output/', import.meta.url).pathname;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A browser that nobody has used; `options` are Playwright's. */
export async function openBrowser(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'trangtien-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
    locale: 'vi-VN',
    timezoneId: 'UTC',
    ...options,
  });
  return {
    context,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** A new page of `width` × `height`; `page.faults` gathers errors of the page and requests to anywhere else than `origin`. */
export async function openPage({ context }, origin, { width = 1920, height = 1080 } = {}) {
  const page = await context.newPage();
  await page.setViewportSize({ width, height });
  page.faults = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.faults.push(message.text());
  });
  page.on('pageerror', (error) => page.faults.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) page.faults.push(`asked ${request.url()}`);
  });
  return page;
}

export async function picture(page, name, options = {}) {
  await mkdir(OUTPUT, { recursive: true });
  await page.screenshot({ path: join(OUTPUT, `${name}.png`), ...options });
}

/** The exact value of a figure on the wall. */
export async function figure(page, name) {
  return page.locator(`[data-figure="${name}"]`).getAttribute('data-value');
}
