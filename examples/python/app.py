"""An application that talks to OpenAI. The base URL is all that shiftgate asks of it."""

import json
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "sk-local"),
)
MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(session):
    # Requests with the same key stay on the same backend.
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Say hello in one word."}],
        extra_headers={"x-session-id": session},
    )
    backend = raw.headers.get("x-shiftgate-backend", "no shiftgate on the way")
    print(f"chat ({backend}): {raw.parse().choices[0].message.content}")


def stream():
    print("stream: ", end="")
    messages = [{"role": "user", "content": "Count to five."}]
    for chunk in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


def tool_call():
    messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    message = answer.choices[0].message
    for call in message.tool_calls or []:
        print(f"tool call: {call.function.name}({json.loads(call.function.arguments)})")
    if not message.tool_calls:
        print(f"tool call: none, but {message.content!r}")


if __name__ == "__main__":
    chat("session-1")
    stream()
    tool_call()
