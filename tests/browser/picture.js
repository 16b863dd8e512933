// Makes docs/images/wall.png: real payments for some minutes, then a picture of the wall.
// `node picture.js [MINUTES]`, against a running city (see City.open); nothing on the picture is invented but the shops' names.
import { openBrowser, openPage } from './browser.js';
import { City } from './city.js';

const SHOPS = [
  'Bún bò Mệ Kéo',
  'Cà phê Vĩ Dạ',
  'Chợ Đông Ba – quầy 42',
  'Nhà sách Thuận Hóa',
  'Bánh khoái Thượng Tứ',
  'Vé tham quan Đại Nội',
  'Chè hẻm Hùng Vương',
  'Nón lá Dạ Lê',
  'Thuyền rồng sông Hương',
];
const CITIZENS = 5;
const PAYMENTS_A_SECOND = 1.4;
const IMAGE = new URL('../../docs/images/wall.png', import.meta.url).pathname;

const minutes = Number(process.argv[2] ?? 3);
const city = await City.open();
const citizens = [];
for (let count = 0; count < CITIZENS; count += 1) {
  const citizen = await city.signIn();
  await citizen.topUp(2_000_000);
  citizens.push(citizen);
}
const tills = [];
for (const name of SHOPS) tills.push(await citizens[0].openTill(name));

/** What a citizen may not do is part of a city's day; anything else ends the script. */
function refused(fault) {
  if (!/: (403|422) /.test(fault.message)) throw fault;
}

const pick = (list) => list[Math.floor(Math.random() * list.length)];
const began = Date.now();
const end = began + minutes * 60_000;
while (Date.now() < end) {
  const citizen = pick(citizens.slice(1));
  const chance = Math.random();
  if (chance < 0.06) {
    await citizen.topUp(pick([100_000, 200_000, 500_000]));
  } else {
    // One in a hundred is more than a new wallet may pay at once, and is refused.
    const amount = chance > 0.99 ? 6_000_000 : 12_000 + 1_000 * Math.floor(Math.random() ** 3 * 90);
    await citizen.pay(pick(tills), amount).catch(refused);
  }
  const wave = 1 + 0.45 * Math.sin((Date.now() - began) / 170_000) + 0.2 * Math.sin((Date.now() - began) / 47_000);
  await new Promise((resume) => setTimeout(resume, (1000 / PAYMENTS_A_SECOND / wave) * 2 * Math.random()));
}

const browser = await openBrowser();
const page = await openPage(browser, city.url);
await page.goto(`${city.url}/ioc?lang=en&theme=dark`);
await page.locator('[data-badge="live"]').waitFor();
await page.locator('[data-role="books"][data-state="ready"]').waitFor();
for (const till of tills.slice(0, 3)) await citizens[1].pay(till, 35_000).catch(refused);
await page.waitForFunction(() => document.querySelectorAll('[data-list="payments"] li').length > 3);
await page.screenshot({ path: IMAGE });
await browser.close();
