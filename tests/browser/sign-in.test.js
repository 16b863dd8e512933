// How an operator gets to the wall: through the hosted pages of the OpenID provider, as a person does.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { isAccessible } from './accessible.js';
import { openBrowser, openPage, picture } from './browser.js';
import { City, newPhone } from './city.js';
import { WORDS, makeOperator, typeNumberAndCode } from './operator.js';

let city;
let browser;
before(async () => {
  city = await City.open();
});
after(() => browser?.close());

/** A page of a browser that nobody has used. */
async function anew(options) {
  await browser?.close();
  browser = await openBrowser(options);
  return openPage(browser, city.url);
}

const path = (page) => new URL(page.url()).pathname;

test('an operator signs in by phone, is let in once they hold a role, and signs out', async () => {
  for (const language of ['en', 'vi']) {
    const words = WORDS[language];
    const page = await anew();
    const phone = newPhone();
    await page.goto(`${city.url}/ioc?lang=${language}`);
    await page.locator('[data-gate="signed-out"]').waitFor();
    assert.equal(await page.locator('[data-figure]').count(), 0, 'no figure is shown');
    await picture(page, `gate-${language}`);
    await page.getByRole('link', { name: words.signIn, exact: true }).click();
    await isAccessible(page, language);
    const number = page.getByLabel(words.phone);
    assert.ok(await number.evaluate((input) => input === document.activeElement), 'the number has the focus');

    await number.fill('123');
    await page.getByRole('button', { name: words.send }).click();
    await page.getByRole('alert').waitFor();
    assert.equal(await number.getAttribute('aria-invalid'), 'true');
    assert.match(await number.getAttribute('aria-describedby'), /fault/);
    await isAccessible(page, language);

    await number.fill(phone);
    await page.getByRole('button', { name: words.send }).click();
    const code = page.getByLabel(words.code);
    assert.ok(await code.evaluate((input) => input === document.activeElement), 'the code has the focus');
    await isAccessible(page, language);
    await code.fill(await city.codeFor(phone));
    await page.getByRole('button', { name: words.enter, exact: true }).click();

    // Without a role: a page that says so and stays.
    await page.getByRole('alert').waitFor();
    assert.equal(path(page), '/ioc/callback');
    await isAccessible(page, language);
    await picture(page, `no-role-${language}`);
    await page.goto(`${city.url}/ioc?lang=${language}`);
    await page.locator('[data-gate="no-role"]').waitFor();
    await makeOperator(page, city);
    await page.getByRole('link', { name: words.again }).click();
    await page.locator('[data-badge="live"]').waitFor();
    assert.equal(path(page), '/ioc');

    // Nothing that scripts could read, and no token in any address.
    const kept = await page.evaluate(() => document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage));
    assert.doesNotMatch(kept, /trangtien-|ey[JK]/);
    const cookie = (await page.context().cookies()).find(({ name }) => name === 'trangtien-wall');
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, 'Lax']);

    await page.getByRole('button', { name: words.signOut }).click();
    // The way out forgets which language this page was opened in.
    await page.locator('[data-gate="signed-out"] a').click();
    await page.locator('input[type="tel"]').waitFor();
  }
});

test('by keyboard alone', async () => {
  const page = await anew();
  const phone = newPhone();
  const keys = page.keyboard;
  await page.goto(`${city.url}/ioc?lang=en`);
  await page.locator('[data-gate="signed-out"]').waitFor();
  const link = page.getByRole('link', { name: WORDS.en.signIn, exact: true });
  const hasFocus = (locator) => locator.evaluate((element) => element === document.activeElement);
  for (let tabs = 0; tabs < 12 && !(await hasFocus(link)); tabs += 1) await keys.press('Tab');
  assert.ok(await hasFocus(link), 'the link is reached');
  await keys.press('Enter');
  await page.getByLabel(WORDS.en.phone).waitFor();
  await keys.type(phone);
  await keys.press('Enter');
  await page.getByLabel(WORDS.en.code).waitFor();
  await keys.type(await city.codeFor(phone));
  await keys.press('Enter');
  const again = page.getByRole('link', { name: WORDS.en.again });
  await again.waitFor();
  await makeOperator(page, city);
  await keys.press('Tab');
  assert.ok(await hasFocus(again), 'the way on comes first');
  const outline = await again.evaluate((element) => getComputedStyle(element).outlineStyle);
  assert.equal(outline, 'solid', 'the focus is seen');
  await keys.press('Enter');
  await page.locator('[data-badge="live"]').waitFor();
  const leave = page.locator('[data-sign-out]');
  for (let tabs = 0; tabs < 12 && !(await hasFocus(leave)); tabs += 1) await keys.press('Tab');
  await keys.press('Enter');
  await page.locator('[data-gate="signed-out"]').waitFor();
});

test('the sign-in needs no script', async () => {
  const page = await anew({ javaScriptEnabled: false });
  await page.goto(`${city.url}/ioc/sign-in?ui_locales=en`);
  await typeNumberAndCode(page, city, newPhone());
  await page.getByRole('alert').waitFor();
  await makeOperator(page, city);
  await page.getByRole('link', { name: WORDS.en.again }).click();
  await page.waitForURL(`${city.url}/ioc`);
  const cookies = await page.context().cookies();
  assert.ok(cookies.some(({ name }) => name === 'trangtien-wall'));
});

test('what was opened without a session leads to the sign-in and back', async () => {
  const page = await anew();
  await page.goto(`${city.url}/ioc/v1/alarms`);
  assert.equal(path(page), '/oauth2/authorize');
  await typeNumberAndCode(page, city, newPhone(), WORDS.vi);
  await page.getByRole('alert').waitFor();
  await makeOperator(page, city);
  await page.goto(`${city.url}/ioc/v1/alarms`);
  // The session's token is of before the role was given.
  assert.match(await page.locator('body').innerText(), /forbidden/);
  await page.goto(`${city.url}/ioc/sign-in?return_to=/ioc/v1/alarms`);
  assert.equal(path(page), '/ioc/v1/alarms');
  assert.match(await page.locator('body').innerText(), /"items":/);
});
