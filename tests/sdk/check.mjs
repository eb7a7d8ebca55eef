// The unmodified OpenAI Node SDK through shiftgate: node tests/sdk/check.mjs [ENGINE...] (needs `npm install openai zod`;
// SDK names the folder where that was done, if it is not above this one).
//
// Starts the example `embed` (EMBED names a built one), runs one script of steps with everything on OpenAI, then again with
// the candidate at 100 % for each engine. Answers have to have the types and fields that OpenAI's had; what an engine
// cannot do has to come from the baseline, with the reason for it. check.py runs the same script.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const need = createRequire(process.env.SDK ? `${process.env.SDK}/` : import.meta.url);
const { default: OpenAI } = need("openai");
const { zodResponseFormat, zodTextFormat } = need("openai/helpers/zod");
const { z } = need("zod");

const ENGINES = ["vllm", "sglang", "trtllm", "tgi", "dashscope", "compatible"];
const PINS = {
  tgi: { choices: "choices", vision: "vision", responses: "endpoint" },
  dashscope: { choices: "choices", responses: "endpoint" },
  compatible: { choices: "choices", vision: "vision", parse: "format", parseStream: "format", logprobs: "logprobs",
    responses: "endpoint" },
};
// Fields that only OpenAI can fill; null elsewhere. TGI does not return the bytes of a token.
const ONLY_OPENAI = [
  /\.(service_tier|system_fingerprint|obfuscation)$/,
  /logprobs\.content\[\](\.top_logprobs\[\])?\.bytes(\[\])?$/,
  /^(\[\]\.response)?\.(temperature|top_p|top_logprobs|text\.verbosity)$/,
];
// Fields whose values are part of the contract.
const WORDS = ["finish_reason", "object", "role", "type", "status"];

const PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const FUNCTION = { name: "get_weather", description: "Weather in a city", parameters };
const TOOL = { type: "function", function: FUNCTION };
const TIME = { type: "function", function: { ...FUNCTION, name: "get_time" } };
const Place = z.object({ city: z.string(), sure: z.boolean(), score: z.number().int() });
const Trip = z.object({ places: z.array(Place), note: z.string().nullable() });

const ask = (text = "hello", more = {}) => ({ model: "gpt-4o", messages: [{ role: "user", content: text }], ...more });
const all = async (stream) => {
  const seen = [];
  for await (const one of await stream) seen.push(one);
  return seen;
};
const text = (seen) => seen.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
const calls = (seen) => seen.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []);

const STEPS = {
  async chat(client) {
    const answer = await client.chat.completions.create(
      ask("hello", { temperature: 0.5, top_p: 0.9, seed: 7, user: "u", max_completion_tokens: 64 }));
    assert.ok(answer.choices[0].message.content && answer.usage.completion_tokens > 0);
    assert.ok(answer.model.startsWith("gpt-4o"), answer.model);
    const messages = [{ role: "developer", content: "Be brief." }, { role: "user", content: [{ type: "text", text: "hi" }] }];
    return [answer, await client.chat.completions.create({ model: "gpt-4o", messages })];
  },
  async stop(client) {
    const whole = (await client.chat.completions.create(ask("where to stop"))).choices[0].message.content;
    const word = whole.split(" ")[2];
    const cut = await client.chat.completions.create(ask("where to stop", { stop: word }));
    assert.equal(cut.choices[0].message.content, whole.split(word)[0]);
    const seen = await all(client.chat.completions.create(ask("where to stop", { stop: [word], stream: true })));
    assert.equal(text(seen), whole.split(word)[0]);
    return [cut, seen];
  },
  async stream(client) {
    const seen = await all(client.chat.completions.create(ask("hello", { stream: true })));
    assert.ok(text(seen));
    assert.equal(seen[0].choices[0].delta.role, "assistant");
    assert.equal(new Set(seen.map((chunk) => chunk.id)).size, 1);
    assert.deepEqual(seen.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean), ["stop"]);
    const aborted = await client.chat.completions.create(ask("hello", { stream: true }));
    for await (const _ of aborted) { aborted.controller.abort(); break; }
    return [seen];
  },
  async streamUsage(client) {
    const seen = await all(client.chat.completions.create(ask("hello", { stream: true, stream_options: { include_usage: true } })));
    const last = seen.pop();
    assert.ok(last.choices.length === 0 && last.usage.completion_tokens > 0);
    assert.ok(seen.every((chunk) => chunk.usage === null && chunk.choices.length > 0));
    return [[...seen, last]];
  },
  async tools(client) {
    const auto = await client.chat.completions.create(ask("weather?", { tools: [TOOL] }));
    const call = auto.choices[0].message.tool_calls[0];
    assert.equal(auto.choices[0].finish_reason, "tool_calls");
    assert.ok(JSON.parse(call.function.arguments).city && call.id.startsWith("call_") && call.id.length <= 40);
    const named = await client.chat.completions.create(
      ask("q", { tools: [TOOL], tool_choice: { type: "function", function: { name: "get_weather" } } }));
    assert.equal(named.choices[0].message.tool_calls[0].function.name, "get_weather");
    const seen = await all(client.chat.completions.create(ask("weather?", { tools: [TOOL], stream: true })));
    const deltas = calls(seen);
    assert.ok(JSON.parse(deltas.map((delta) => delta.function.arguments ?? "").join("")).city);
    assert.deepEqual(deltas.map((delta) => Boolean(delta.id)), deltas.map((_, at) => at === 0));
    const final = await client.chat.completions.stream(ask("weather?", { tools: [TOOL] })).finalChatCompletion();
    const messages = [{ role: "user", content: "weather?" }, auto.choices[0].message,
      { role: "tool", tool_call_id: call.id, content: "sunny" }];
    const told = await client.chat.completions.create({ model: "gpt-4o", messages, tools: [TOOL] });
    assert.ok(told.choices[0].message.content && !told.choices[0].message.tool_calls);
    return [auto, named, seen, final, told];
  },
  async parallelTools(client, engine) {
    const both = await client.chat.completions.create(ask("weather and the time of two cities", { tools: [TOOL, TIME] }));
    const made = both.choices[0].message.tool_calls;
    // DashScope needs a parameter for it, TGI never makes a second call.
    assert.deepEqual(made.map((call) => call.function.name), engine === "tgi" ? ["get_weather"] : ["get_weather", "get_time"]);
    assert.equal(new Set(made.map((call) => call.id)).size, made.length);
    const single = ask("weather and the time of two cities", { tools: [TOOL, TIME], parallel_tool_calls: false });
    const one = await client.chat.completions.create(single);
    assert.equal(one.choices[0].message.tool_calls.length, 1);
    const seen = await all(client.chat.completions.create({ ...single, stream: true }));
    assert.deepEqual([...new Set(calls(seen).map((delta) => delta.index))], [0]);
    return [both, one, seen, await client.chat.completions.create(ask("q", { tools: [TOOL], tool_choice: "required" }))];
  },
  async jsonObject(client) {
    const answer = await client.chat.completions.create(
      ask("JSON, please", { response_format: { type: "json_object" }, max_tokens: 100 }));
    assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
    return [answer];
  },
  async parse(client) {
    const [place, trip] = await Promise.all([Place, Trip].map((form) =>
      client.chat.completions.parse(ask("JSON, please", { response_format: zodResponseFormat(form, "answer") }))));
    assert.ok(Place.parse(place.choices[0].message.parsed) && Trip.parse(trip.choices[0].message.parsed));
    return [place, trip];
  },
  async parseStream(client) {
    const final = await client.chat.completions
      .stream(ask("JSON, please", { response_format: zodResponseFormat(Place, "answer") })).finalChatCompletion();
    assert.ok(Place.parse(final.choices[0].message.parsed));
    return [final];
  },
  async vision(client) {
    const content = [{ type: "text", text: "What is it?" }, { type: "image_url", image_url: { url: PICTURE, detail: "low" } }];
    const answer = await client.chat.completions.create({ model: "gpt-4o", messages: [{ role: "user", content }] });
    assert.ok(answer.choices[0].message.content);
    return [answer];
  },
  async choices(client) {
    const answer = await client.chat.completions.create(ask("hello", { n: 3, temperature: 0 }));
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
    const seen = await all(client.chat.completions.create(ask("hello", { n: 3, stream: true })));
    assert.equal(new Set(seen.flatMap((chunk) => chunk.choices.map((choice) => choice.index))).size, 3);
    return [answer, seen];
  },
  async logprobs(client) {
    const answer = await client.chat.completions.create(ask("hello", { logprobs: true, top_logprobs: 2 }));
    const entries = answer.choices[0].logprobs.content;
    assert.equal(entries.map((entry) => entry.token).join("").trim(), answer.choices[0].message.content);
    assert.ok(entries.every((entry) => entry.top_logprobs.length === 2));
    return [answer, await all(client.chat.completions.create(ask("hello", { logprobs: true, stream: true })))];
  },
  async functions(client) {
    const auto = await client.chat.completions.create(ask("weather?", { functions: [FUNCTION] }));
    assert.equal(auto.choices[0].finish_reason, "function_call");
    assert.ok(JSON.parse(auto.choices[0].message.function_call.arguments).city && !auto.choices[0].message.tool_calls);
    const named = await client.chat.completions.create(ask("q", { functions: [FUNCTION], function_call: { name: "get_weather" } }));
    assert.ok(named.choices[0].finish_reason === "stop" && named.choices[0].message.function_call);
    const seen = await all(client.chat.completions.create(ask("weather?", { functions: [FUNCTION], stream: true })));
    assert.ok(JSON.parse(seen.map((chunk) => chunk.choices[0].delta.function_call?.arguments ?? "").join("")).city);
    const messages = [{ role: "user", content: "weather?" }, auto.choices[0].message,
      { role: "function", name: "get_weather", content: "sunny" }];
    return [auto, named, seen, await client.chat.completions.create({ model: "gpt-4o", messages, functions: [FUNCTION] })];
  },
  async responses(client) {
    const input = { model: "gpt-4o", input: "hello", store: false };
    const whole = await client.responses.create({ ...input, instructions: "Be brief.", max_output_tokens: 64 });
    assert.ok(whole.output_text && whole.status === "completed" && whole.id.startsWith("resp_"));
    assert.deepEqual(whole.output.map((item) => item.type), ["message"]);
    const seen = await all(client.responses.create({ ...input, stream: true }));
    assert.deepEqual(seen.map((event) => event.sequence_number), seen.map((_, at) => at));
    assert.ok(seen[0].type === "response.created" && seen.at(-1).type === "response.completed");
    const said = seen.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
    assert.equal(said, seen.at(-1).response.output[0].content[0].text);
    const weather = { ...input, input: "weather?", tools: [{ type: "function", strict: true, ...FUNCTION }] };
    const called = await client.responses.create(weather);
    assert.ok(called.output.length === 1 && JSON.parse(called.output[0].arguments).city);
    const streamed = await all(client.responses.create({ ...weather, stream: true }));
    const parsed = await client.responses.parse({ ...input, input: "JSON, please", text: { format: zodTextFormat(Place, "answer") } });
    assert.ok(Place.parse(parsed.output_parsed));
    return [whole, seen, called, streamed, parsed];
  },
  async models(client) {
    const listed = (await client.models.list()).data;
    assert.ok(listed.length > 0);
    return [listed];
  },
};
const BASELINE = ["models"];

// Returns every path with the type found there; null counts as absent, entries of a list are merged.
function shape(value, path = "", into = new Set()) {
  if (Array.isArray(value)) {
    into.add(`${path}[]`);
    for (const one of value) shape(one, `${path}[]`, into);
  } else if (value !== null && typeof value === "object") {
    for (const [name, field] of Object.entries(value)) {
      // Parsed arguments and answers have the application's own schema.
      if (!["parsed", "parsed_arguments", "output_parsed", "parameters", "_request_id"].includes(name)) shape(field, `${path}.${name}`, into);
    }
  } else if (value !== null && value !== undefined) {
    into.add(`${path}: ${WORDS.includes(path.split(".").at(-1)) ? value : typeof value}`);
  }
  return into;
}

const command = process.env.EMBED ? [process.env.EMBED] : ["cargo", "run", "--quiet", "--release", "--example", "embed"];
const embed = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
const lines = createInterface({ input: embed.stdout })[Symbol.asyncIterator]();
const failures = [];
let seen = [];

async function tell(line) {
  embed.stdin.write(`${line}\n`);
  assert.equal((await lines.next()).value, `done ${line}`);
}

function whoShouldAnswer(engine, name) {
  if (engine === "openai" || BASELINE.includes(name)) return ["openai", null];
  const pin = PINS[engine]?.[name];
  return pin ? ["openai", `pinned:${pin}`] : ["qwen", null];
}

async function run(client, engine, name, expected) {
  seen = [];
  let answers;
  try {
    answers = JSON.parse(JSON.stringify(await STEPS[name](client, engine)));
  } catch (error) {
    const where = /check\.mjs:(\d+)/.exec(error.stack ?? "")?.[1];
    failures.push(`${engine}: ${name}: line ${where}: ${String(error.message).slice(0, 300)}; ${seen.at(-1)}`);
    return null;
  }
  const [backend, reason] = whoShouldAnswer(engine, name);
  for (const [by, why] of seen) {
    if (by !== backend || (reason && why !== reason)) failures.push(`${engine}: ${name}: answered by ${by} (${why}), not by ${backend} (${reason})`);
  }
  const shapes = answers.map((answer) => shape(answer));
  (expected ?? shapes).forEach((theirs, place) => {
    const ours = shapes[place];
    const more = [...ours].filter((path) => !theirs.has(path)).sort();
    const less = [...theirs].filter((path) => !ours.has(path) && !ONLY_OPENAI.some((one) => one.test(path.split(":")[0]))).sort();
    for (const [only, side] of [[more, "only here"], [less, "only OpenAI's"]]) {
      if (only.length) failures.push(`${engine}: ${name}: answer ${place}: ${side}: ${only.slice(0, 8).join(", ")}`);
    }
  });
  return shapes;
}

const ERRORS = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError, 404: OpenAI.NotFoundError,
  409: OpenAI.ConflictError, 422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError, 503: OpenAI.InternalServerError,
};
// A candidate's 401, 403 and 404 are the operator's fault; 422 is OpenAI's 400.
const FOREIGN = { ...ERRORS, 401: OpenAI.InternalServerError, 403: OpenAI.InternalServerError,
  404: OpenAI.InternalServerError, 422: OpenAI.BadRequestError };

async function errors(client, engine) {
  const [side, classes] = engine === "openai" ? ["openai", ERRORS] : ["candidate", FOREIGN];
  await tell("failover off");
  for (const [status, expected] of Object.entries(classes)) {
    await tell(`${side} ${status}`);
    for (const stream of [false, true]) {
      // TGI answers every refused stream with 422 and has no other error texts.
      if (engine === "tgi" && stream && !["401", "404", "422"].includes(status)) continue;
      try {
        const answer = await client.chat.completions.create(ask("hello", { stream }));
        if (stream) await all(answer);
        failures.push(`${engine}: errors: ${status} was an answer`);
      } catch (error) {
        const keys = Object.keys(error.error ?? {}).sort().join();
        const whole = keys === "code,message,param,type" && typeof error.error.message === "string";
        const coded = error.code === null || typeof error.code === "string";
        if (error.constructor !== expected || !whole || !coded) {
          failures.push(`${engine}: errors: ${status} (stream ${stream}) is ${error.constructor.name} ${JSON.stringify(error.error)}`);
        }
      }
    }
  }
  await tell(`${side} 200`);
  await tell("failover on");
  if (engine === "openai") {
    await tell("limit");
    setTimeout(() => embed.stdin.write("free\n"), 500);
    await client.chat.completions.create(ask("x"), { maxRetries: 3 });
    assert.equal((await lines.next()).value, "done free");
    if (seen.at(-1)[1] !== "pinned:retry") failures.push(`openai: errors: a retry was ${seen.at(-1)}`);
    await assert.rejects(new OpenAI({ baseURL: client.baseURL, apiKey: "wrong" }).chat.completions.create(ask("x")), OpenAI.AuthenticationError);
    return;
  }
  await tell("candidate 500");
  await client.chat.completions.create(ask());
  if (seen.at(-1)[0] !== "openai" || !seen.at(-1)[1].startsWith("failover:")) failures.push(`${engine}: errors: failover was ${seen.at(-1)}`);
  await tell("candidate 200");
}

try {
  const baseURL = (await lines.next()).value.split(" ")[1];
  await lines.next();
  const note = async (url, init) => {
    const response = await fetch(url, init);
    seen.push([response.headers.get("x-shiftgate-backend"), response.headers.get("x-shiftgate-reason")]);
    return response;
  };
  const client = new OpenAI({ baseURL, apiKey: "sk-demo", maxRetries: 0, fetch: note });
  const expected = {};
  for (const engine of ["openai", ...(process.argv.length > 2 ? process.argv.slice(2) : ENGINES)]) {
    const before = failures.length;
    if (engine !== "openai") {
      await tell(`engine ${engine}`);
      await tell("100");
    }
    for (const name of Object.keys(STEPS)) {
      const shapes = await run(client, engine, name, expected[name]);
      if (engine === "openai") expected[name] = shapes;
    }
    await errors(client, engine);
    console.log(`${engine}: ${Object.keys(STEPS).length + 1} steps, ${failures.length - before} failures`);
  }
} finally {
  embed.kill();
}
for (const failure of failures) console.log(`  ${failure}`);
console.log(`openai (Node): ${failures.length ? "failed" : "all passed"}`);
process.exitCode = failures.length ? 1 : 0;
