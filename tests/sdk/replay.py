"""Recorded answers of real servers, played back as the candidate's, through the built binary, against the SDK's types.

python tests/sdk/replay.py BINARY RECORDINGS...   (needs `pip install openai`; RECORDINGS are tests/data/*.jsonl)

Failover is off and everything goes to the candidate. Each 200 has to be valid by OpenAI's own types with no field more;
each refusal has to be OpenAI's envelope with a status that its SDK has a class for.
"""

import http.client
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
WORDS = ["vllm", "sglang", "Qwen", "qwen-235b", "matched_stop", "stop_reason", "token_ids", "weight_version", "routed_experts",
         "kv_transfer", "finish_reason\":\"stop_sequence", "eos_token", "3.3.6-dev0", "reasoning_content", "im_end", "http_status_code",
         "error_type", "Traceback", "site-packages", "pydantic"]


class Player(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    playing = None
    played = 0

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        Player.played += 1
        response = Player.playing["response"]
        body = "".join(text for _, text in response.get("chunks", [])).encode()
        if "status" not in response or response["status"] is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(response["status"])
        for name, value in response["headers"]:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in [body[at:at + 700] for at in range(0, len(body), 700)]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if not Player.playing.get("cut"):
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *_):
        pass


# Fields that OpenAI sends and the SDK's types do not name.
OPENAIS_OWN = {"store"}


def extras(value, where=""):
    """Returns the fields that no type of the SDK has, at any depth."""
    found = []
    if isinstance(value, BaseModel):
        found += [f"{where}.{name}" for name in (value.model_extra or {}) if name not in OPENAIS_OWN]
        for name in type(value).model_fields:
            found += extras(getattr(value, name, None), f"{where}.{name}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            found += extras(item, f"{where}[{at}]")
    return found


def check_model(kind, data):
    adapter = TypeAdapter(kind)
    return extras(adapter.validate_python(data), "")


def events(text):
    for block in text.split("\n\n"):
        data = [line[5:].lstrip() for line in block.split("\n") if line.startswith("data:")]
        if data:
            yield "\n".join(data)


def check_error(status, body, wrong):
    error = body.get("error")
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return wrong.append(f"no envelope: {body}")
    if not isinstance(error["message"], str) or "\n" in error["message"] or not error["message"]:
        wrong.append(f"message {error['message']!r}")
    if error["code"] is not None and not isinstance(error["code"], str):
        wrong.append(f"code {error['code']!r}")
    # A missing stored response is the only 404 that an application may see.
    if status == 404 and error["param"] == "response_id":
        return
    if status in (401, 403, 404, 422, 424, 501) or status < 400:
        wrong.append(f"status {status}")


def check_stream(path, text, wrong):
    seen, failed = [], False
    for data in events(text):
        if failed:
            wrong.append(f"after an error: {data}")
        if data == "[DONE]":
            seen.append(data)
            continue
        event = json.loads(data)
        if "error" in event and "choices" not in event and event.get("type") != "error" and "response" not in event:
            check_error(500, event, wrong)
            failed = True
            continue
        if path == PATHS[1]:
            # OpenAI's chunks have null here until the last; the SDK's type describes whole answers only.
            for choice in event["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
        kind = {PATHS[0]: ChatCompletionChunk, PATHS[1]: Completion, PATHS[2]: ResponseStreamEvent}[path]
        wrong += check_model(kind, event)
        seen.append(event)
    dones = seen.count("[DONE]")
    if path != PATHS[2] and dones != (0 if failed else 1):
        wrong.append(f"{dones} times [DONE], failed={failed}")
    if path == PATHS[2] and not failed and not any(e["type"] in ("response.completed", "response.incomplete", "response.failed") for e in seen if e != "[DONE]"):
        wrong.append("no end")
    if path == PATHS[0]:
        roles = [c for e in seen if e != "[DONE]" for c in e["choices"] if "role" in c["delta"]]
        if len(roles) != len({c["index"] for c in roles}):
            wrong.append("a role twice")


def ask(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json", "authorization": "Bearer k",
                                                         "x-shiftgate-backend": "qwen"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def plain(path, given):
    body = {"model": "gpt-4o", "stream": bool(given.get("stream"))}
    if path == PATHS[0]:
        body["messages"] = [{"role": "user", "content": "hi"}]
        if given.get("tools"):
            body["tools"] = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
    elif path == PATHS[1]:
        body["prompt"] = "hi"
    else:
        body |= {"input": "hi", "store": False}
    return body


def run(binary, engine, recording):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Player)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tempfile.mkdtemp()
    config = pathlib.Path(folder, "rollout.toml")
    config.write_text(f"""
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
request_log = false
allow_override = true
[failover]
enabled = false
[rollout]
name = "replay"
baseline = "openai"
percent = {{ qwen = 100.0 }}
[backend.openai]
engine = "openai"
url = "http://127.0.0.1:9/v1"
api_key = "client"
[backend.qwen]
engine = "{engine}"
url = "http://127.0.0.1:{server.server_port}/v1"
api_key = "none"
responses = true
vision = true
models = {{ "*" = "qwen-235b-a22b" }}
family = "qwen3"
""")
    process = subprocess.Popen([binary, "--config", str(config)], stdout=subprocess.PIPE, text=True)
    port = None
    while port is None:
        line = json.loads(process.stdout.readline())
        if "listen" in line:
            port = int(str(line["listen"]).rsplit(":", 1)[1])
    threading.Thread(target=process.stdout.read, daemon=True).start()
    failed = played = 0
    try:
        for line in pathlib.Path(recording).read_text().splitlines():
            exchange = json.loads(line)
            request = exchange.get("request", {})
            if request.get("path") not in PATHS or request.get("method") != "POST" or "response" not in exchange or exchange.get("same_as"):
                continue
            given = request["body"]
            try:
                given = json.loads(given) if isinstance(given, str) else given
            except ValueError:
                given = {}
            given = given if isinstance(given, dict) else {}
            path = request["path"]
            exchange["cut"] = exchange["name"].startswith("killed_")
            Player.playing = exchange
            before = Player.played
            response, text = None, None
            # The recorded request if the candidate would get it, else a plain one with the same kind of answer.
            for body in [dict(given, model="gpt-4o", **({"store": False} if path == PATHS[2] else {})), plain(path, given)]:
                response, text = ask(port, path, body)
                if Player.played > before:
                    break
            wrong = []
            if Player.played == before:
                wrong.append(f"it was not played: {response.status} {text[:200]}")
            streamed = response.status == 200 and response.headers["content-type"].startswith("text/event-stream")
            try:
                if response.status != 200:
                    check_error(response.status, json.loads(text), wrong)
                elif streamed:
                    check_stream(path, text, wrong)
                else:
                    kind = {PATHS[0]: ChatCompletion, PATHS[1]: Completion, PATHS[2]: Response}[path]
                    wrong += check_model(kind, json.loads(text))
                if response.status == 200:
                    wrong += [f"says {word}" for word in WORDS if word in text]
                    if '"model":"gpt-4o"' not in text and '"error"' not in text:
                        wrong.append("not the model that was asked for")
                left = [n for n in response.headers if n.lower().startswith("x-") and not n.lower().startswith(("x-shiftgate", "x-request-id", "x-should"))]
                wrong += left
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {str(error)[:600]}")
            played += 1
            if wrong:
                failed += 1
                print(f"{engine} {exchange['name']} ({path}, {response.status}): {'; '.join(dict.fromkeys(map(str, wrong)))}\n    {text[:700]!r}")
    finally:
        process.kill()
        server.shutdown()
    print(f"{engine}: {played} exchanges, {failed} failed")
    return failed


failures = sum(run(sys.argv[1], pathlib.Path(name).stem, name) for name in sys.argv[2:])
sys.exit(1 if failures else 0)
