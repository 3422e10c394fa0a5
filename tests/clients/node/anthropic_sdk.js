// @anthropic-ai/sdk: messages with a tool, streamed and not, and its error classes.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { SAID, args, getCapital, parameters, refused } from "./arguments.js";

const { model } = args;
const open = (apiKey) =>
  new Anthropic({ baseURL: args["base-url"], apiKey, maxRetries: 0, timeout: 20_000 });
const client = open(args.key);
const tools = [{ name: "get_capital", description: "d", input_schema: parameters }];
const ask = { model, max_tokens: 100 };

async function streamed() {
  const question = { role: "user", content: "What is the capital of France?" };
  const first = await client.messages.stream({ ...ask, tools, messages: [question] }).finalMessage();
  assert.equal(first.stop_reason, "tool_use");
  const call = first.content.at(-1);
  const content = getCapital(call.input);
  const messages = [
    question,
    { role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content }] },
  ];
  const done = await client.messages.stream({ ...ask, tools, messages }).finalMessage();
  assert.equal(done.content[0].text, SAID);
  assert.equal(done.usage.output_tokens, 5);
}

async function wholeAnswersAndErrors() {
  const messages = [{ role: "user", content: "hi" }];
  const answer = await client.messages.create({ ...ask, messages });
  assert.equal(answer.content[0].text, SAID);
  assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
  const stranger = open(args["bad-key"]);
  const call = () => stranger.messages.create({ ...ask, messages });
  const error = await refused(Anthropic.AuthenticationError, call);
  assert.equal(error.error.error.type, "authentication_error");
  const poor = open(args["poor-key"]);
  for (const stream of [false, true]) {
    const broke = () => poor.messages.create({ ...ask, messages, stream });
    await refused(Anthropic.RateLimitError, broke);
  }
}

await streamed();
await wholeAnswersAndErrors();
console.log("anthropic-node ok");
