// A passkey in a real browser, with an authenticator that Chromium plays: registered, and proof of one large top-up.
import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';

import { openBrowser, openPage } from './browser.js';
import { City, dong, until } from './city.js';

const AMOUNT = 12_000_000;
const PIN = '502917';

let browser;
let city;
before(async () => {
  city = await City.open();
  browser = await openBrowser();
});
after(() => browser?.close());

/** An authenticator of the page's device that knows its user. */
async function addAuthenticator(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('WebAuthn.enable');
  const options = {
    protocol: 'ctap2',
    transport: 'internal',
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', { options });
  return { verify: (isUserVerified) => session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }) };
}

const create = (page, options) =>
  page.evaluate(async (json) => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(json);
    return (await navigator.credentials.create({ publicKey })).toJSON();
  }, options);

const get = (page, options) =>
  page.evaluate(async (json) => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(json);
    return (await navigator.credentials.get({ publicKey })).toJSON();
  }, options);

/** Asks for a top-up under a key, with a proof or without. */
async function topUp(citizen, key, proof) {
  const headers = { authorization: `Bearer ${citizen.token}`, 'content-type': 'application/json', 'idempotency-key': key };
  if (proof) headers['step-up-token'] = proof;
  const body = JSON.stringify({ bank_code: 'VCB', account: '1000000001', amount: dong(AMOUNT) });
  const answer = await fetch(`${city.url}/wallet/v1/top-ups`, { method: 'POST', headers, body });
  return { status: answer.status, body: await answer.json() };
}

test('a passkey of the browser proves one large top-up', async () => {
  const citizen = await city.signIn();
  const number = `046199${String(randomInt(1, 1_000_000)).padStart(6, '0')}`;
  const claim = { citizen_number: number, full_name: 'Nguyễn Thị Hương', date_of_birth: '1999-03-26' };
  await citizen.post('/identity/v1/me/ekyc', claim);
  await until('the wallet knows the tier', async () => (await citizen.get('/wallet/v1/wallet')).tier.level === 1);

  const page = await openPage(browser, city.url);
  await page.goto(`${city.url}/`);
  const authenticator = await addAuthenticator(page);
  // With the PIN behind it a passkey proves at once.
  await citizen.put('/identity/v1/me/pin', { pin: PIN });
  const asked = await citizen.post('/identity/v1/me/passkeys/challenges', { pin: PIN });
  assert.equal(asked.public_key.rp.id, new URL(city.url).hostname);
  const credential = await create(page, asked.public_key);
  const passkey = { challenge_id: asked.challenge_id, name: 'Chromium', credential };
  const { id } = await citizen.post('/identity/v1/me/passkeys', passkey);
  const listed = await citizen.get('/identity/v1/me/passkeys');
  assert.deepEqual(listed.items.map((item) => item.id), [id]);
  const again = await citizen.post('/identity/v1/me/passkeys/challenges', { pin: PIN });
  await assert.rejects(create(page, again.public_key), /InvalidStateError|previously registered/);

  const key = randomUUID();
  const refused = await topUp(citizen, key);
  assert.deepEqual([refused.status, refused.body.code, refused.body.proof], [403, 'step-up-required', 'biometric']);
  const { transaction } = refused.body;
  const question = await citizen.post('/identity/v1/step-ups/challenges', { transaction });
  const answer = await get(page, question.public_key);
  const proof = { method: 'passkey', transaction, challenge_id: question.challenge_id, credential: answer };
  const { step_up_token, level } = await citizen.post('/identity/v1/step-ups', proof);
  assert.equal(level, 'biometric');
  await assert.rejects(citizen.post('/identity/v1/step-ups', proof), /passkey-challenge-unknown/);
  const other = await topUp(citizen, randomUUID(), step_up_token);
  assert.deepEqual([other.status, other.body.code, other.body.reason], [403, 'step-up-invalid', 'other-transaction']);
  const accepted = await topUp(citizen, key, step_up_token);
  assert.equal(accepted.status, 202, JSON.stringify(accepted.body));
  await until('the money arrives', async () => (await citizen.get(`/wallet/v1/top-ups/${accepted.body.id}`)).state === 'completed');
  assert.deepEqual((await citizen.get('/wallet/v1/wallet')).balance, dong(AMOUNT));

  // An authenticator that does not verify its user proves nothing.
  await authenticator.verify(false);
  const unsure = await citizen.post('/identity/v1/step-ups/challenges', { transaction });
  await assert.rejects(get(page, unsure.public_key), /NotAllowedError/);
});
