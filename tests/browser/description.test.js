// The pages' client is generated from services/web/openapi.json: it must be what the running program describes.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { City } from './city.js';

test('services/web/openapi.json is the description of this program', async () => {
  const city = await City.open();
  const committed = JSON.parse(await readFile(new URL('../../services/web/openapi.json', import.meta.url), 'utf8'));
  const running = await city.get('/openapi.json');
  delete committed.servers;
  delete running.servers;
  const how = 'run `trangtien openapi > services/web/openapi.json` and `npm run api` in services/web';
  assert.ok(isDeepStrictEqual(running, committed), how);
});
