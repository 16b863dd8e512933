// A mini-app of another origin: its citizen sees what it wants, in a browser, allows or refuses it, and signs out again.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { isAccessible } from './accessible.js';
import { openBrowser, openPage, picture } from './browser.js';
import { City, newPhone } from './city.js';
import { WORDS, typeNumberAndCode } from './operator.js';

const SAYS = {
  en: { title: 'Allow access', allow: 'Allow', deny: 'Deny', signOut: 'Sign out', signedOut: 'Signed out' },
  vi: { title: 'Cho phép truy cập', allow: 'Cho phép', deny: 'Từ chối', signOut: 'Đăng xuất', signedOut: 'Đã đăng xuất' },
};

let city;
let browser;
let app;
let client;
before(async () => {
  city = await City.open();
  // Another site than the city's, so that the way back crosses origins.
  app = createServer((request, response) => response.end('<!doctype html><title>App</title><h1>Back in the app</h1>'));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  app.origin = `http://127.0.0.1:${app.address().port}`;
  const admin = await city.signIn();
  await city.grantRole((await admin.get('/identity/v1/me')).id, 'admin');
  await admin.renew();
  client = await admin.post('/identity/v1/clients', {
    name: { vi: 'Vé tham quan', en: 'Tickets' },
    access: 'public',
    grant_types: ['authorization_code'],
    scopes: ['openid', 'phone'],
    redirect_uris: [`${app.origin}/back`],
    post_logout_redirect_uris: [`${app.origin}/left`],
  });
});
after(async () => {
  await browser?.close();
  app?.close();
});

/** A page of a browser that nobody has used; what it asks of the app is no fault. */
async function anew(options) {
  await browser?.close();
  browser = await openBrowser(options);
  const page = await openPage(browser, city.url);
  page.wrong = () => page.faults.filter((fault) => !fault.startsWith(`asked ${app.origin}/`));
  return page;
}

/** Opens the app's way in. */
async function ask(page, language) {
  const verifier = randomBytes(32).toString('base64url');
  const wanted = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: `${app.origin}/back`,
    response_type: 'code',
    scope: 'openid phone',
    state: randomBytes(16).toString('base64url'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ui_locales: language,
  });
  const answer = await page.goto(`${city.url}/oauth2/authorize?${wanted}`);
  assert.match(answer.headers()['content-security-policy'], /default-src 'none'/);
  return { verifier, state: wanted.get('state') };
}

/** What the app is told, on its own page. */
async function back(page, asked) {
  await page.getByRole('heading', { name: 'Back in the app' }).waitFor();
  const url = new URL(page.url());
  assert.equal(url.origin + url.pathname, `${app.origin}/back`);
  assert.deepEqual([url.searchParams.get('state'), url.searchParams.get('iss')], [asked.state, city.url]);
  return url.searchParams;
}

async function redeem(code, verifier) {
  const form = { grant_type: 'authorization_code', client_id: client.client_id, redirect_uri: `${app.origin}/back`, code, code_verifier: verifier };
  const answer = await fetch(`${city.url}/oauth2/token`, { method: 'POST', body: new URLSearchParams(form) });
  return { status: answer.status, tokens: await answer.json() };
}

test('a citizen reads what the app wants, refuses, then allows; and signs out at a question', async () => {
  for (const language of ['en', 'vi']) {
    const says = SAYS[language];
    const page = await anew();
    const phone = newPhone();
    let asked = await ask(page, language);
    await typeNumberAndCode(page, city, phone, WORDS[language]);
    await page.getByRole('heading', { name: says.title }).waitFor();
    await isAccessible(page, language);
    const wants = page.getByRole('list', { name: language === 'en' ? /Tickets/ : /Vé tham quan/ });
    assert.ok((await wants.getByRole('listitem').count()) >= 2, 'each thing that it wants');
    assert.match(await page.getByRole('main').innerText(), /127\.0\.0\.1/, 'where it leads is shown');
    await picture(page, `consent-${language}`);

    await page.getByRole('button', { name: says.deny }).click();
    assert.equal((await back(page, asked)).get('error'), 'access_denied');

    asked = await ask(page, language);
    await page.getByRole('button', { name: says.allow, exact: true }).click();
    const { status, tokens } = await redeem((await back(page, asked)).get('code'), asked.verifier);
    assert.equal(status, 200, JSON.stringify(tokens));
    const told = await fetch(`${city.url}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    assert.equal((await told.json()).phone_number, phone);

    // Nothing says who asks, so the citizen is.
    await page.goto(`${city.url}/oauth2/end-session?ui_locales=${language}`);
    const leave = page.getByRole('button', { name: says.signOut });
    await leave.waitFor();
    await isAccessible(page, language);
    await leave.click();
    await page.getByRole('heading', { name: says.signedOut }).waitFor();
    await ask(page, language);
    await page.getByLabel(WORDS[language].phone).waitFor();
    assert.deepEqual(page.wrong(), []);
  }
});

test('the app signs its citizen out and has them back', async () => {
  const page = await anew();
  const asked = await ask(page, 'en');
  await typeNumberAndCode(page, city, newPhone());
  await page.getByRole('button', { name: 'Allow', exact: true }).click();
  const { tokens } = await redeem((await back(page, asked)).get('code'), asked.verifier);
  const leaving = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: `${app.origin}/left`, state: 'x' });
  await page.goto(`${city.url}/oauth2/end-session?${leaving}`);
  await page.waitForURL(`${app.origin}/left?state=x`);
  await ask(page, 'en');
  await page.getByLabel(WORDS.en.phone).waitFor();
  assert.deepEqual(page.wrong(), []);
});

test('by keyboard alone, without scripts', async () => {
  const page = await anew({ javaScriptEnabled: false });
  const keys = page.keyboard;
  const asked = await ask(page, 'en');
  await page.getByLabel(WORDS.en.phone).waitFor();
  const phone = newPhone();
  await keys.type(phone);
  await keys.press('Enter');
  await page.getByLabel(WORDS.en.code).waitFor();
  await keys.type(await city.codeFor(phone));
  await keys.press('Enter');
  const allow = page.getByRole('button', { name: 'Allow', exact: true });
  await allow.waitFor();
  // Nothing has the focus yet, so that no key allows what nobody has read.
  await keys.press('Tab');
  assert.equal(await page.locator(':focus').innerText(), await allow.innerText(), 'the way on comes first');
  await keys.press('Enter');
  assert.ok((await back(page, asked)).get('code'));
  assert.deepEqual(page.wrong(), []);
});
