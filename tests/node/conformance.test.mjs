// OpenAI's own Node client against a running gateway. Told by its environment: GRAFT_URL, GRAFT_KEY, GRAFT_LIMITED_KEY
// (40 requests per minute), GRAFT_SPENT_KEY (a day's budget for one request), GRAFT_ENGINE_URL.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';

const { GRAFT_URL, GRAFT_KEY, GRAFT_LIMITED_KEY, GRAFT_SPENT_KEY, GRAFT_ENGINE_URL } = process.env;
const QUESTION = 'What does the Zorvia starter plan cost per month?';
const asked = { model: 'default', messages: [{ role: 'user', content: QUESTION }], max_tokens: 12, temperature: 0 };

/** A client, and how many requests it has sent. */
function counted(options = {}) {
  const sent = [];
  const fetch = (url, init) => {
    sent.push(String(url));
    return globalThis.fetch(url, init);
  };
  const client = new OpenAI({ apiKey: GRAFT_KEY, baseURL: `${GRAFT_URL}/v1`, maxRetries: 0, fetch, ...options });
  return { client, sent };
}

const { client } = counted();

async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function running() {
  const text = await (await fetch(`${GRAFT_ENGINE_URL}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith('vllm:num_requests_running'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function until(condition) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail('the condition did not come true');
}

test('an answer is created, with its usage', async () => {
  const answer = await client.chat.completions.create(asked);
  assert.equal(answer.model, 'default');
  assert.match(answer.id, /^chatcmpl-/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('a stream is what the answer would have been, and ends with its usage', async () => {
  const whole = await client.chat.completions.create(asked);
  const stream = await client.chat.completions.create({
    ...asked,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collected(stream);
  const text = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? '')).join('');
  assert.equal(text, whole.choices[0].message.content);
  const { total_tokens, completion_tokens } = chunks.at(-1).usage;
  assert.deepEqual([total_tokens, completion_tokens], [whole.usage.total_tokens, whole.usage.completion_tokens]);
  assert.deepEqual([...new Set(chunks.map((chunk) => chunk.model))], ['default']);
});

test('without asking there is no usage chunk', async () => {
  const chunks = await collected(await client.chat.completions.create({ ...asked, stream: true }));
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1));
});

test('several requests run at once', async () => {
  const answers = await Promise.all([1, 2, 3, 4].map(() => client.chat.completions.create(asked)));
  assert.equal(new Set(answers.map((answer) => answer.id)).size, 4);
});

test('completions are created and streamed', async () => {
  const body = { model: 'default', prompt: QUESTION, max_tokens: 8, temperature: 0 };
  const whole = await client.completions.create(body);
  const chunks = await collected(await client.completions.create({ ...body, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''), whole.choices[0].text);
});

test('responses are created, streamed, listed, fetched and deleted', async () => {
  const body = { model: 'default', input: QUESTION, max_output_tokens: 16 };
  const made = await client.responses.create(body);
  assert.equal((await client.responses.retrieve(made.id)).output_text, made.output_text);
  const items = await collected(client.responses.inputItems.list(made.id));
  assert.deepEqual(items.map((item) => [item.role, item.content[0].text]), [['user', QUESTION]]);
  await client.responses.delete(made.id);
  await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
  const events = await collected(await client.responses.create({ ...body, stream: true }));
  assert.equal(events.at(-1).type, 'response.completed');
});

test('models are iterated', async () => {
  const models = await collected(client.models.list());
  assert.deepEqual(models.map((model) => model.id), ['base', 'default']);
});

test('vectors are decoded by the client', async () => {
  const made = await client.embeddings.create({ model: 'base', input: ['one', 'two'] });
  assert.equal(made.data.length, 2);
  assert.ok(made.data[0].embedding.length > 100 && made.data[0].embedding.every(Number.isFinite));
});

test('the raw response has our headers', async () => {
  const { data, response, request_id } = await client.chat.completions.create(asked).withResponse();
  assert.equal(response.headers.get('x-graft-version'), 'base');
  assert.equal(request_id, `req_${data.id.slice('chatcmpl-'.length)}`);
  assert.ok(Number(response.headers.get('x-graft-overhead-ms')) >= 0);
});

test('a stream that is cancelled stops the engine', async () => {
  const stream = await client.chat.completions.create({
    ...asked,
    max_tokens: 1500,
    ignore_eos: true,
    stream: true,
  });
  for await (const _ of stream) {
    stream.controller.abort();
  }
  await until(async () => (await running()) === 0);
});

test('errors are of the classes that the client has for them', async () => {
  const create = (more, by = client) => by.chat.completions.create({ ...asked, ...more });
  await assert.rejects(create({ model: 'nobodys' }), (error) => {
    return error instanceof OpenAI.NotFoundError && error.code === 'model_not_found' && error.param === 'model';
  });
  await assert.rejects(create({ temperature: -5 }), OpenAI.BadRequestError);
  await assert.rejects(create({ n: 0 }), (error) => error instanceof OpenAI.BadRequestError && error.param === 'n');
  await assert.rejects(create({}, counted({ apiKey: 'gk-00-00' }).client), OpenAI.AuthenticationError);
  const foreign = counted({ defaultHeaders: { 'X-Tenant-Id': 'somebody' } }).client;
  await assert.rejects(create({}, foreign), OpenAI.PermissionDeniedError);
});

test('a retry waits as long as it was told', async () => {
  const short = { ...asked, max_tokens: 1 };
  const { client: once } = counted({ apiKey: GRAFT_LIMITED_KEY });
  let told = 0;
  while (told < 300) {
    const answers = await Promise.allSettled([1, 2, 3, 4].map(() => once.chat.completions.create(short)));
    told = Number(answers.at(-1).reason?.headers.get('retry-after-ms') ?? 0);
  }
  const { client: patient, sent } = counted({ apiKey: GRAFT_LIMITED_KEY, maxRetries: 2 });
  const began = performance.now();
  await patient.chat.completions.create(short);
  assert.ok(sent.length > 1);
  assert.ok(performance.now() - began >= 0.5 * told);
});

test('what x-should-retry forbids is not tried again', async () => {
  const { client: spent, sent } = counted({ apiKey: GRAFT_SPENT_KEY, maxRetries: 3 });
  await spent.chat.completions.create(asked);
  await assert.rejects(spent.chat.completions.create(asked), (error) => {
    return error instanceof OpenAI.RateLimitError && error.code === 'insufficient_quota';
  });
  assert.equal(sent.length, 2);
});
