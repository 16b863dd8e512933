// Makes docs/images/wall.png from a running city: start one by `trangtien up --traffic 2`, give it some minutes, then `npm run picture`.
import { openBrowser, openPage } from './browser.js';
import { City } from './city.js';
import { enterAsOperator } from './operator.js';

const IMAGE = new URL('../../docs/images/wall.png', import.meta.url).pathname;

const city = await City.open();
const browser = await openBrowser();
try {
  const page = await openPage(browser, city.url, { width: 1600, height: 900 });
  await enterAsOperator(page, city);
  // Figures that still glide to their value would not add up.
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await page.goto(`${city.url}/ioc?lang=en&theme=dark`);
  await page.locator('[data-badge="live"]').waitFor();
  await page.locator('[data-role="books"][data-state="ready"]').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('[data-list="payments"] li').length > 3);
  await page.locator('canvas:not([data-map="0"])').waitFor();
  await page.screenshot({ path: IMAGE });
} finally {
  await browser.close();
}
