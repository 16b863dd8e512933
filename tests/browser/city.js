// A running city as its people reach it: public HTTP, and the sandbox that received their text messages.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomInt, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const WAIT_MS = 20_000;

/** Asks until `found` gives something; never waits a fixed time. */
export async function until(what, found, longestMs = WAIT_MS) {
  const end = Date.now() + longestMs;
  for (;;) {
    const result = await found();
    if (result) return result;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

/** What an operator of the city runs on its machine. */
export const ROOT = new URL('../../', import.meta.url).pathname;
export const PROGRAM = process.env.PROGRAM ?? join(ROOT, 'target/debug/trangtien');
const run = promisify(execFile);
/** Variables of ours would be settings to it. */
export const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRANGTIEN_')));

/** A new mobile number of the city's country. */
export function newPhone() {
  return `+8491${String(randomInt(10_000_000)).padStart(7, '0')}`;
}

export function dong(amount) {
  return { amount: String(amount), currency: 'VND' };
}

export class City {
  constructor(url, sandbox, folder, database) {
    this.url = url;
    this.sandbox = sandbox;
    this.folder = folder;
    this.database = database;
  }

  /** The city of TRANGTIEN_URL, or of the run.json that TRANGTIEN_RUN names; the sandbox's address stands there too. */
  static async open() {
    const file = process.env.TRANGTIEN_RUN ?? new URL('../../.trangtien/run.json', import.meta.url).pathname;
    const told = JSON.parse(await readFile(file, 'utf8').catch(() => '{}'));
    const url = (process.env.TRANGTIEN_URL ?? told.http)?.replace(/\/$/, '');
    const sandbox = (process.env.TRANGTIEN_SANDBOX ?? told.sandbox)?.replace(/\/$/, '');
    if (!url || !sandbox) throw new Error('no city: start one by `trangtien up`, or set TRANGTIEN_URL and TRANGTIEN_RUN');
    return new City(url, sandbox, dirname(file), told.database_url);
  }

  /** A gauge of an exercise at a station: gives what sends its readings. The secret lies in the city's data folder. */
  async gauge(station) {
    const [, secret] = /^sensors = "(.+)"$/m.exec(await readFile(join(this.folder, 'secrets.toml'), 'utf8'));
    const authorization = `Basic ${Buffer.from(`exercise-gauges:${secret}`).toString('base64')}`;
    const ask = async (path, body) => {
      const headers = { authorization, 'content-type': 'application/json' };
      const answer = await fetch(`${this.url}/sta/v1.1${path}`, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    };
    const thing = await ask('/Things', {
      name: 'Gauge',
      Datastreams: [
        {
          name: 'Water level',
          observationType: 'http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement',
          unitOfMeasurement: { name: 'metre', symbol: 'm', definition: 'ucum:m' },
          properties: { station, exercise: true },
          Sensor: { name: 'Test', encodingType: 'text/plain', metadata: '' },
          ObservedProperty: { name: 'Water level', definition: 'https://example.org/level' },
        },
      ],
    });
    const streams = await ask(`/Things(${thing['@iot.id']})/Datastreams`);
    const id = streams.value[0]['@iot.id'];
    return (phenomenonTime, result) => ask(`/Datastreams(${id})/Observations`, { phenomenonTime, result });
  }

  async get(path, token) {
    return this.#ask('GET', path, undefined, token);
  }

  async post(path, body, token) {
    return this.#ask('POST', path, body, token);
  }

  async put(path, body, token) {
    return this.#ask('PUT', path, body, token);
  }

  async #ask(method, path, body, token) {
    const headers = { 'idempotency-key': randomUUID() };
    if (body) headers['content-type'] = 'application/json';
    if (token) headers.authorization = `Bearer ${token}`;
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
  }

  /** The code in the newest text message to a number. */
  async codeFor(phone) {
    return until(`a text message to ${phone}`, async () => {
      const answer = await fetch(`${this.sandbox}/sms?to=${encodeURIComponent(phone)}`);
      return /\b\d{6}\b/.exec(JSON.stringify(await answer.json()))?.[0];
    });
  }

  /** Keeps every consumer of the centre from counting anything more until the returned function is called; everything can be read. */
  async holdTheCount() {
    const held = spawn('psql', ['--no-psqlrc', '--quiet', '--tuples-only', this.database], { stdio: ['pipe', 'pipe', 'inherit'] });
    held.stdin.write("BEGIN; SELECT 'held' FROM ioc.board FOR UPDATE;\n");
    const [said] = await once(held.stdout, 'data');
    if (!String(said).includes('held')) throw new Error(`the board is not held: ${said}`);
    return async () => {
      held.stdin.end('ROLLBACK;\n');
      await once(held, 'exit');
    };
  }

  /** Changes the city's database behind its back. */
  async sql(statement) {
    await run('psql', ['--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1', '--command', statement, this.database]);
  }

  /** Gives somebody a role, as it is done on the city's machine. */
  async grantRole(account, role) {
    await run(PROGRAM, ['admin', 'grant-role', '--data-dir', this.folder, account, role], { env: ENVIRONMENT, cwd: ROOT });
  }

  /** A citizen who signed in by the code in the text message. */
  async signIn(phone = newPhone()) {
    const { challenge_id } = await this.post('/identity/v1/otp', { phone, purpose: 'sign-in', device_id: randomUUID() });
    const code = await this.codeFor(phone);
    const session = { challenge_id, code, device: { name: 'Browser test' } };
    const { access_token, refresh_token } = await this.post('/identity/v1/sessions', session);
    return new Citizen(this, access_token, refresh_token);
  }
}

export class Citizen {
  constructor(city, token, refresh) {
    this.city = city;
    this.token = token;
    this.refresh = refresh;
  }

  /** Takes a new token, with the roles of now. */
  async renew() {
    const tokens = await this.city.post('/identity/v1/sessions/refresh', { refresh_token: this.refresh });
    [this.token, this.refresh] = [tokens.access_token, tokens.refresh_token];
  }

  get(path) {
    return this.city.get(path, this.token);
  }

  post(path, body) {
    return this.city.post(path, body, this.token);
  }

  put(path, body) {
    return this.city.put(path, body, this.token);
  }

  /** Brings money from a sandbox bank account and waits until it is there. */
  async topUp(amount) {
    const asked = { bank_code: 'VCB', account: '1000000001', amount: dong(amount) };
    const { id } = await this.post('/wallet/v1/top-ups', asked);
    await until('the top-up arrives', async () => {
      const topUp = await this.get(`/wallet/v1/top-ups/${id}`);
      return topUp.state === 'completed';
    });
  }

  /** Opens a shop with one till; answers the payload of its QR code. */
  async openTill(name) {
    const merchant = await this.post('/wallet/v1/merchants', { name });
    const stores = `/wallet/v1/merchants/${merchant.id}/stores`;
    const store = await this.post(stores, { name: 'Huế' });
    const till = await this.post(`${stores}/${store.id}/tills`, { name: 'Quầy 1' });
    return (await this.get(`${stores}/${store.id}/tills/${till.id}/qr.txt`)).trim();
  }

  /** Reports something of a category whose form asks for nothing. */
  async report(category, position) {
    return this.post('/reports/v1/reports', { category, text: 'Vỉa hè bị chiếm', position });
  }

  async pay(qr, amount) {
    return this.post('/wallet/v1/payments', { qr_payload: qr, amount: dong(amount) });
  }
}
