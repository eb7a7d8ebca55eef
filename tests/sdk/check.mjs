// The unmodified OpenAI Node SDK through shiftgate: node tests/sdk/check.mjs (needs `npm install openai`).
// Starts `cargo run --release --example embed`, and runs the same steps with everything on OpenAI and on vLLM.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

const ask = (text, more = {}) => ({ model: "gpt-4o", messages: [{ role: "user", content: text }], ...more });
const tools = [{ type: "function", function: { name: "get_weather", parameters: {
  type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];

async function steps(client, backend) {
  const { data, response } = await client.chat.completions.create(ask("hello")).withResponse();
  assert.equal(response.headers.get("x-shiftgate-backend"), backend);
  assert.ok(data.choices[0].message.content);

  let text = "", usage;
  for await (const chunk of await client.chat.completions.create(
    ask("hello", { stream: true, stream_options: { include_usage: true } }))) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text && usage.completion_tokens > 0);

  const call = (await client.chat.completions.create(ask("weather?", { tools }))).choices[0];
  assert.equal(call.finish_reason, "tool_calls");
  const streamed = client.chat.completions.stream(ask("weather?", { tools }));
  const final = await streamed.finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.arguments, '{"city":"Paris"}');

  assert.ok((await client.models.list()).data.length > 0);

  const aborted = await client.chat.completions.create(ask("hello", { stream: true }));
  for await (const _ of aborted) { aborted.controller.abort(); break; }
  console.log(`  ${backend}: chat, stream, usage, tools, models, abort mid-stream`);
}

const embed = spawn("cargo", ["run", "--quiet", "--release", "--example", "embed"], { stdio: ["pipe", "pipe", "inherit"] });
try {
  const lines = createInterface({ input: embed.stdout })[Symbol.asyncIterator]();
  const baseURL = (await lines.next()).value.split(" ")[1];
  const tell = (line) => embed.stdin.write(`${line}\n`);
  const client = new OpenAI({ baseURL, apiKey: "sk-demo" });
  const who = async () => (await client.chat.completions.create(ask("x")).withResponse()).response.headers;
  const reach = async (backend) => {
    for (let round = 0; round < 200; round++) {
      if ((await who()).get("x-shiftgate-backend") === backend) return;
      await sleep(50);
    }
    assert.fail(`the split never reached ${backend}`);
  };
  for (const [percent, backend] of [["0", "openai"], ["100", "qwen"]]) {
    tell(percent);
    await reach(backend);
    await steps(client, backend);
  }
  tell("0");
  await reach("openai");
  tell("limit");
  await sleep(200);
  await assert.rejects(new OpenAI({ baseURL, apiKey: "sk-demo", maxRetries: 0 }).chat.completions.create(ask("x")), OpenAI.RateLimitError);
  globalThis.setTimeout(() => tell("free"), 500);
  assert.equal((await who()).get("x-shiftgate-reason"), "pinned:retry");
  await assert.rejects(new OpenAI({ baseURL, apiKey: "wrong" }).chat.completions.create(ask("x")), OpenAI.AuthenticationError);
  console.log("  openai: retry on 429, error classes");
  console.log("openai (Node): all passed");
} finally {
  embed.kill();
}
