// The JavaScript snippets of the documents run as they stand, against a gateway started without a configuration. Only
// the address is replaced. The other snippets are run by tests/python/test_readme.py.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { DIRECT, startBare } from './harness.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const README = readFileSync(join(resolve(HERE, '../..'), 'README.md'), 'utf8');
const SNIPPETS = [...README.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1]);

if (!DIRECT) {
  let gateway;

  before(async () => {
    gateway = await startBare();
  });

  after(() => gateway?.stop());

  test('the README has a snippet in JavaScript', () => assert.ok(SNIPPETS.length > 0));

  for (const [number, snippet] of SNIPPETS.entries()) {
    test(`JavaScript snippet ${number + 1} of the README does what it shows`, { timeout: 60_000 }, () => {
      const code = snippet.replaceAll('http://127.0.0.1:4000', gateway.url);
      const done = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: HERE,
        env: { ...process.env, TOLLWAY_KEY: gateway.key },
        encoding: 'utf8',
        timeout: 50_000,
      });
      assert.equal(done.status, 0, done.stderr);
      assert.match(done.stdout, /You said/);
    });
  }
}
