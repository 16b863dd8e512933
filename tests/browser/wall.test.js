// The wall: it moves when a payment is made, and says so when it can't.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { figure, openBrowser, openPage, picture } from './browser.js';
import { City, until } from './city.js';
import { openLine } from './line.js';
import { enterAsOperator } from './operator.js';

let browser;
let city;
let citizen;
let till;
let operator;
before(async () => {
  city = await City.open();
  browser = await openBrowser();
  const page = await openPage(browser, city.url);
  await enterAsOperator(page, city);
  await page.close();
  operator = await city.signIn();
  await city.grantRole((await operator.get('/identity/v1/me')).id, 'ioc.lead');
  await operator.renew();
  citizen = await city.signIn();
  await citizen.topUp(500_000);
  till = await citizen.openTill('Bún bò Mệ Kéo');
});
after(() => browser?.close());

/** The colour that most of a canvas's opaque pixels have, and that of its text; `null` while it is blank. */
function commonColour(canvas) {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] < 255) continue;
    const colour = `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`;
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const [most] = [...counts].sort((one, other) => other[1] - one[1]);
  return most ? [most[0], getComputedStyle(canvas).color] : null;
}

/** What the headline sums up: every kind of movement that the books have. */
const MOVED = { payment: 1, bill: 1, fee: 1, 'top-up': 1, refund: 1, payout: 1 };

async function openWall(origin, query = '') {
  const page = await openPage(browser, origin);
  await page.goto(`${origin}/ioc${query}`);
  await page.locator('[data-badge="live"]').waitFor();
  return page;
}

/** Opens what a number leads to and finds a report there, or finds that it is not there; then closes the list. */
async function isListed(page, number, report) {
  await number.press('Enter');
  const list = page.getByRole('dialog');
  const [found, more] = [list.locator(`[data-list="queue"] [data-report="${report.id}"]`), list.locator('[data-more]:enabled')];
  await list.locator('[data-list="queue"] li, [data-empty]').first().waitFor();
  while ((await found.count()) === 0 && (await list.locator('[data-more]').count()) > 0) {
    const shown = await list.locator('[data-report]').count();
    await more.click();
    await until('more are listed', async () => (await list.locator('[data-report]').count()) > shown);
  }
  const is = (await found.count()) > 0;
  await list.getByRole('button', { name: 'Close' }).click();
  assert.equal(await page.getByRole('dialog').count(), 0);
  return is;
}

test('a payment shows within seconds: rate, money, list; and the books agree', async () => {
  const page = await openWall(city.url, '?lang=en&theme=dark');
  const before = BigInt(await figure(page, 'money-moved'));
  const rows = page.locator('[data-list="payments"] li');
  await citizen.pay(till, 12_345);
  await until('the money moves', async () => BigInt(await figure(page, 'money-moved')) === before + 12_345n);
  assert.ok(Number(await figure(page, 'per-minute')) >= 1);
  assert.match(await rows.first().innerText(), /Bún bò Mệ Kéo/);
  assert.match(await rows.first().innerText(), /12,345/);
  const [good, all] = (await figure(page, 'success-rate')).split('/').map(Number);
  assert.ok(good >= 2 && all >= good);
  await page.locator('[data-role="books"][data-state="ready"]').waitFor();
  const overview = await operator.get('/ioc/v1/overview');
  const moved = overview.today
    .filter((tally) => tally.outcome === 'completed' && tally.kind in MOVED)
    .reduce((sum, tally) => sum + BigInt(tally.amount.amount), 0n);
  assert.equal(BigInt(await figure(page, 'money-moved')), moved);
  await picture(page, 'wall-dark');
  assert.deepEqual(page.faults, []);
});

test('a refused payment lowers the success rate and moves no money', async () => {
  const page = await openWall(city.url);
  const [good, all] = (await figure(page, 'success-rate')).split('/').map(Number);
  const money = await figure(page, 'money-moved');
  await assert.rejects(citizen.pay(till, 4_000_000), /422/);
  await until('the attempt counts', async () => (await figure(page, 'success-rate')) === `${good}/${all + 1}`);
  assert.equal(await figure(page, 'money-moved'), money);
  assert.deepEqual(page.faults, []);
});

test('a report shows within seconds: open, received, today, on the map and in its ward; and its numbers lead to it', async () => {
  const page = await openWall(city.url, '?lang=en&theme=dark');
  await page.locator('canvas[data-map="40"]').waitFor();
  const names = ['open-reports', 'reports-received', 'submitted-today'];
  const figures = async () => Promise.all(names.map(async (name) => Number(await figure(page, name))));
  const ward = page.locator('[data-ward="19753"]');
  const inWard = async () => ((await ward.count()) ? Number(await ward.getAttribute('data-open')) : 0);
  const [before, wardBefore] = [await figures(), await inWard()];
  const report = await citizen.report('TT', { lat: 16.479631, lon: 107.574292 });
  await until('the figures move', async () => (await figures()).every((value, index) => value > before[index]));
  await until('the ward has one more', async () => (await inWard()) > wardBefore);
  for (const reducedMotion of ['no-preference', 'reduce']) {
    await page.emulateMedia({ reducedMotion });
    await page.reload();
    await page.locator('[data-badge="live"]').waitFor();
    await page.locator('canvas[data-map="40"]').waitFor();
    const [drawn, ink] = await until('the map is drawn', () => page.locator('canvas').evaluate(commonColour));
    assert.notEqual(drawn, ink, `wards have a colour of their own (motion: ${reducedMotion})`);
  }
  await until('the wall shows what the overview says', async () => {
    const { reports } = await operator.get('/ioc/v1/overview');
    const open = reports.wards.reduce((sum, row) => sum + row.open, 0);
    return Number(await figure(page, 'open-reports')) === open;
  });
  await picture(page, 'wall-reports');

  for (const number of ['button[data-state="received"]', '[data-ask="open"]', '[data-ask="submitted"]', '[data-ward="19753"] button']) {
    // What nobody has verified yet is in no public list.
    assert.ok(await isListed(page, page.locator(number), report), `${number} leads to the report that it counts`);
  }
  for (const number of ['button[data-state="verifying"]', '[data-ask="overdue"]', '[data-ask="breaches"]']) {
    assert.ok(!(await isListed(page, page.locator(number), report)), `${number} does not count it`);
  }
  await page.getByRole('button', { name: 'Tiếng Việt' }).click();
  assert.match(await page.locator('body').innerText(), /Mới nhận/);
  assert.deepEqual(page.faults, []);
});

test('a river above alarm 3 stands on the wall until it falls, and leads to the list of alarms', async () => {
  const page = await openWall(city.url, '?lang=en&theme=dark');
  const send = await city.gauge('kim-long');
  // In one look: the strip may go between two.
  const open = () => page.evaluate(() => Number(document.querySelector('[data-figure="alarms"]')?.dataset.value ?? 0));
  const news = () => page.locator('[data-news] p').allInnerTexts();
  const before = await open();
  assert.equal(await page.locator('[data-news]').getAttribute('role'), 'alert');
  assert.deepEqual(await news(), [], 'what stands there at first is read, not announced');
  await send('2025-10-27T00:00:00Z', 3.58);
  await until('the alarm shows', async () => (await open()) === before + 1);
  const one = page.locator('[data-alarm="kim-long"][data-level="3"]').first();
  assert.match(await one.innerText(), /Alarm 3\s+Kim Long\s+3\.58 m/);
  assert.deepEqual(await news(), ['Alarm 3: Kim Long, 3.58 m, exercise']);
  await send('2025-10-27T01:00:00Z', 3.71);
  await until('the new reading shows', async () => /3\.71 m/.test(await one.innerText()));
  assert.deepEqual(await news(), ['Alarm 3: Kim Long, 3.58 m, exercise'], 'a reading at the same level is no news');
  await picture(page, 'wall-alarm');
  await page.locator('button[data-figure="alarms"]').click();
  const list = page.getByRole('dialog', { name: 'Alarms' });
  assert.match(await list.locator('[data-list="alarms"]').innerText(), /Kim Long \(Huong \(Perfume\) River\) · exercise/);
  await picture(page, 'wall-alarm-list');
  await list.getByRole('button', { name: 'Close' }).click();
  const [high, wide] = await page.evaluate(() => [document.documentElement.scrollHeight, document.documentElement.scrollWidth]);
  assert.ok(high <= 1080 && wide <= 1920, `${wide} × ${high}`);
  await send('2025-10-27T06:00:00Z', 0.4);
  await until('the alarm goes', async () => (await open()) === before);
  assert.deepEqual(page.faults, []);
  // A browser has six lines to a city, and each open wall holds one.
  await page.close();
});

test('an agency leads to the officers’ queue, by the operator’s cookie', async () => {
  const page = await openWall(city.url, '?lang=en&theme=dark');
  const report = await citizen.report('TT', { lat: 16.479631, lon: 107.574292 });
  const queue = await until('the centre has it', async () => {
    const { items } = await operator.get('/reports/v1/queue?limit=200');
    return items.find(({ id }) => id === report.id);
  });
  await operator.post(`/reports/v1/reports/${report.id}/transitions`, { action: 'claim', version: queue.version });
  const shown = await operator.get(`/reports/v1/reports/${report.id}`);
  const distribution = { action: 'distribute', version: shown.version, lead_agency: 'HEPCO' };
  await operator.post(`/reports/v1/reports/${report.id}/transitions`, distribution);
  await page.locator('[data-agency="HEPCO"] button').click();
  await page.getByRole('dialog').locator('[data-queue="HEPCO"]').first().click();
  await page.getByRole('dialog').locator('ol[data-list="queue"] li').first().waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
  assert.ok(await isListed(page, page.locator('button[data-state="distributed"]'), report));
  assert.ok(!(await isListed(page, page.locator('button[data-state="received"]'), report)), 'it has moved on');
  assert.deepEqual(page.faults, []);
  await page.close();
});

test('every number leads to what it is made of, in both languages, dark and light', async () => {
  for (const [language, theme, close] of [
    ['en', 'dark', 'Close'],
    ['vi', 'light', 'Đóng'],
  ]) {
    const page = await openWall(city.url, `?lang=${language}&theme=${theme}`);
    await until('messages are counted by lane', async () => Number(await figure(page, 'lane-payment')) > 0);
    const asked = page.locator('[data-ask], [data-lane="payment"], .health button');
    const count = await asked.count();
    assert.ok(count >= 13, `${count} numbers lead somewhere`);
    for (let index = 0; index < count; index += 1) {
      await asked.nth(index).click();
      const dialog = page.getByRole('dialog');
      await dialog.locator('[data-list], [data-empty]').waitFor();
      await dialog.getByRole('button', { name: close }).click();
      assert.equal(await page.getByRole('dialog').count(), 0);
    }
    await page.locator('[data-ask="money"]').click();
    const rows = await page.getByRole('dialog').locator('tbody tr').allInnerTexts();
    assert.ok(rows.length >= 2, `payments and top-ups: ${rows}`);
    await picture(page, `wall-list-${theme}`);
    assert.deepEqual(page.faults, []);
    await page.close();
  }
});

/** Reads a list behind a number to its end; how many rows it has, and how many things they tell of. */
async function readHappenings(dialog) {
  const rows = dialog.locator('ol[data-list="happenings"] li');
  await rows.first().waitFor();
  while ((await dialog.locator('[data-more]').count()) > 0) {
    const shown = await rows.count();
    await dialog.locator('[data-more]:enabled').click();
    await until('more are listed', async () => (await rows.count()) > shown);
  }
  const counts = await rows.evaluateAll((items) => items.map((item) => Number(item.dataset.count)));
  return { rows: counts.length, things: counts.reduce((sum, count) => sum + count, 0) };
}

test('a number leads to as many payments, messages, codes, sessions and registrations as it says', async () => {
  await citizen.report('TT', { lat: 16.479631, lon: 107.574292 });
  const page = await openWall(city.url, '?lang=en&theme=dark');
  for (const [opens, number] of [
    ['[data-ask="money"]', 'payment completed'],
    ['[data-ask="money"]', 'refusal insufficient-funds'],
    ['[data-lane="payment"]', 'lane-payment delivered'],
    ['[data-ask="people"]', 'citizen registered'],
    ['[data-ask="people"]', 'otp requested'],
    ['[data-ask="people"]', 'session started'],
    ['[data-ask="minutes"]', 'report submitted'],
  ]) {
    // Messages of what others did may still be on their way.
    await until(`the list of ${number} is as long as it says`, async () => {
      await page.locator(opens).first().click();
      const button = page.getByRole('dialog').locator(`[data-queue^="${number}"]`).first();
      const says = Number((await button.innerText()).replaceAll(',', ''));
      await button.click();
      const list = page.getByRole('dialog');
      const { rows, things } = await readHappenings(list);
      assert.doesNotMatch(await list.innerText(), /\+84|\b09\d{8}\b/, 'nobody is named');
      if (!number.startsWith('lane-')) assert.equal(rows, things, 'a row for each');
      if (/^(citizen|otp|session)/.test(number)) {
        const references = await list.locator('.reference').allInnerTexts();
        assert.ok(references.every((text) => text === ''), 'nothing leads to whose it is');
      }
      assert.equal(await list.locator('[data-missing]').count(), 0, 'the list is whole');
      await picture(page, `wall-happenings-${number.split(' ')[0]}`);
      await list.getByRole('button', { name: 'Close' }).click();
      return things === says;
    });
  }
  assert.deepEqual(page.faults, []);
  await page.close();
});

test('a list says how many were counted before it was kept, in both languages', async () => {
  await city.sql("UPDATE ioc.day_tally SET listed = listed - 1 WHERE kind = 'session' AND outcome = 'started'");
  try {
    for (const [language, says, close] of [
      ['en', /^The list begins at \d\d\/\d\d, [\d:]+; \d+ that were counted before are not in it\.$/, 'Close'],
      ['vi', /^Danh sách bắt đầu từ \d\d\/\d\d, [\d:]+; thiếu \d+ mục đã đếm trước đó\.$/, 'Đóng'],
    ]) {
      const page = await openWall(city.url, `?lang=${language}&theme=dark`);
      await page.locator('[data-ask="people"]').click();
      await page.getByRole('dialog').locator('[data-queue^="session started"]').click();
      const list = page.getByRole('dialog');
      await list.locator('[data-list="happenings"]').waitFor();
      assert.match(await list.locator('[data-missing]').innerText(), says);
      await list.getByRole('button', { name: close }).click();
      assert.deepEqual(page.faults, []);
      await page.close();
    }
  } finally {
    await city.sql("UPDATE ioc.day_tally SET listed = listed + 1 WHERE kind = 'session' AND outcome = 'started'");
  }
});

/** Has a warning released for a ward: one officer drafts it, another releases it. */
async function release(headline, ward) {
  const drafter = await city.signIn();
  await city.grantRole((await drafter.get('/identity/v1/me')).id, 'ioc.operator');
  await drafter.renew();
  const both = { vi: headline, en: headline };
  const content = {
    status: 'exercise', category: 'met', severity: 'severe', urgency: 'immediate', certainty: 'observed', response: 'prepare',
    event: both, headline: both, description: both, instruction: both, wards: [ward],
  };
  const draft = await drafter.post('/notifications/v1/alerts', { content, expires_at: new Date(Date.now() + 3_600_000).toISOString() });
  await assert.rejects(drafter.post(`/notifications/v1/alerts/${draft.id}/release`, { revision: draft.revision }), /40[39]/, 'not alone');
  return operator.post(`/notifications/v1/alerts/${draft.id}/release`, { revision: draft.revision });
}

test('a released warning stands on the wall with its reach by ward, which moves as phones confirm it', async () => {
  const [headline, ward] = [`River rises ${Date.now()}`, '19774'];
  const people = await Promise.all([city.signIn(), city.signIn()]);
  for (const person of people) {
    await person.put('/notifications/v1/wards', { codes: [ward] });
    await person.post('/notifications/v1/devices', { token: `wall-${Math.random()}`, platform: 'fcm', name: 'Browser test' });
  }
  const page = await openWall(city.url, '?lang=en&theme=dark');
  const warning = await release(headline, ward);
  await page.locator('button[data-figure="warnings"]').click();
  const list = page.getByRole('dialog', { name: 'Warnings in force' });
  const row = list.locator('tbody tr', { hasText: headline });
  // Recipients and reached: of the warning, and of its one ward in the row below.
  const cells = async (of) => (await of.locator('td').allInnerTexts()).slice(2, 4).map((text) => Number(text.replaceAll(',', '')));
  const reach = async () => [await cells(row), await cells(row.locator('xpath=following-sibling::tr[1]'))];
  const [all, before] = await until('everybody of the ward is counted in', async () => {
    if ((await row.count()) === 0) return null;
    const [all, inWard] = await reach();
    return all[0] >= people.length && inWard[0] === all[0] && [all[0], all[1]];
  });
  for (const [index, person] of people.entries()) {
    const message = await until('the message', async () => {
      const { items } = await person.get('/notifications/v1/inbox');
      return items.find((item) => JSON.stringify(item).includes(warning.id));
    });
    await person.post(`/notifications/v1/messages/${message.id}/received`, {});
    await until('the wall counts the phone', async () => {
      const [whole, inWard] = await reach();
      return whole[1] === before + index + 1 && inWard[1] === whole[1];
    });
  }
  await picture(page, 'wall-warning-list');
  await list.getByRole('button', { name: 'Close' }).click();
  const [reached, recipients] = (await figure(page, 'warning-reach')).split('/').map(Number);
  assert.ok(reached >= before + people.length && recipients >= all, `${reached} of ${recipients}`);
  const both = { vi: 'Kết thúc diễn tập.', en: 'The exercise is over.' };
  await operator.post(`/notifications/v1/alerts/${warning.id}/cancel`, { reason: both });
  await until('it goes', async () => !(await page.evaluate(() => document.querySelector('[data-figure="warnings"]'))));
  assert.deepEqual(page.faults, []);
  await page.close();
});

test('nothing on the wall names the payer, and everything fits one screen', async () => {
  const page = await openWall(city.url, '?lang=vi&theme=light');
  await page.locator('[data-list="payments"] li').first().waitFor();
  const text = await page.locator('body').innerText();
  assert.doesNotMatch(text, /\+84|\b09\d{8}\b|[0-9a-f]{8}-[0-9a-f]{4}/);
  assert.match(text, /Trung tâm điều hành/);
  assert.match(text, /Thành phố Huế/);
  const lines = await page.locator('.hour .legend li').evaluateAll((items) => new Set(items.map((item) => item.offsetTop)).size);
  assert.equal(lines, 1, "the chart's legend stands in one line");
  const [high, wide] = await page.evaluate(() => [document.documentElement.scrollHeight, document.documentElement.scrollWidth]);
  assert.ok(high <= 1080 && wide <= 1920, `${wide} × ${high}`);
  await page.getByRole('button', { name: 'English' }).click();
  assert.match(await page.locator('body').innerText(), /Operations centre/);
  await picture(page, 'wall-light');
  assert.deepEqual(page.faults, []);
});

test('figures that are not counted any more go stale, though the line lives; then they go on', async () => {
  const page = await openWall(city.url, '?lang=en&theme=dark');
  const before = BigInt(await figure(page, 'money-moved'));
  const release = await city.holdTheCount();
  try {
    await citizen.pay(till, 3_000);
    await page.locator('[data-badge="stale"]').waitFor();
    assert.match(await page.locator('[data-badge]').innerText(), /Figures \d+ s behind/);
    assert.equal(BigInt(await figure(page, 'money-moved')), before);
  } finally {
    await release();
  }
  await until('what was missed is counted', async () => BigInt(await figure(page, 'money-moved')) === before + 3_000n);
  await page.locator('[data-badge="live"]').waitFor();
  assert.deepEqual(page.faults, []);
  await page.close();
});

test('a silent line makes the figures stale; the wall resumes with what it missed', async () => {
  const line = await openLine(city.url);
  try {
    const page = await openWall(line.url, '?lang=en&theme=dark');
    const before = BigInt(await figure(page, 'money-moved'));
    line.hold();
    await page.locator('[data-badge="stale"]').waitFor();
    await picture(page, 'wall-stale');
    const connections = line.connections;
    await until('the wall gives the line up and tries another', async () => line.connections > connections);
    assert.equal(await page.locator('[data-badge="stale"]').count(), 1);
    await citizen.pay(till, 7_000);
    assert.equal(BigInt(await figure(page, 'money-moved')), before);
    line.release();
    await page.locator('[data-badge="live"]').waitFor();
    await until('what was missed arrives', async () => BigInt(await figure(page, 'money-moved')) === before + 7_000n);
    const resumed = line.heads.filter((head) => head.includes('/ioc/v1/stream') && /last-event-id: \w+\.\d+/i.test(head));
    assert.ok(resumed.length >= 1, 'the wall says what it has seen');
  } finally {
    line.close();
  }
});
