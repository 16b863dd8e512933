// Makes docs/images/wall.png, with the alarms of an exercise at two rivers, and wall-light.png, in Vietnamese, from a running city:
// start one by `trangtien up --traffic 2`, give it some minutes, then `npm run picture`.
import { openBrowser, openPage } from './browser.js';
import { City, until } from './city.js';
import { enterAsOperator } from './operator.js';

const image = (name) => new URL(`../../docs/images/${name}.png`, import.meta.url).pathname;

/** The wall, once all that it shows is there. */
async function open(page, how) {
  await page.goto(`${city.url}/ioc?${how}`);
  await page.locator('[data-badge="live"]').waitFor();
  await page.locator('[data-role="books"][data-state="ready"]').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('[data-list="payments"] li').length > 3);
  await page.locator('canvas:not([data-map="0"])').waitFor();
}

const city = await City.open();
const browser = await openBrowser();
try {
  const page = await openPage(browser, city.url, { width: 1600, height: 900 });
  await enterAsOperator(page, city);
  // Figures that still glide to their value would not add up.
  await page.emulateMedia({ reducedMotion: 'reduce' });
  const rivers = ['kim-long', 'phu-oc'];
  const gauges = await Promise.all(rivers.map((station) => city.gauge(station)));
  for (const send of gauges) {
    for (const [time, level] of [['2025-10-27T00:00:00Z', 3.62], ['2025-10-27T01:00:00Z', 4.05]]) await send(time, level);
  }
  await open(page, 'lang=en&theme=dark');
  for (const station of rivers) await page.locator(`[data-alarm="${station}"]`).first().waitFor();
  await page.screenshot({ path: image('wall') });

  for (const send of gauges) await send('2025-10-27T06:00:00Z', 0.4);
  await open(page, 'lang=vi&theme=light');
  await until('the alarms go', async () => (await page.locator('[data-alarm]').count()) === 0);
  await page.screenshot({ path: image('wall-light') });
} finally {
  await browser.close();
}
