// The start page: what runs here, whether it is well, and where to go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { openBrowser, openPage, picture } from './browser.js';
import { City } from './city.js';
import { enterAsOperator } from './operator.js';

let browser;
let city;
before(async () => {
  city = await City.open();
  browser = await openBrowser();
});
after(() => browser?.close());

test('every role shows as ready and every link leads somewhere', async () => {
  const page = await openPage(browser, city.url, { width: 1440, height: 900 });
  await page.goto(`${city.url}/`);
  await page.locator('[data-summary="ready"]').waitFor();
  for (const role of ['identity', 'wallet', 'reports', 'notifications', 'ioc']) {
    assert.equal(await page.locator(`[data-role="${role}"]`).getAttribute('data-state'), 'ready', role);
  }
  const links = await page.locator('nav a').evaluateAll((all) => all.map((link) => link.href));
  assert.equal(links.length, 4);
  for (const link of links) assert.equal((await fetch(link)).status, 200, link);
  await picture(page, 'start', { fullPage: true });
  assert.deepEqual(page.faults, []);
});

test('the page speaks both languages and remembers the choice', async () => {
  const page = await openPage(browser, city.url);
  await page.goto(`${city.url}/`);
  const heading = page.locator('h1');
  await page.getByRole('button', { name: 'Tiếng Việt' }).click();
  assert.match(await heading.innerText(), /thành phố với người dân/);
  assert.equal(await page.locator('html').getAttribute('lang'), 'vi');
  await page.getByRole('button', { name: 'English' }).click();
  assert.match(await heading.innerText(), /a city and its people/);
  await page.reload();
  assert.match(await heading.innerText(), /a city and its people/);
  assert.equal(await page.locator('html').getAttribute('lang'), 'en');
  await page.goto(`${city.url}/?lang=vi`);
  assert.match(await heading.innerText(), /thành phố với người dân/);
  assert.deepEqual(page.faults, []);
});

test('dark and light follow the system until the reader chooses', async () => {
  const page = await openPage(browser, city.url);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto(`${city.url}/?lang=en`);
  const dark = await ground();
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await ground();
  assert.notEqual(dark, light);
  await page.getByRole('button', { name: 'Switch to dark' }).click();
  assert.equal(await ground(), dark);
  await page.reload();
  assert.equal(await ground(), dark);
  await page.evaluate(() => localStorage.clear());
  assert.deepEqual(page.faults, []);
});

for (const path of ['/', '/ioc']) {
  test(`${path} fits a phone`, async () => {
    const page = await openPage(browser, city.url, { width: 390, height: 844 });
    if (path === '/ioc') await enterAsOperator(page, city);
    page.faults.length = 0;
    await page.goto(city.url + path);
    await page.locator('[data-role="wallet"][data-state="ready"]').waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} pixels wide`);
    await picture(page, `phone${path.replace('/', '-')}`, { fullPage: true });
    assert.deepEqual(page.faults, []);
  });
}
