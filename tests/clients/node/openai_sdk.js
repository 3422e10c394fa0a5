// openai-node: chat and responses with a tool, streamed and not, and its error classes.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { SAID, args, getCapital, parameters, refused } from "./arguments.js";

const { model } = args;
const open = (apiKey) =>
  new OpenAI({ baseURL: `${args["base-url"]}/v1`, apiKey, maxRetries: 0, timeout: 20_000 });
const client = open(args.key);
const fn = { name: "get_capital", description: "d", parameters };
const question = { role: "user", content: "What is the capital of France?" };

async function chatStreamed() {
  const tools = [{ type: "function", function: fn }];
  const ask = { model, tools, stream: true };
  const call = { id: "", type: "function", function: { name: "", arguments: "" } };
  for await (const chunk of await client.chat.completions.create({ ...ask, messages: [question] })) {
    for (const part of chunk.choices[0].delta.tool_calls ?? []) {
      call.id = part.id ?? call.id;
      call.function.name = part.function.name ?? call.function.name;
      call.function.arguments += part.function.arguments ?? "";
    }
  }
  assert.equal(call.function.name, "get_capital");
  const content = getCapital(JSON.parse(call.function.arguments));
  const messages = [
    question,
    { role: "assistant", content: null, tool_calls: [call] },
    { role: "tool", tool_call_id: call.id, content },
  ];
  let said = "";
  for await (const chunk of await client.chat.completions.create({ ...ask, messages })) {
    said += chunk.choices[0].delta.content ?? "";
  }
  assert.equal(said, SAID);
}

async function responsesStreamed() {
  const tools = [{ type: "function", strict: false, ...fn }];
  const first = await client.responses.stream({ model, tools, input: [question] }).finalResponse();
  const [call] = first.output;
  assert.equal(call.name, "get_capital");
  const output = getCapital(JSON.parse(call.arguments));
  const { call_id, name } = call;
  const input = [
    question,
    { type: "function_call", call_id, name, arguments: call.arguments },
    { type: "function_call_output", call_id, output },
  ];
  const done = await client.responses.stream({ model, tools, input }).finalResponse();
  assert.equal(done.output_text, SAID);
  assert.equal(done.usage.output_tokens, 5);
}

async function wholeAnswersAndErrors() {
  const ask = { model, messages: [{ role: "user", content: "hi" }] };
  const answer = await client.chat.completions.create(ask);
  assert.equal(answer.choices[0].message.content, SAID);
  assert.equal(answer.usage.completion_tokens, 5);
  const vectors = await client.embeddings.create({ model: args["embedding-model"], input: "a" });
  assert.equal(vectors.data[0].embedding.length, 8);
  assert.ok((await client.models.list()).data.length > 0);
  const stranger = open(args["bad-key"]);
  await refused(OpenAI.AuthenticationError, () => stranger.chat.completions.create(ask));
  const poor = open(args["poor-key"]);
  for (const stream of [false, true]) {
    await refused(OpenAI.RateLimitError, () => poor.chat.completions.create({ ...ask, stream }));
  }
}

await chatStreamed();
await responsesStreamed();
await wholeAnswersAndErrors();
console.log("openai-node ok");
