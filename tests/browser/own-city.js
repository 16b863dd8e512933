// A city of a test's own, one process per role, whose roles the test may stop and kill.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { City, ENVIRONMENT, PROGRAM, ROOT, until } from './city.js';

/** Starting a city, on a busy machine. */
const START_MS = 180_000;

export class OwnCity {
  constructor(city, folder, up) {
    this.city = city;
    this.folder = folder;
    this.up = up;
  }

  static async start() {
    const folder = await mkdtemp(join(tmpdir(), 'trangtien-split-'));
    const data = join(folder, 'data');
    const up = spawn(PROGRAM, ['up', '--split', '--data-dir', data], { cwd: ROOT, env: ENVIRONMENT, stdio: 'ignore' });
    const told = async () => JSON.parse(await readFile(join(data, 'run.json'), 'utf8').catch(() => 'null'));
    try {
      const run = await until('the city starts', async () => {
        if (up.exitCode !== null) throw new Error(`the city ended: ${up.exitCode}`);
        return told();
      }, START_MS);
      return new OwnCity(new City(run.http.replace(/\/$/, ''), run.sandbox.replace(/\/$/, ''), data), folder, up);
    } catch (fault) {
      up.kill('SIGKILL');
      throw fault;
    }
  }

  /** The process of a role, if there is one. */
  async pidOf(role) {
    const configuration = join(this.folder, 'data', 'roles', `${role}.toml`);
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
      if (words[1] === 'serve' && words.includes(configuration)) return Number(pid);
    }
    return null;
  }

  async stop() {
    const ended = new Promise((resume) => this.up.once('exit', resume));
    if (this.up.exitCode === null) {
      this.up.kill('SIGTERM');
      await ended;
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}
