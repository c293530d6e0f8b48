// The official SDKs behind one small interface, so that one test runs on every pair of client and provider.
//
// A question is {model, user, system, image, stops, maxTokens, tools, force, schema, thinking, after, results};
// an answer {text, finish, input, output, calls: [{id, name, arguments}], reasoning, pieces, history}.

import OpenAI, * as openai from 'openai';
import Anthropic, * as anthropic from '@anthropic-ai/sdk';
import { ApiError, GoogleGenAI } from '@google/genai';

const TIMEOUT = 10_000;

const TOOLS = {
  weather: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  clock: {
    type: 'object',
    properties: { zone: { type: 'string' }, hours: { type: 'integer' } },
    required: ['zone', 'hours'],
  },
};

const FINISH = {
  stop: 'stop', length: 'length', tool_calls: 'tools', content_filter: 'refusal',
  end_turn: 'stop', stop_sequence: 'stop', max_tokens: 'length', tool_use: 'tools', refusal: 'refusal',
  STOP: 'stop', MAX_TOKENS: 'length', SAFETY: 'refusal',
};

export class OpenAiSurface {
  name = 'openai';
  upstream = 'oai';
  error = openai.APIError;
  classes = {
    400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError,
    429: openai.RateLimitError, 500: openai.InternalServerError,
  };

  constructor(url, key) {
    this.sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: TIMEOUT });
  }

  request(ask) {
    const messages = [...(ask.after?.history ?? [])];
    if (ask.after) {
      ask.after.calls.forEach((call, at) => {
        messages.push({ role: 'tool', tool_call_id: call.id, content: ask.results[at] });
      });
    } else {
      if (ask.system) messages.push({ role: 'system', content: ask.system });
      const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${ask.image}` } };
      messages.push({ role: 'user', content: ask.image ? [{ type: 'text', text: ask.user }, image] : ask.user });
    }
    const out = { model: ask.model, messages, max_completion_tokens: ask.maxTokens ?? 4096 };
    if (ask.stops) out.stop = ask.stops;
    if (ask.tools) {
      out.tools = ask.tools.map((name) => ({ type: 'function', function: { name, parameters: TOOLS[name] } }));
    }
    if (ask.force) {
      out.tool_choice = ask.force === 'any' ? 'required' : { type: 'function', function: { name: ask.force } };
    }
    if (ask.schema) {
      out.response_format = { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema: ask.schema } };
    }
    if (ask.thinking) out.reasoning_effort = 'low';
    return out;
  }

  answer(out, raw, pieces) {
    const { message, finish_reason } = raw.choices[0];
    const calls = (message.tool_calls ?? []).map((call) => ({
      id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments),
    }));
    return {
      text: message.content ?? '', finish: message.refusal ? 'refusal' : FINISH[finish_reason], calls, pieces,
      input: raw.usage?.prompt_tokens, output: raw.usage?.completion_tokens,
      reasoning: message.reasoning_content ?? '', history: [...out.messages, message],
    };
  }

  async ask(ask) {
    const out = this.request(ask);
    return this.answer(out, await this.sdk.chat.completions.create(out), 1);
  }

  async stream(ask) {
    const out = this.request(ask);
    const runner = this.sdk.chat.completions.stream({ ...out, stream_options: { include_usage: true } });
    let pieces = 0;
    let reasoning = '';
    for await (const chunk of runner) {
      if (chunk.choices[0]?.delta?.content) pieces += 1;
      reasoning += chunk.choices[0]?.delta?.reasoning_content ?? '';
    }
    const answer = this.answer(out, await runner.finalChatCompletion(), pieces);
    return { ...answer, reasoning: answer.reasoning || reasoning };
  }

  async open(ask, signal) {
    const stream = await this.sdk.chat.completions.create({ ...this.request(ask), stream: true }, { signal });
    return (async function* texts() {
      for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) yield chunk.choices[0].delta.content;
    })();
  }

  async models() {
    const ids = [];
    for await (const model of this.sdk.models.list()) ids.push(model.id);
    return ids;
  }
}

export class AnthropicSurface {
  name = 'anthropic';
  upstream = 'ant';
  error = anthropic.APIError;
  classes = {
    400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError,
    429: anthropic.RateLimitError, 500: anthropic.InternalServerError,
  };

  constructor(url, key) {
    this.sdk = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0, timeout: TIMEOUT });
  }

  request(ask) {
    const messages = [...(ask.after?.history ?? [])];
    if (ask.after) {
      const results = ask.after.calls.map((call, at) => ({
        type: 'tool_result', tool_use_id: call.id, content: ask.results[at],
      }));
      messages.push({ role: 'user', content: results });
    } else {
      const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: ask.image } };
      messages.push({ role: 'user', content: ask.image ? [{ type: 'text', text: ask.user }, image] : ask.user });
    }
    const out = { model: ask.model, messages, max_tokens: ask.maxTokens ?? 4096 };
    if (ask.system) out.system = ask.system;
    if (ask.stops) out.stop_sequences = ask.stops;
    if (ask.tools) out.tools = ask.tools.map((name) => ({ name, input_schema: TOOLS[name] }));
    if (ask.force) out.tool_choice = ask.force === 'any' ? { type: 'any' } : { type: 'tool', name: ask.force };
    if (ask.schema) out.output_config = { format: { type: 'json_schema', schema: ask.schema } };
    if (ask.thinking) out.thinking = { type: 'enabled', budget_tokens: 1024 };
    return out;
  }

  answer(out, raw, pieces) {
    const of = (type) => raw.content.filter((block) => block.type === type);
    return {
      text: of('text').map((block) => block.text).join(''), finish: FINISH[raw.stop_reason], pieces,
      calls: of('tool_use').map(({ id, name, input }) => ({ id, name, arguments: input })),
      reasoning: of('thinking').map((block) => block.thinking).join(''),
      input: raw.usage.input_tokens, output: raw.usage.output_tokens,
      history: [...out.messages, { role: 'assistant', content: raw.content.map(sendable) }],
    };
  }

  async ask(ask) {
    const out = this.request(ask);
    return this.answer(out, await this.sdk.messages.create(out), 1);
  }

  async stream(ask) {
    const out = this.request(ask);
    const stream = this.sdk.messages.stream(out);
    let pieces = 0;
    for await (const event of stream) {
      if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') pieces += 1;
    }
    return this.answer(out, await stream.finalMessage(), pieces);
  }

  async open(ask, signal) {
    const stream = await this.sdk.messages.create({ ...this.request(ask), stream: true }, { signal });
    return (async function* texts() {
      for await (const event of stream) if (event.delta?.type === 'text_delta') yield event.delta.text;
    })();
  }

  async models() {
    const ids = [];
    for await (const model of this.sdk.models.list()) ids.push(model.id);
    return ids;
  }

  async count(ask) {
    const { max_tokens: _, ...out } = this.request(ask);
    return (await this.sdk.messages.countTokens(out)).input_tokens;
  }
}

/** A block of an answer as a request takes it: without members that are null. */
function sendable(block) {
  return Object.fromEntries(Object.entries(block).filter(([, value]) => value !== null));
}

export class GeminiSurface {
  name = 'gemini';
  upstream = 'gem';
  error = ApiError;
  classes = { 400: ApiError, 401: ApiError, 404: ApiError, 429: ApiError, 500: ApiError };

  constructor(url, key) {
    this.sdk = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url, apiVersion: 'v1beta', timeout: TIMEOUT } });
  }

  request(ask) {
    const contents = [...(ask.after?.history ?? [])];
    if (ask.after) {
      const parts = ask.after.calls.map(({ id, name }, at) => ({
        functionResponse: { ...(id && { id }), name, response: { result: ask.results[at] } },
      }));
      contents.push({ role: 'user', parts });
    } else {
      const parts = [{ text: ask.user }];
      if (ask.image) parts.push({ inlineData: { mimeType: 'image/png', data: ask.image } });
      contents.push({ role: 'user', parts });
    }
    const config = { maxOutputTokens: ask.maxTokens ?? 4096, abortSignal: ask.signal };
    if (ask.system) config.systemInstruction = ask.system;
    if (ask.stops) config.stopSequences = ask.stops;
    if (ask.tools) {
      config.tools = [{ functionDeclarations: ask.tools.map((name) => ({ name, parametersJsonSchema: TOOLS[name] })) }];
    }
    if (ask.force) {
      const names = ask.force === 'any' ? {} : { allowedFunctionNames: [ask.force] };
      config.toolConfig = { functionCallingConfig: { mode: 'ANY', ...names } };
    }
    if (ask.schema) Object.assign(config, { responseMimeType: 'application/json', responseJsonSchema: ask.schema });
    if (ask.thinking) config.thinkingConfig = { includeThoughts: true, thinkingBudget: 1024 };
    return { model: ask.model, contents, config };
  }

  answer(out, chunks) {
    const candidates = chunks.flatMap((chunk) => chunk.candidates ?? []);
    const parts = candidates.flatMap((candidate) => candidate.content?.parts ?? []);
    const texts = parts.filter((part) => part.text && !part.thought);
    const thoughts = parts.filter((part) => part.text && part.thought);
    const calls = parts.filter((part) => part.functionCall).map(({ functionCall }) => ({
      id: functionCall.id, name: functionCall.name, arguments: functionCall.args ?? {},
    }));
    const finish = FINISH[candidates.findLast((candidate) => candidate.finishReason)?.finishReason];
    const usage = chunks.findLast((chunk) => chunk.usageMetadata)?.usageMetadata;
    return {
      text: texts.map((part) => part.text).join(''), calls, pieces: texts.length,
      finish: calls.length && finish === 'stop' ? 'tools' : finish,
      reasoning: thoughts.map((part) => part.text).join(''),
      input: usage?.promptTokenCount, output: (usage?.candidatesTokenCount ?? 0) + (usage?.thoughtsTokenCount ?? 0),
      history: [...out.contents, { role: 'model', parts }],
    };
  }

  async ask(ask) {
    const out = this.request(ask);
    return this.answer(out, [await this.sdk.models.generateContent(out)]);
  }

  async stream(ask) {
    const out = this.request(ask);
    const chunks = [];
    for await (const chunk of await this.sdk.models.generateContentStream(out)) chunks.push(chunk);
    return this.answer(out, chunks);
  }

  async open(ask, signal) {
    const stream = await this.sdk.models.generateContentStream(this.request({ ...ask, signal }));
    return (async function* texts() {
      for await (const chunk of stream) if (chunk.text) yield chunk.text;
    })();
  }

  async models() {
    const ids = [];
    for await (const model of await this.sdk.models.list()) ids.push(model.name.replace('models/', ''));
    return ids;
  }

  async count(ask) {
    const { model, contents } = this.request(ask);
    return (await this.sdk.models.countTokens({ model, contents })).totalTokens;
  }
}

export const SURFACES = [OpenAiSurface, AnthropicSurface, GeminiSurface];
