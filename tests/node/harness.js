// Starts the fake provider and the gateway, and asks the fake what it received.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** The SDKs talk to the fake provider itself, and the tests of the gateway are left out. */
export const DIRECT = process.env.TOLLWAY_E2E_DIRECT === '1';

function binary(variable, name) {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
  const path = process.env[variable] ?? join(target, 'debug', name);
  if (!existsSync(path)) throw new Error(`${path} does not exist: build it, or set ${variable}`);
  return path;
}

function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** No provider keys, proxies or settings of the machine reach the processes. */
function cleanEnvironment() {
  const foreign = ['_API_KEY', '_PROXY', '_proxy', 'LITELLM_', 'TOLLWAY_', 'DATABASE_URL', 'REDIS_'];
  return Object.fromEntries(Object.entries(process.env).filter(([key]) => !foreign.some((part) => key.includes(part))));
}

async function launch(name, command, log, readyUrl) {
  const output = openSync(log, 'w');
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', output, output], env: cleanEnvironment() });
  closeSync(output);
  const started = { name, child, tail: () => readFileSync(log, 'utf8').slice(-8000) };
  for (let waited = 0; waited < 20_000; waited += 50) {
    if (child.exitCode !== null) throw new Error(`${name} exited with ${child.exitCode}:\n${started.tail()}`);
    const ready = await fetch(readyUrl).then((reply) => reply.status === 200, () => false);
    if (ready) return started;
    await sleep(50);
  }
  child.kill('SIGKILL');
  throw new Error(`${name} is not ready after 20 s:\n${started.tail()}`);
}

/** Starts both; in direct mode the fake only, and `url` is its own. */
export async function start() {
  const folder = mkdtempSync(join(tmpdir(), 'tollway-e2e-'));
  const fakePort = await freePort();
  const fakeUrl = `http://127.0.0.1:${fakePort}`;
  const fakeCommand = [binary('FAKE_PROVIDER_BIN', 'fake-provider'), '--port', String(fakePort)];
  const processes = [await launch('fake provider', fakeCommand, join(folder, 'fake.log'), `${fakeUrl}/__health`)];
  if (DIRECT) return new Stack(fakeUrl, 'any-key', fakeUrl, processes);
  try {
    const key = `sk-${randomBytes(24).toString('hex')}`;
    const template = readFileSync(join(ROOT, 'tests/config.yaml'), 'utf8');
    writeFileSync(join(folder, 'config.yaml'), template.replaceAll('${FAKE}', fakeUrl).replaceAll('${MASTER_KEY}', key));
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const command = [
      binary('TOLLWAY_BIN', 'tollway'), 'serve', '--config', join(folder, 'config.yaml'),
      '--host', '127.0.0.1', '--port', String(port), '--data-dir', join(folder, 'data'),
    ];
    processes.unshift(await launch('gateway', command, join(folder, 'gateway.log'), `${url}/health/readiness`));
    return new Stack(url, key, fakeUrl, processes);
  } catch (error) {
    processes[0].child.kill();
    throw error;
  }
}

/** A gateway as at its first start: no configuration, no provider's key, an empty data directory. */
export async function startBare() {
  const folder = mkdtempSync(join(tmpdir(), 'tollway-first-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const command = [binary('TOLLWAY_BIN', 'tollway'), 'serve', '--port', String(port), '--data-dir', join(folder, 'data')];
  const { child, tail } = await launch('gateway', command, join(folder, 'gateway.log'), `${url}/health/readiness`);
  const [, key] = tail().match(/admin key (sk-\S+)/);
  return { url, key, stop: () => child.kill() };
}

/** A key as a company hands them out: of a team, limited by all there is, and reaching none of it. */
export async function virtualKey(url, master) {
  const made = async (path, body) => {
    const headers = { authorization: `Bearer ${master}`, 'content-type': 'application/json' };
    const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  };
  const plenty = { max_budget: 1000, rpm_limit: 1e6, tpm_limit: 1e9, max_parallel_requests: 1000 };
  const { team_id } = await made('/team/new', { team_alias: 'end to end', budget_duration: '1mo', ...plenty });
  return (await made('/key/generate', { team_id, budget_duration: '1d', ...plenty })).key;
}

class Stack {
  constructor(url, key, fakeUrl, processes) {
    Object.assign(this, { url, key, fakeUrl, processes });
  }

  /** What the fake received with `part` in its body or path. */
  async received(part) {
    return (await fetch(`${this.fakeUrl}/__received?contains=${part}`)).json();
  }

  /** The only call with `part`, once `fits` is true of it. */
  async eventually(part, fits, limit = 3000) {
    let calls = [];
    for (let waited = 0; waited < limit; waited += 20) {
      calls = await this.received(part);
      if (calls.length === 1 && fits(calls[0])) return calls[0];
      await sleep(20);
    }
    throw new Error(`it did not happen within ${limit} ms: ${JSON.stringify(calls)}`);
  }

  /** Ends both; `failed` prints the ends of their logs. */
  stop(failed) {
    for (const { name, child, tail } of this.processes) {
      child.kill();
      if (failed) console.error(`end of the log of the ${name}:\n${tail()}`);
    }
  }
}

/** A text that only one test sends. */
export function tag() {
  return `id-${randomBytes(6).toString('hex')}`;
}
