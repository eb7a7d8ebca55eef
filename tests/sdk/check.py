"""The unmodified OpenAI Python SDK through shiftgate: python tests/sdk/check.py [ENGINE...] (needs `pip install openai`).

Starts the example `embed` (EMBED names a built one), runs one script of steps with everything on OpenAI, then again with
the candidate at 100 % for each engine. Answers have to have the types and fields that OpenAI's had; what an engine cannot
do has to come from the baseline, with the reason for it.
"""

import json
import os
import re
import subprocess
import sys
import threading

import openai
from pydantic import BaseModel

ENGINES = ["vllm", "sglang", "trtllm", "tgi", "dashscope", "compatible"]
RELEASE = ["cargo", "run", "--quiet", "--release", "--example", "embed"]
PINS = {
    "tgi": {"choices": "choices", "vision": "vision", "responses": "endpoint"},
    "dashscope": {"choices": "choices", "responses": "endpoint"},
    "compatible": {"choices": "choices", "vision": "vision", "parse": "format", "parse_stream": "format",
                   "logprobs": "logprobs", "responses": "endpoint"},
}
# Fields that only OpenAI can fill; null elsewhere. TGI does not return the bytes of a token.
ONLY_OPENAI = re.compile(
    r"\.(service_tier|system_fingerprint|obfuscation)$|logprobs\.content\[\](\.top_logprobs\[\])?\.bytes(\[\])?$"
    r"|^(\[\]\.response)?\.(temperature|top_p|top_logprobs|text\.verbosity)$")
# Fields whose values are part of the contract.
WORDS = ("finish_reason", "object", "role", "type", "status")

PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"name": "get_weather", "description": "Weather in a city", "parameters": CITY}
TOOL = {"type": "function", "function": FUNCTION}
TIME = {"type": "function", "function": {**FUNCTION, "name": "get_time"}}


class Place(BaseModel):
    city: str
    sure: bool
    score: int


class Trip(BaseModel):
    places: list[Place]
    note: str | None


def ask(text="hello", **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def chat(client, _):
    answer = client.chat.completions.create(**ask(temperature=0.5, top_p=0.9, seed=7, user="u", max_completion_tokens=64))
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0
    assert answer.model.startswith("gpt-4o"), answer.model
    developer = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    return [answer, client.chat.completions.create(model="gpt-4o", messages=developer)]


def stop(client, _):
    text = client.chat.completions.create(**ask("where to stop")).choices[0].message.content
    word = text.split(" ")[2]
    whole = client.chat.completions.create(**ask("where to stop", stop=word))
    assert whole.choices[0].message.content == text.split(word)[0], (text, whole.choices[0].message.content)
    streamed = list(client.chat.completions.create(**ask("where to stop", stop=[word]), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text.split(word)[0]
    return [whole, streamed]


def stream(client, _):
    seen = list(client.chat.completions.create(**ask(), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen)
    assert seen[0].choices[0].delta.role == "assistant" and len({chunk.id for chunk in seen}) == 1
    assert [chunk.choices[0].finish_reason for chunk in seen if chunk.choices[0].finish_reason] == ["stop"]
    return [seen]


def stream_usage(client, _):
    seen = list(client.chat.completions.create(**ask(), stream=True, stream_options={"include_usage": True}))
    assert not seen[-1].choices and seen[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None and chunk.choices for chunk in seen[:-1])
    return [seen]


def tools(client, _):
    auto = client.chat.completions.create(**ask("weather?", tools=[TOOL]))
    call = auto.choices[0].message.tool_calls[0]
    assert auto.choices[0].finish_reason == "tool_calls" and json.loads(call.function.arguments)["city"]
    assert call.id.startswith("call_") and len(call.id) <= 40, call.id
    # Two ways to a tool call: a choice by name, and the helper that assembles a stream.
    named = client.chat.completions.create(**ask("q", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}))
    assert named.choices[0].message.tool_calls[0].function.name == "get_weather"
    seen = list(client.chat.completions.create(**ask("weather?", tools=[TOOL]), stream=True))
    deltas = [delta for chunk in seen for delta in chunk.choices[0].delta.tool_calls or []]
    assert json.loads("".join(delta.function.arguments or "" for delta in deltas))["city"]
    assert [bool(delta.id) for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    with client.chat.completions.stream(**ask("weather?", tools=[TOOL])) as events:
        final = events.get_final_completion()
    history = [{"role": "user", "content": "weather?"}, auto.choices[0].message.to_dict(),
               {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    told = client.chat.completions.create(model="gpt-4o", messages=history, tools=[TOOL])
    assert told.choices[0].message.content and not told.choices[0].message.tool_calls
    return [auto, named, seen, final, told]


def parallel_tools(client, engine):
    both = client.chat.completions.create(**ask("weather and the time of two cities", tools=[TOOL, TIME]))
    calls = both.choices[0].message.tool_calls
    names = [call.function.name for call in calls]
    # DashScope needs a parameter for it, TGI never makes a second call.
    assert names == (["get_weather"] if engine == "tgi" else ["get_weather", "get_time"]), names
    assert len({call.id for call in calls}) == len(calls)
    one = client.chat.completions.create(**ask("weather and the time of two cities", tools=[TOOL, TIME], parallel_tool_calls=False))
    assert len(one.choices[0].message.tool_calls) == 1
    seen = list(client.chat.completions.create(**ask("weather and the time of two cities", tools=[TOOL, TIME], parallel_tool_calls=False), stream=True))
    assert {delta.index for chunk in seen for delta in chunk.choices[0].delta.tool_calls or []} == {0}
    required = client.chat.completions.create(**ask("q", tools=[TOOL], tool_choice="required"))
    return [both, one, seen, required]


def json_object(client, _):
    answer = client.chat.completions.create(**ask("JSON, please", response_format={"type": "json_object"}, max_tokens=100))
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
    return [answer]


def parse(client, _):
    answers = [client.chat.completions.parse(**ask("JSON, please"), response_format=form) for form in (Place, Trip)]
    assert isinstance(answers[0].choices[0].message.parsed, Place) and answers[1].choices[0].message.parsed.places
    return answers


def parse_stream(client, _):
    with client.chat.completions.stream(**ask("JSON, please"), response_format=Place) as events:
        final = events.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Place)
    return [final]


def vision(client, _):
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}]
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content
    return [answer]


def choices(client, _):
    answer = client.chat.completions.create(**ask(n=3, temperature=0))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    seen = list(client.chat.completions.create(**ask(n=3), stream=True))
    assert {choice.index for chunk in seen for choice in chunk.choices} == {0, 1, 2}
    return [answer, seen]


def logprobs(client, _):
    answer = client.chat.completions.create(**ask(logprobs=True, top_logprobs=2))
    entries = answer.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries).strip() == answer.choices[0].message.content
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    return [answer, list(client.chat.completions.create(**ask(logprobs=True), stream=True))]


def functions(client, _):
    auto = client.chat.completions.create(**ask("weather?", functions=[FUNCTION]))
    assert auto.choices[0].finish_reason == "function_call"
    assert json.loads(auto.choices[0].message.function_call.arguments)["city"] and not auto.choices[0].message.tool_calls
    named = client.chat.completions.create(**ask("q", functions=[FUNCTION], function_call={"name": "get_weather"}))
    assert named.choices[0].finish_reason == "stop" and named.choices[0].message.function_call
    seen = list(client.chat.completions.create(**ask("weather?", functions=[FUNCTION]), stream=True))
    deltas = [chunk.choices[0].delta.function_call for chunk in seen if chunk.choices[0].delta.function_call]
    assert json.loads("".join(delta.arguments or "" for delta in deltas))["city"]
    history = [{"role": "user", "content": "weather?"}, auto.choices[0].message.to_dict(),
               {"role": "function", "name": "get_weather", "content": "sunny"}]
    return [auto, named, seen, client.chat.completions.create(model="gpt-4o", messages=history, functions=[FUNCTION])]


def responses(client, _):
    whole = client.responses.create(model="gpt-4o", input="hello", store=False, instructions="Be brief.", max_output_tokens=64)
    assert whole.output_text and whole.status == "completed" and whole.id.startswith("resp_")
    assert [item.type for item in whole.output] == ["message"], whole.output
    seen = list(client.responses.create(model="gpt-4o", input="hello", store=False, stream=True))
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[0].type == "response.created" and seen[-1].type == "response.completed"
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == seen[-1].response.output_text
    tool = {"type": "function", "strict": True, **FUNCTION}
    called = client.responses.create(model="gpt-4o", input="weather?", store=False, tools=[tool])
    assert [item.type for item in called.output] == ["function_call"] and json.loads(called.output[0].arguments)["city"]
    streamed = list(client.responses.create(model="gpt-4o", input="weather?", store=False, tools=[tool], stream=True))
    parsed = client.responses.parse(model="gpt-4o", input="JSON, please", store=False, text_format=Place)
    assert isinstance(parsed.output_parsed, Place)
    return [whole, seen, called, streamed, parsed]


def models(client, _):
    listed = list(client.models.list())
    assert listed
    return listed


STEPS = [chat, stop, stream, stream_usage, tools, parallel_tools, json_object, parse, parse_stream, vision, choices, logprobs,
         functions, responses, models]
BASELINE = {"models"}


def plain(value):
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", warnings=False)
    return value


def shape(value, path="", into=None):
    """Returns every path with the type found there; null counts as absent, entries of a list are merged."""
    into = set() if into is None else into
    if isinstance(value, dict):
        for name, field in value.items():
            # Parsed arguments and answers have the application's own schema.
            if name not in ("parsed", "parsed_arguments", "parameters"):
                shape(field, f"{path}.{name}", into)
    elif isinstance(value, list):
        into.add(f"{path}[]")
        for one in value:
            shape(one, f"{path}[]", into)
    elif value is not None:
        kind = "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__
        into.add(f"{path}: {value if path.rsplit('.', 1)[-1] in WORDS else kind}")
    return into


class Sidecar:
    def __init__(self):
        command = [os.environ["EMBED"]] if "EMBED" in os.environ else RELEASE
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.base_url = self.process.stdout.readline().split()[1]
        self.process.stdout.readline()
        self.headers = {}
        keep = openai.DefaultHttpxClient(event_hooks={"response": [lambda response: self.note(response.headers)]})
        self.client = openai.OpenAI(base_url=self.base_url, api_key="sk-demo", max_retries=0, http_client=keep)
        self.seen = []

    def note(self, headers):
        self.headers = headers
        self.seen.append((headers["x-shiftgate-backend"], headers["x-shiftgate-reason"]))

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == f"done {line}", answer


def who_should_answer(engine, name):
    if engine == "openai" or name in BASELINE:
        return "openai", None
    pin = PINS.get(engine, {}).get(name)
    return ("openai", f"pinned:{pin}") if pin else ("qwen", None)


def run(sidecar, engine, name, step, expected, failures):
    sidecar.seen.clear()
    try:
        answers = [plain(answer) for answer in step(sidecar.client, engine)]
    except Exception as error:  # Each step is told of by itself.
        where = error.__traceback__
        while where.tb_next and where.tb_next.tb_frame.f_code.co_filename == __file__:
            where = where.tb_next
        failures.append(f"{engine}: {name}: line {where.tb_lineno}: {type(error).__name__}: {str(error)[:300]}; {sidecar.seen[-1:]}")
        return None
    backend, reason = who_should_answer(engine, name)
    for got in set(sidecar.seen):
        if got[0] != backend or (reason and got[1] != reason):
            failures.append(f"{engine}: {name}: answered by {got}, not by {(backend, reason)}")
    shapes = [shape(answer) for answer in answers]
    for place, (ours, theirs) in enumerate(zip(shapes, expected or shapes)):
        missing = {path for path in theirs - ours if not ONLY_OPENAI.search(path.split(":")[0])}
        for only, side in [(ours - theirs, "only here"), (missing, "only OpenAI's")]:
            if told := sorted(only):
                failures.append(f"{engine}: {name}: answer {place}: {side}: {', '.join(told[:8])}")
    return shapes


ERRORS = {
    400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError, 404: openai.NotFoundError,
    409: openai.ConflictError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError,
    500: openai.InternalServerError, 503: openai.InternalServerError,
}
# A candidate's 401, 403 and 404 are the operator's fault; 422 is OpenAI's 400.
FOREIGN = {**ERRORS, 401: openai.InternalServerError, 403: openai.InternalServerError, 404: openai.InternalServerError,
           422: openai.BadRequestError}


def errors(sidecar, engine, failures):
    side, classes = ("openai", ERRORS) if engine == "openai" else ("candidate", FOREIGN)
    sidecar.tell("failover off")
    for status, expected in classes.items():
        sidecar.tell(f"{side} {status}")
        for streamed in (False, True):
            # TGI answers every refused stream with 422 and has no other error texts.
            if engine == "tgi" and streamed and status not in (401, 404, 422):
                continue
            try:
                list(sidecar.client.chat.completions.create(**ask(), stream=streamed))
                failures.append(f"{engine}: errors: {status} was an answer")
            except openai.APIStatusError as error:
                body = error.body if isinstance(error.body, dict) else {}
                whole = set(body) == {"message", "type", "param", "code"} and isinstance(body["message"], str)
                if type(error) is not expected or not whole or not isinstance(body["code"], (str, type(None))):
                    failures.append(f"{engine}: errors: {status} (stream {streamed}) is {type(error).__name__} {error.body}")
    sidecar.tell(f"{side} 200")
    sidecar.tell("failover on")
    if engine == "openai":
        sidecar.tell("limit")
        try:
            sidecar.client.chat.completions.create(**ask())
            failures.append("openai: a 429 was expected")
        except openai.RateLimitError as error:
            assert error.code == "rate_limit_exceeded" and error.response.headers["retry-after"] == "1"
        # A retry by the SDK goes to the baseline, whatever the percent.
        threading.Timer(0.5, sidecar.process.stdin.write, ["free\n"]).start()
        threading.Timer(0.6, sidecar.process.stdin.flush).start()
        sidecar.client.with_options(max_retries=3).chat.completions.create(**ask())
        assert sidecar.process.stdout.readline() == "done free\n"
        if sidecar.seen[-1][1] != "pinned:retry":
            failures.append(f"openai: errors: a retry was {sidecar.seen[-1]}")
        try:
            sidecar.client.with_options(api_key="wrong").chat.completions.create(**ask())
            failures.append("openai: a 401 was expected")
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key"
        return
    sidecar.tell("candidate 500")
    sidecar.client.chat.completions.create(**ask())
    if sidecar.seen[-1][0] != "openai" or not sidecar.seen[-1][1].startswith("failover:"):
        failures.append(f"{engine}: errors: failover was {sidecar.seen[-1]}")
    sidecar.tell("candidate 200")


def main():
    sidecar, failures, expected = Sidecar(), [], {}
    try:
        for engine in ["openai", *(sys.argv[1:] or ENGINES)]:
            before = len(failures)
            if engine != "openai":
                sidecar.tell(f"engine {engine}")
                sidecar.tell("100")
            for step in STEPS:
                shapes = run(sidecar, engine, step.__name__, step, expected.get(step.__name__), failures)
                if engine == "openai":
                    expected[step.__name__] = shapes
            errors(sidecar, engine, failures)
            print(f"{engine}: {len(STEPS) + 1} steps, {len(failures) - before} failures", flush=True)
    finally:
        sidecar.process.kill()
    for failure in failures:
        print(f"  {failure}")
    print(f"openai {openai.__version__} (Python): {'failed' if failures else 'all passed'}")
    sys.exit(bool(failures))


main()
