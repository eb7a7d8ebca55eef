"""What the checks of deployments share: simulated backends, a sidecar's file as a volume, and a load that counts its failures."""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

# Seconds after which something that does not happen has failed; no step that succeeds takes this long.
PATIENCE = 30
ROOT = Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def eventually(holds, what):
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, f"it never happened: {what}"
        time.sleep(0.02)
    return found


def get(address, path, timeout=5):
    """Returns status and text, or None if nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def chat(connection, key, stream=False):
    """Sends one request and reads its whole answer; returns status, headers and text."""
    body = json.dumps({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": f"hello {key}"}]})
    connection.request("POST", "/v1/chat/completions", body, {
        "content-type": "application/json", "authorization": "Bearer key-of-the-app", "x-session-id": key})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def ask(address, key, stream=False):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        return chat(connection, key, stream)
    finally:
        connection.close()


class Backends:
    """A simulated OpenAI and a simulated vLLM, each in its own process."""

    def __init__(self, sim):
        self.processes = [subprocess.Popen([sim, engine, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
                          for engine in ("openai", "vllm")]
        self.openai, self.qwen = (one.stdout.readline().strip().removesuffix("/v1") for one in self.processes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            process.wait()


class Volume:
    """A ConfigMap or Secret volume as a kubelet writes it: dated folders, and the link `..data` that a rename swaps."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.dated = None

    def write(self, files):
        dated = Path(tempfile.mkdtemp(prefix="..", dir=self.folder))
        dated.chmod(0o755)
        for name, text in files.items():
            Path(dated, name).write_text(text)
            Path(dated, name).chmod(0o644)
        new = self.folder / "..data_tmp"
        new.symlink_to(dated.name)
        os.rename(new, self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        if self.dated:
            for old in self.dated.iterdir():
                old.unlink()
            self.dated.rmdir()
        self.dated = dated


class Load:
    """Threads that ask every sidecar for every key, again and again, and keep who answered at which generation."""

    def __init__(self, addresses, threads=4, keys=40):
        self.addresses, self.count = addresses, threads
        self.turns = [(address, f"key-{key}") for key in range(keys) for address in addresses]
        self.asked, self.failures = 0, []
        # By generation, then by (address, key): the backend.
        self.answered = defaultdict(dict)
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        connections = {address: http.client.HTTPConnection(address, timeout=PATIENCE) for address in self.addresses}
        turn = number
        while not self.stop.is_set():
            address, key = self.turns[turn % len(self.turns)]
            turn += self.count
            stream = turn % 3 == 0
            try:
                status, headers, text = chat(connections[address], key, stream)
                if status != 200 or (stream and "[DONE]" not in text):
                    raise AssertionError(f"status {status}: {text[-300:]}")
                with self.lock:
                    self.asked += 1
                    at = self.answered[int(headers["x-shiftgate-generation"])]
                    before = at.setdefault((address, key), headers["x-shiftgate-backend"])
                    assert before == headers["x-shiftgate-backend"], "a key moved within a generation"
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self.lock:
                    self.failures.append(f"{address} {key}: {error!r}")
                connections[address].close()

    def more(self, count):
        """Waits for so many further answers."""
        wanted = self.asked + count
        eventually(lambda: self.asked >= wanted or self.failures, f"{count} more answers")

    def covered(self, generation):
        """Waits until every sidecar has answered every key at this generation."""
        eventually(lambda: self.failures or len(self.answered[generation]) == len(self.turns), f"all of generation {generation}")

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.failures, f"{len(self.failures)} of {self.asked} failed: {self.failures[:3]}"
        return self.asked


def started(command):
    """Starts a command that becomes the sidecar; returns its process and the log line that it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if '"listening"' in line:
            break
    else:
        raise AssertionError(f"it did not start: exit {process.wait()}: {''.join(said)}")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process, json.loads(line)


class Sidecar:
    """The binary with its file, outside of a container."""

    def __init__(self, binary, file):
        self.process, first = started([binary, "--config", file])
        self.listen, self.admin = first["listen"], first["admin"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def percent_in_force(admin):
    answer = get(admin, "/status")
    return answer and json.loads(answer[1])["routes"][-1]["percent"]["qwen"]


def await_percent(admin, percent):
    eventually(lambda: percent_in_force(admin) == percent, f"{percent} % in force at {admin}")
