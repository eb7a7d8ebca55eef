"""The unmodified OpenAI Python SDK through shiftgate: python tests/sdk/check.py (needs `pip install openai`).

Starts `cargo run --release --example embed`, and runs the same steps with everything on OpenAI and on vLLM.
"""

import subprocess
import sys
import threading
import time

import openai

EMBED = ["cargo", "run", "--quiet", "--release", "--example", "embed"]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def ask(text):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}


def steps(client, backend):
    raw = client.chat.completions.with_raw_response.create(**ask("hello"))
    assert raw.headers["x-shiftgate-backend"] == backend, raw.headers
    assert raw.parse().choices[0].message.content
    print(f"  {backend}: chat")

    seen = list(client.chat.completions.create(**ask("hello"), stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in seen if c.choices)
    assert seen[-1].usage.completion_tokens > 0
    print(f"  {backend}: stream, {len(seen)} chunks, usage")

    call = client.chat.completions.create(**ask("weather?"), tools=TOOLS).choices[0]
    assert call.finish_reason == "tool_calls" and call.message.tool_calls[0].function.name == "get_weather"
    arguments = ""
    for chunk in client.chat.completions.create(**ask("weather?"), tools=TOOLS, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            arguments += delta.function.arguments or ""
    assert arguments == '{"city":"Paris"}', arguments
    print(f"  {backend}: tools, streamed and not")

    assert [model.id for model in client.models.list()]
    print(f"  {backend}: models")

    with client.chat.completions.create(**ask("hello"), stream=True) as stream:
        next(iter(stream))
    print(f"  {backend}: abort mid-stream")


def main():
    embed = subprocess.Popen(EMBED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        base_url = embed.stdout.readline().split()[1]

        def tell(line):
            embed.stdin.write(line + "\n")
            embed.stdin.flush()

        def reach(client, backend):
            for _ in range(200):
                if client.chat.completions.with_raw_response.create(**ask("x")).headers["x-shiftgate-backend"] == backend:
                    return
                time.sleep(0.05)
            sys.exit(f"the split never reached {backend}")

        client = openai.OpenAI(base_url=base_url, api_key="sk-demo")
        for percent, backend in [("0", "openai"), ("100", "qwen")]:
            tell(percent)
            reach(client, backend)
            steps(client, backend)

        tell("0")
        reach(client, "openai")
        tell("limit")
        time.sleep(0.2)
        try:
            client.with_options(max_retries=0).chat.completions.create(**ask("x"))
            sys.exit("a 429 was expected")
        except openai.RateLimitError as error:
            assert error.code == "rate_limit_exceeded" and error.response.headers["retry-after"] == "1"
        threading.Timer(0.5, tell, ["free"]).start()
        raw = client.chat.completions.with_raw_response.create(**ask("x"))
        assert raw.retries_taken >= 1 and raw.headers["x-shiftgate-reason"] == "pinned:retry"
        print(f"  openai: retry on 429, {raw.retries_taken} retries")

        try:
            openai.OpenAI(base_url=base_url, api_key="wrong").chat.completions.create(**ask("x"))
            sys.exit("a 401 was expected")
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key"
        print("  openai: error classes")
    finally:
        embed.kill()
    print(f"openai {openai.__version__} (Python): all passed")


main()
