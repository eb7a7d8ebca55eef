// An application that talks to OpenAI. The base URL is all that shiftgate asks of it.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8080/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "sk-local",
});
const model = process.env.OPENAI_MODEL ?? "gpt-4o-mini";
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

async function chat(session) {
  // Requests with the same key stay on the same backend.
  const { data, response } = await client.chat.completions
    .create(
      { model, messages: [{ role: "user", content: "Say hello in one word." }] },
      { headers: { "x-session-id": session } },
    )
    .withResponse();
  const backend = response.headers.get("x-shiftgate-backend") ?? "no shiftgate on the way";
  console.log(`chat (${backend}): ${data.choices[0].message.content}`);
}

async function stream() {
  process.stdout.write("stream: ");
  const messages = [{ role: "user", content: "Count to five." }];
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  }
  console.log();
}

async function toolCall() {
  const messages = [{ role: "user", content: "What is the weather in Oslo?" }];
  const answer = await client.chat.completions.create({ model, messages, tools: [weather] });
  const { tool_calls: calls, content } = answer.choices[0].message;
  for (const call of calls ?? []) {
    console.log(`tool call: ${call.function.name}(${call.function.arguments})`);
  }
  if (!calls?.length) console.log(`tool call: none, but ${JSON.stringify(content)}`);
}

await chat("session-1");
await stream();
await toolCall();
