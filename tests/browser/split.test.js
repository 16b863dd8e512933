// The wall while its role hangs, dies and is started again: the figures go stale, and go on without a reload.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { figure, openBrowser, openPage } from './browser.js';
import { until } from './city.js';
import { enterAsOperator } from './operator.js';
import { OwnCity } from './own-city.js';

let own;
let browser;
before(async () => {
  own = await OwnCity.start();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await own?.stop();
});

test('the ioc role is killed and started again: the badge goes stale, then the numbers go on', async () => {
  const { city } = own;
  const page = await openPage(browser, city.url);
  await enterAsOperator(page, city);
  const citizen = await city.signIn();
  await citizen.topUp(500_000);
  const till = await citizen.openTill('Bún bò Mệ Kéo');
  const money = async () => BigInt((await figure(page, 'money-moved')) ?? -1);
  await page.goto(`${city.url}/ioc?lang=en&theme=dark`);
  await page.locator('[data-badge="live"]').waitFor();
  await citizen.pay(till, 5_000);
  await until('the payment shows', async () => (await money()) === 505_000n);
  await page.evaluate(() => (window.notReloaded = true));

  const pid = await own.pidOf('ioc');
  assert.ok(pid, 'the role has a process of its own');
  process.kill(pid, 'SIGSTOP');
  await page.locator('[data-badge="stale"]').waitFor();
  assert.equal(await money(), 505_000n, 'what was known still stands there');
  await citizen.pay(till, 7_000);
  process.kill(pid, 'SIGKILL');
  await until('another process of the role', async () => ![null, pid].includes(await own.pidOf('ioc')));
  await page.locator('[data-badge="live"]').waitFor();
  await until('what was missed shows', async () => (await money()) === 512_000n);
  await citizen.pay(till, 8_000);
  await until('the numbers go on', async () => (await money()) === 520_000n);
  assert.equal(await page.evaluate(() => window.notReloaded), true, 'the page was never loaded anew');
});
