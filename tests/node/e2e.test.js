// Every official Node SDK against every provider's dialect.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { DIRECT, start, tag, virtualKey } from './harness.js';
import { SURFACES } from './surfaces.js';

const WORDS = 'say: Grüße aus 日本 🙂 and "quotes" \\ back\nnew line end';
const SAID = WORDS.slice('say: '.length);
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC';
const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
  required: ['city', 'unit'],
  additionalProperties: false,
};

/** The text; other providers get the object that Gemini's results are as JSON. */
const said = (answer) => answer.text.replace(/\{"result": ?"(.*?)"\}/g, '$1');

let stack;
let failed = false;
const clients = {};

before(async () => {
  stack = await start();
  const key = DIRECT ? stack.key : await virtualKey(stack.url, stack.key);
  for (const Surface of SURFACES) {
    const client = new Surface(stack.url, key);
    clients[client.name] = client;
  }
});

after(() => stack?.stop(failed));

/** A test that remembers that it failed, so that the logs are shown. */
function check(name, body) {
  test(name, { timeout: 30_000 }, async () => {
    try {
      await body();
    } catch (error) {
      failed = true;
      throw error;
    }
  });
}

/** A test of the gateway itself, left out when the SDKs talk to the fake directly. */
function checkGateway(name, body) {
  if (!DIRECT) check(name, body);
}

const NAMES = { openai: 'oai', anthropic: 'ant', gemini: 'gem' };

for (const surface of Object.keys(NAMES)) {
  for (const upstream of Object.values(NAMES)) {
    if (DIRECT && NAMES[surface] !== upstream) continue;
    describe(`${surface} -> ${upstream}`, () => pair(surface, upstream));
  }
}

function pair(surface, upstream) {
  const model = (script) => (DIRECT ? script : `${upstream}/${script}`);
  const question = (rest, script = 'fake-ok') => ({ user: 'hi', ...rest, model: model(script) });

  for (const mode of ['ask', 'stream']) {
    const send = (ask) => clients[surface][mode](ask);

    check(`${mode}: a question is answered`, async () => {
      const answer = await send(question({ user: WORDS }));
      assert.equal(answer.text, SAID);
      assert.equal(answer.finish, 'stop');
      assert.ok(answer.input > 5 && answer.output > 5);
    });

    check(`${mode}: the provider is spoken to in its own dialect`, async () => {
      const name = tag();
      await send(question({ user: name }));
      const call = await stack.eventually(name, () => true);
      const path = { oai: '/chat/completions', ant: '/v1/messages', gem: 'enerateContent' }[upstream];
      assert.ok(call.path.endsWith(path), call.path);
    });

    check(`${mode}: instructions and pictures reach the model`, async () => {
      const answer = await send(question({ user: 'look', system: 'Be brief.', image: PIXEL }));
      assert.match(answer.text, /My instructions are: "Be brief."/);
      assert.match(answer.text, /You showed me image\/png/);
    });

    check(`${mode}: limits and stop sequences end the answer`, async () => {
      const limited = await send(question({ user: 'say: one two three', maxTokens: 2 }));
      assert.deepEqual([limited.text, limited.finish], ['one two ', 'length']);
      const stopped = await send(question({ user: 'say: one two STOP three', stops: ['STOP'] }));
      assert.deepEqual([stopped.text, stopped.finish], ['one two ', 'stop']);
    });

    check(`${mode}: one tool call and its result`, async () => {
      const ask = question({ user: 'the weather for city=Oslo please', tools: ['weather', 'clock'] });
      const first = await send(ask);
      assert.equal(first.finish, 'tools');
      assert.deepEqual(first.calls.map((call) => [call.name, call.arguments]), [['weather', { city: 'Oslo' }]]);
      const second = await send({ ...ask, after: first, results: ['3C'] });
      assert.deepEqual([said(second), second.finish], ['The tool weather says: 3C', 'stop']);
    });

    check(`${mode}: parallel tool calls and their results`, async () => {
      const ask = question({ user: 'weather city=Oslo, clock zone=CET hours=3', tools: ['weather', 'clock'] });
      const first = await send(ask);
      assert.deepEqual(first.calls.map((call) => call.arguments), [{ city: 'Oslo' }, { zone: 'CET', hours: 3 }]);
      const second = await send({ ...ask, after: first, results: ['3C', 'noon'] });
      assert.equal(said(second), 'The tool weather says: 3C\nThe tool clock says: noon');
    });

    check(`${mode}: a tool can be forced`, async () => {
      const answer = await send(question({ tools: ['weather', 'clock'], force: 'clock' }));
      assert.deepEqual(answer.calls.map((call) => call.name), ['clock']);
    });

    check(`${mode}: an answer follows its schema`, async () => {
      const answer = await send(question({ user: 'city=Oslo unit=f', schema: SCHEMA }));
      assert.deepEqual(JSON.parse(answer.text), { city: 'Oslo', unit: 'f' });
      assert.equal(answer.finish, 'stop');
    });

    if (upstream !== 'oai') {
      check(`${mode}: signatures survive a tool turn`, async () => {
        const thinker = { ant: 'claude-haiku-4-5', gem: 'gemini-3.1-pro-preview' }[upstream];
        const ask = question({ user: 'weather city=Oslo', tools: ['weather'], thinking: true }, thinker);
        const first = await send(ask);
        assert.ok(first.calls.length === 1 && first.reasoning);
        const second = await send({ ...ask, after: first, results: ['3C'] });
        assert.equal(said(second), 'The tool weather says: 3C');
      });
    }

    for (const status of [400, 429, 500]) {
      check(`${mode}: status ${status} becomes the exception of the SDK`, async () => {
        const error = await send(question({}, `fake-error-${status}`)).then(() => null, (thrown) => thrown);
        assert.ok(error instanceof clients[surface].classes[status], `${error}`);
        assert.equal(error.status, status);
        assert.match(error.message, /fake provider/);
      });
    }

    check(`${mode}: a prompt that is too long`, async () => {
      const error = await send(question({}, 'fake-context-window')).then(() => null, (thrown) => thrown);
      assert.ok(error instanceof clients[surface].classes[400], `${error}`);
      if (surface === 'openai') assert.equal(error.code, 'context_length_exceeded');
    });
  }

  check('streamed and whole answers agree', async () => {
    const whole = await clients[surface].ask(question({ user: WORDS }));
    const streamed = await clients[surface].stream(question({ user: WORDS }));
    assert.ok(streamed.pieces > 3, 'the answer must arrive in pieces');
    for (const field of ['text', 'finish', 'input', 'output']) assert.equal(streamed[field], whole[field], field);
  });

  for (const script of ['fake-chunk-1', 'fake-chunk-7', 'fake-interval-5']) {
    check(`any chunking gives the same text: ${script}`, async () => {
      assert.equal((await clients[surface].stream(question({ user: WORDS }, script))).text, SAID);
    });
  }

  const failures = ['fake-error-mid-stream-6'];
  if (!DIRECT) failures.push('fake-cut-after-6-chunks', 'fake-reset-after-6-chunks', 'fake-malformed-after-6');
  for (const script of failures) {
    check(`a failure in a stream is an exception: ${script}`, async () => {
      const heard = [];
      const texts = await clients[surface].open(question({ user: 'say: a b c d e f g h' }, script));
      const error = await (async () => {
        for await (const text of texts) heard.push(text);
      })().then(() => null, (thrown) => thrown);
      assert.ok(error instanceof clients[surface].error, `${error}`);
      assert.ok(heard.length > 0, 'what came before the failure must arrive');
    });
  }

  check('hanging up in a stream reaches the provider', async () => {
    const name = tag();
    const controller = new AbortController();
    const texts = await clients[surface].open(question({}, `fake-interval-100+tokens-500+${name}`), controller.signal);
    assert.ok((await texts.next()).value);
    controller.abort();
    await texts.next().catch(() => null);
    const call = await stack.eventually(name, (received) => received.closed_early_ms !== null);
    assert.ok(call.chunks_sent < 100);
  });

  check('hanging up before the first byte reaches the provider', async () => {
    const name = tag();
    const controller = new AbortController();
    const opened = clients[surface].open(question({}, `fake-slow-8000+${name}`), controller.signal).then(
      async (texts) => texts.next(),
    ).then(() => null, (thrown) => thrown);
    await stack.eventually(name, () => true);
    controller.abort();
    assert.ok(await opened instanceof Error);
    await stack.eventually(name, (received) => received.closed_early_ms !== null);
  });

  if (surface !== 'openai') {
    check('tokens are counted', async () => {
      const short = await clients[surface].count(question({ user: 'hi' }));
      const long = await clients[surface].count(question({ user: 'hi '.repeat(200) }));
      assert.ok(short > 0 && short < 50 && long > 50 && long < 1000, `${short} ${long}`);
    });
  }

  if (surface === 'openai' && upstream !== 'ant') {
    check('embeddings', async () => {
      const create = (rest) => clients.openai.sdk.embeddings.create({ model: model('fake-ok'), input: 'one', ...rest });
      const [packed, plain, sized] = [await create(), await create({ encoding_format: 'float' }), await create({ dimensions: 16 })];
      const close = packed.data[0].embedding.every((x, at) => Math.abs(x - plain.data[0].embedding[at]) < 1e-6);
      assert.ok(close && packed.data[0].embedding.length > 16);
      assert.equal(sized.data[0].embedding.length, 16);
    });
  }
}

check('models are listed', async () => {
  const expected = DIRECT ? 'fake-ok' : 'plain-chat';
  for (const client of Object.values(clients)) assert.ok((await client.models()).includes(expected), client.name);
});

for (const upstream of ['oai', 'ant', 'gem', 'bed']) {
  checkGateway(`responses go on from each other: ${upstream}`, async () => {
    const { responses } = clients.openai.sdk;
    const model = `${upstream}/fake-ok`;
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const tools = [{ type: 'function', name: 'weather', parameters, strict: false }];
    const first = await responses.create({ model, tools, input: 'weather city=Oslo' });
    const call = first.output.find((item) => item.type === 'function_call');
    assert.deepEqual(JSON.parse(call.arguments), { city: 'Oslo' });

    const input = [{ type: 'function_call_output', call_id: call.call_id, output: '3C' }];
    const stream = responses.stream({ model, tools, input, previous_response_id: first.id });
    let text = '';
    stream.on('response.output_text.delta', (event) => { text += event.delta; });
    const second = await stream.finalResponse();
    assert.deepEqual([text, second.output_text], Array(2).fill('The tool weather says: 3C'));
    assert.equal(second.previous_response_id, first.id);

    const kept = await responses.retrieve(second.id);
    assert.deepEqual([kept.id, kept.output_text], [second.id, text]);
    const kinds = [];
    for await (const item of responses.inputItems.list(second.id, { order: 'asc', limit: 1 })) kinds.push(item.type);
    assert.deepEqual(kinds, ['message', 'function_call', 'function_call_output']);
    await responses.delete(second.id);
    const error = await responses.retrieve(second.id).then(() => null, (thrown) => thrown);
    assert.equal(error?.status, 404);
  });
}

checkGateway('a wrong key is refused', async () => {
  for (const Surface of SURFACES) {
    const client = new Surface(stack.url, `sk-${'0'.repeat(48)}`);
    const error = await client.ask({ model: 'oai/fake-ok', user: 'hi' }).then(() => null, (thrown) => thrown);
    assert.ok(error instanceof client.classes[401], `${client.name}: ${error}`);
    assert.equal(error.status, 401);
  }
});

checkGateway('an unknown model is refused', async () => {
  for (const client of Object.values(clients)) {
    const error = await client.ask({ model: 'no-such-model', user: 'hi' }).then(() => null, (thrown) => thrown);
    assert.ok(error instanceof client.error && [400, 404].includes(error.status), `${client.name}: ${error}`);
  }
});

for (const upstream of ['oai', 'ant']) {
  checkGateway(`no SDK minds keep-alives: ${upstream}`, async () => {
    const ask = { model: `slow-${upstream}/fake-slow-1700`, user: 'say: at last' };
    const answers = await Promise.all(Object.values(clients).map((client) => client.stream(ask)));
    assert.deepEqual(answers.map((answer) => answer.text), ['at last', 'at last', 'at last']);
  });
}
