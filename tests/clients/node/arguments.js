// Command line shared by the client scripts, and the tool that every conversation uses.
import assert from "node:assert/strict";
import { parseArgs } from "node:util";

const text = { type: "string" };
const names = ["base-url", "key", "bad-key", "poor-key", "model", "embedding-model"];
const options = Object.fromEntries(names.map((name) => [name, text]));
export const args = parseArgs({ options }).values;

export const SAID = " the quick brown fox jumps";
export const parameters = {
  type: "object",
  properties: { country: { type: "string", description: "Name of the country" } },
  required: ["country"],
};

export function getCapital({ country }) {
  assert.equal(country, "Paris"); // what the fake model says for any text
  return "The capital of France";
}

export async function refused(errorClass, call) {
  const error = await call().then(() => undefined, (error) => error);
  assert.ok(error?.constructor === errorClass, `${error} instead of ${errorClass.name}`);
  return error;
}
