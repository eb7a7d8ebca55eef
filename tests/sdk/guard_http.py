"""The guard's evidence, over HTTP: what /status shows is what tests/sdk/guard_ref.py computes from the same requests.

    python3 tests/sdk/guard_http.py BINARY

Each phase starts the binary beside two scripted servers, sends requests one after the other, tells the reference how each
ended, and compares: the evidence to 1e-6 in the logarithm; trials, counted failures, keys, verdict and state exactly.
"""

import atexit
import http.client
import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import guard_ref

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


class Backend(BaseHTTPRequestHandler):
    """Does what the user message says for its side: an end, and the seconds before the first token."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(404, {"error": {"message": "not here"}})

    def whole(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("content-type", "application/json"), ("content-length", str(len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, delta, finish=None):
        body = {**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        what = json.loads(body["messages"][-1]["content"])
        side = self.server.side
        self.server.asked.append((what["n"], side))
        end = what[side]
        if end in ("failed", "refused", "limited"):
            status = {"failed": 500, "refused": 400, "limited": 429}[end]
            error = {"error": {"message": end, "type": "invalid_request_error", "code": None, "param": None}}
            return self.whole(status, error, [("retry-after", "0")] if end == "limited" else [])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.event({"role": "assistant"})
        time.sleep(what.get("after", 0))
        self.event({"content": "hello"})
        if end == "cut":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if what["lingers"]:
            # Until the proxy closes the connection.
            deadline = time.monotonic() + 20
            try:
                while time.monotonic() < deadline:
                    self.chunk(b": wait\n\n")
                    time.sleep(0.01)
            except OSError:
                self.close_connection = True
                return
        self.event({}, "stop")
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")


def server(side):
    one = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    one.side, one.asked, one.daemon_threads = side, [], True
    threading.Thread(target=one.serve_forever, daemon=True).start()
    return one


class Phase:
    def __init__(self, binary, folder, seed=1, percent=25, failover=True, guard="", route="", limits=None):
        self.rng, self.n, self.requests = random.Random(seed), 0, 0
        self.percent = percent
        self.servers = [server("baseline"), server("candidate")]
        openai, qwen = (one.server_address[1] for one in self.servers)
        self.file = folder / f"rollout-{time.monotonic_ns()}.toml"
        self.file.write_text(f"""
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
[rollout]
name = "n"
baseline = "openai"
percent = {{ qwen = {percent} }}
sticky = ["header:x-session-id"]
{route}
[backend.openai]
engine = "openai"
url = "http://127.0.0.1:{openai}/v1"
api_key = "none"
[backend.qwen]
engine = "vllm"
url = "http://127.0.0.1:{qwen}/v1"
api_key = "none"
models = {{ "*" = "m" }}
breaker = {{ failures = 1000, min = 1000000, ratio = 1.0 }}
[failover]
enabled = {str(failover).lower()}
retry_budget = 1.0
[guard]
{guard}
""")
        self.process = subprocess.Popen([binary, "--config", self.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        atexit.register(self.process.kill)
        addresses = {}
        for line in self.process.stdout:
            text = json.loads(line)
            if "listen" in text.get("fields", text):
                fields = text.get("fields", text)
                addresses = {name: fields[name] for name in ("listen", "admin")}
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.listen, self.admin = addresses["listen"], addresses["admin"]
        self.failover = failover
        limits = {**guard_ref.LIMITS, "weight": percent / 100, "blind": percent == 100, **(limits or {})}
        self.reference = guard_ref.Guard(limits)

    def status(self):
        client = http.client.HTTPConnection(self.admin, timeout=10)
        client.request("GET", "/status")
        status = json.loads(client.getresponse().read())
        return status, next(one["guard"] for one in status["backends"] if one["name"] == "qwen")

    def send(self, candidate="answered", baseline="answered", key=None, after=0, percents=None,
             leave=False, model="gpt-4o-mini"):
        self.n += 1
        what = {"n": self.n, "candidate": candidate, "baseline": baseline, "after": after, "lingers": leave}
        body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": json.dumps(what)}]})
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["x-session-id"] = key
        client = http.client.HTTPConnection(self.listen, timeout=30)
        client.request("POST", "/v1/chat/completions", body, headers)
        answer = client.getresponse()
        if leave:
            answer.read(1)
            answer.close()
            client.close()
        else:
            try:
                answer.read()
            except http.client.IncompleteRead:
                pass
        reason = answer.getheader("x-shiftgate-reason")
        asked = [side for one in self.servers for n, side in one.asked if n == self.n]
        side = "candidate" if "candidate" in asked else "baseline"
        rest = 10_000 - round(self.percent * 100)
        request = {"side": side, "key": key, "percents": percents or [round(self.percent * 100), rest]}
        end = {"baseline": baseline, "candidate": candidate}[side]
        other = None
        if side == "candidate" and end in ("failed", "refused"):
            other = baseline if self.failover else "off"
        if leave:
            end = "gone"
        self.requests += 1
        return reason, request, end, other

    def settle(self):
        """Waits until the process has no request in flight."""
        while self.status()[0]["in_flight"] > 0:
            time.sleep(0.01)

    def request(self, overdue=False, **what):
        reason, request, end, other = self.send(**what)
        self.settle()
        if self.reference.state == "watching":
            assert reason == "split" or reason.startswith("failover"), reason
            self.reference.end(0, request, "overdue" if overdue else end, other)
        else:
            assert reason in ("split", "rolled_back") and request["side"] == "baseline", (reason, request)

    def compare(self, name):
        _, seen = self.status()
        expected = self.reference.look(0)
        assert abs(math.log(seen["evidence"]) - expected["ln_evidence"]) < 1e-6, (name, seen, expected)
        for field in ("trials", "counted", "keys", "verdict", "state"):
            assert seen[field] == expected[field], (name, field, seen, expected)
        return seen

    def end(self, name, least=200):
        seen = self.compare(name)
        assert self.requests >= least, self.requests
        self.process.terminate()
        assert self.process.wait(30) == 0
        for one in self.servers:
            one.shutdown()
        shown = {field: seen[field] for field in ("trials", "counted", "keys", "evidence", "verdict", "state")}
        print(f"{name}: {self.requests} requests: {json.dumps(shown)}", flush=True)


def mixed(phase, count, ends, keys=0):
    rng = phase.rng
    for n in range(count):
        key = f"user-{rng.randrange(keys)}" if keys else None
        phase.request(candidate=rng.choice(ends), baseline=rng.choice(ends), key=key)
        if n % 40 == 39:
            phase.compare(f"after {n + 1}")


def main():
    binary = str(Path(sys.argv[1]).resolve())
    good = ["answered"] * 8
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        still = {"alpha": 1e-12}
        guard = "alpha = 1e-12"

        phase = Phase(binary, folder, 1, 50, guard=guard, limits=still)
        mixed(phase, 220, good + ["failed"])
        phase.end("the ratio and the floor, failures in a row")

        phase = Phase(binary, folder, 2, 50, guard=guard, limits=still)
        mixed(phase, 220, ["answered"] * 3 + ["failed", "refused"])
        phase.end("confirmed only where the baseline answered")

        phase = Phase(binary, folder, 3, 40, guard=guard, limits=still)
        mixed(phase, 220, good + ["cut", "limited"])
        phase.end("broken answers, and 429 which are no trials")

        phase = Phase(binary, folder, 4, 30, guard=guard, limits=still)
        mixed(phase, 260, ["answered"] * 3 + ["failed"], keys=60)
        phase.end("the first counted event of each key")

        phase = Phase(binary, folder, 5, 50, failover=False, guard=guard, limits=still)
        mixed(phase, 220, good + ["failed", "refused", "cut"])
        phase.end("failover off")

        phase = Phase(binary, folder, 6, 100, guard=guard, limits={**still, "weight": 1.0})
        mixed(phase, 220, good + ["failed"])
        phase.end("blind: the floor alone")

        route = '[[route]]\nname = "other"\nmatch = { model = "o-*" }\npercent = { qwen = 5 }\n'
        phase = Phase(binary, folder, 7, 50, guard=guard, route=route, limits={**still, "weight": 55 / 200})
        for n in range(240):
            model, share = ("o-1", 500) if n % 2 else ("gpt-4o-mini", 5_000)
            bad = phase.rng.random() < 0.2
            end = "failed" if bad else "answered"
            phase.request(candidate=end, baseline=end if phase.rng.random() < 0.3 else "answered", model=model,
                          percents=[share, 10_000 - share])
        phase.end("two routes: each event has its own shares")

        own = 'alpha = 1e-12\nerrors = { overdue = "150ms" }'
        phase = Phase(binary, folder, 8, 50, guard=own, limits=still)
        for n in range(210):
            late = n % 9 == 0
            phase.request(after=0.5 if late else 0, overdue=late)
        phase.end("overdue: decided by age")

        phase = Phase(binary, folder, 9, 50, guard=guard, limits=still)
        for n in range(210):
            phase.request(leave=n % 7 == 0)
        phase.end("clients that leave are no trials")

        phase = Phase(binary, folder, 10, 25)
        mixed(phase, 120, ["answered"])
        while phase.reference.state == "watching":
            phase.request(candidate=phase.rng.choice(["failed", "answered"]))
        mixed(phase, 120, ["answered"])
        seen = phase.compare("held")
        assert seen["until"] and seen["cause"] == "errors" and "shiftgate resume" in seen["next"], seen
        assert phase.status()[0]["routes"][0]["effective"] == {"qwen": 0.0}
        phase.end("the trip: held")


if __name__ == "__main__":
    main()
