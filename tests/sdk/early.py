"""The unmodified OpenAI SDKs behind an early head: python tests/sdk/early.py BINARY (needs `pip install openai`; with NODE
set to a folder where `npm install openai` was done, the Node SDK too).

Plays a baseline and a candidate on loopback, and puts a proxy that hangs up after 1.5 s without a byte between SDK and
shiftgate. Without `early_head` a candidate that thinks for 3 s is cut there; with `early_head = "500ms"` the answer, the
answer of the baseline after a failure, and the baseline's error arrive as the SDK's own types.

`early.py BINARY nginx` or `haproxy` puts that program in between, with its read timeout at 10 s, a candidate that thinks
for 25 s, and `early_head = "5s"`; it takes about four minutes.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

# The program in between, or the script's own proxy; seconds that the candidate thinks; `early_head`.
BETWEEN, THINKS, EARLY = (sys.argv[2], 25.0, "5s") if sys.argv[2:] else ("", 3.0, "500ms")
HANGS_UP = 1.5
NGINX = """
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{near};
    location / {{ proxy_pass http://127.0.0.1:{far}; proxy_http_version 1.1; proxy_read_timeout 10s; }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 10s
frontend near
  bind 127.0.0.1:{near}
  default_backend far
backend far
  server far 127.0.0.1:{far}
"""
NODE = """
const { default: OpenAI } = require("openai");
const client = new OpenAI({ baseURL: process.argv[1], apiKey: "k", maxRetries: 0 });
(async () => {
  let text = "";
  try {
    const stream = await client.chat.completions.create(
      { model: "gpt-4o", stream: true, messages: [{ role: "user", content: process.argv[2] }] });
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    console.log(text);
  } catch (error) { console.log(`${error.constructor.name}: ${error.message}`); }
})();
"""


def events(model, word):
    def chunk(delta, reason=None):
        body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        return f"data: {json.dumps(body)}\n\n"
    return chunk({"role": "assistant", "content": ""}) + chunk({"content": word}) + chunk({}, "stop") + "data: [DONE]\n\n"


class Backend(BaseHTTPRequestHandler):
    """`server.says` maps a text of the request to a status, a wait and a word."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        status, wait, word = next(answer for text, answer in self.server.says.items() if text in body)
        time.sleep(wait)
        if status is None:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        error = json.dumps({"error": {"message": word, "type": "tokens", "param": None, "code": "rate_limit_exceeded"}})
        out = events(self.server.model, word) if status == 200 else error
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
        self.send_header("content-length", str(len(out)))
        try:
            self.end_headers()
            self.wfile.write(out.encode())
        except OSError:
            pass  # The client has hung up, which is the point of some steps.


def backend(model, says):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.model, server.says = model, says
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def impatient(port):
    """A proxy that hangs up after HANGS_UP seconds without a byte from shiftgate."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve():
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            far.settimeout(HANGS_UP)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def between(folder, far):
    """Starts nginx or haproxy in front of `far`; returns the process and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        near = free.getsockname()[1]
    path = os.path.join(folder, f"{BETWEEN}-{far}.conf")
    with open(path, "w") as file:
        file.write({"nginx": NGINX, "haproxy": HAPROXY}[BETWEEN].format(folder=folder, near=near, far=far))
    command = ["nginx", "-c", path, "-e", f"{folder}/nginx.log", "-g", "daemon off;"]
    process = subprocess.Popen(command if BETWEEN == "nginx" else ["haproxy", "-q", "-f", path])
    while True:
        try:
            socket.create_connection(("127.0.0.1", near)).close()
            return process, f"http://127.0.0.1:{near}/v1"
        except OSError:
            time.sleep(0.05)


def started(binary, folder, early, baseline, candidate):
    path = os.path.join(folder, f"{early}.toml")
    with open(path, "w") as file:
        file.write(f"""
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
[failover]
early_head = "{early}"
[rollout]
name = "early"
baseline = "openai"
percent = {{ qwen = 100.0 }}
sticky = []
[backend.openai]
engine = "openai"
url = "{baseline}"
api_key = "client"
[backend.qwen]
engine = "vllm"
url = "{candidate}"
api_key = "none"
family = "instruct-2507"
""")
    process = subprocess.Popen([binary, "--config", path], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        listen = json.loads(line).get("listen")
        if listen:
            threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
            far = int(listen.rsplit(":", 1)[1])
            proxy, url = between(folder, far) if BETWEEN else (None, impatient(far))
            return [process, *filter(None, [proxy])], url
    raise SystemExit("shiftgate did not start")


def by_python(url, text):
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    try:
        stream = client.chat.completions.create(
            model="gpt-4o", stream=True, messages=[{"role": "user", "content": text}])
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    except openai.OpenAIError as error:
        return f"{type(error).__name__}: {error}"


def by_node(url, text):
    done = subprocess.run(["node", "-e", NODE, url, text], cwd=os.environ["NODE"], capture_output=True, text=True)
    return done.stdout.strip()


def main():
    says = {"answers": (200, THINKS, "from-qwen"), "fails": (None, THINKS, ""), "both": (None, THINKS, "")}
    candidate = backend("qwen", says)
    baseline = backend("gpt-4o", {"fails": (200, 0, "from-openai"), "both": (429, 0, "slow down"), "": (200, 0, "x")})
    sdks = {"python": by_python} | ({"node": by_node} if "NODE" in os.environ else {})
    with tempfile.TemporaryDirectory() as folder:
        for early, wanted in (("off", None), (EARLY, {"answers": "from-qwen", "fails": "from-openai", "both": "slow down"})):
            processes, url = started(sys.argv[1], folder, early, baseline, candidate)
            for name, sdk in sdks.items():
                for text in says:
                    got = sdk(url, text)
                    fits = got and "from-" not in got if wanted is None else wanted[text] in got
                    print(f"early_head = {early}, {name}, {text}: {got}", "" if fits else "<- WRONG")
                    assert fits
            for process in processes:
                process.terminate()
                process.wait()


main()
