#!/usr/bin/env python3
"""Checks the examples against a real Prometheus: python3 examples/observability/check.py BINARY [SECONDS]

Runs `BINARY demo`, scrapes it for SECONDS (60), and fails unless every scrape worked, every rule of alerts.yml evaluates
and is quiet, and every query of dashboard.json answers. Needs `prometheus` in the PATH.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
VARIABLES = {"${datasource}": "", "$__rate_interval": "30s", "$__interval": "30s", "$backend": ".*", "$route": ".*"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def expressions(node):
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from expressions(one)


class Prometheus:
    def __init__(self, folder, admin):
        self.port = free_port()
        text = (HERE / "prometheus.yml").read_text().replace("127.0.0.1:9900", f"127.0.0.1:{admin}")
        (folder / "prometheus.yml").write_text(text)
        (folder / "alerts.yml").write_text((HERE / "alerts.yml").read_text())
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage", "--log.level=warn"])

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{query}: {error.read().decode()}") from None

    def value(self, query):
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None


def check(prometheus, seconds):
    time.sleep(seconds)
    scrapes = prometheus.value(f"count_over_time(up[{int(seconds)}s])") or 0
    worked = prometheus.value(f"sum_over_time(up[{int(seconds)}s])") or 0
    samples = prometheus.value("scrape_samples_scraped")
    print(f"{worked:.0f} of {scrapes:.0f} scrapes worked, {samples or 0:.0f} samples in the last one")
    assert worked == scrapes and scrapes >= seconds / 5 - 2
    for target in prometheus.ask("targets")["activeTargets"]:
        assert target["health"] == "up" and not target["lastError"], target
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        assert rule["health"] == "ok" and rule["state"] == "inactive", f"{rule['name']}: {rule}"
    print(f"{len(rules)} rules are evaluated and quiet")
    queries, empty = list(expressions(json.loads((HERE / "dashboard.json").read_text()))), []
    for query in queries:
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        assert not re.search(r"\$\{?\w", query), f"an unknown variable in {query}"
        if not prometheus.ask("query", query=query)["result"]:
            empty.append(query)
    print(f"{len(queries)} queries of the dashboard answer, {len(empty)} of them with no series:")
    for query in empty:
        print(f"  {query}")


def main():
    binary, seconds = sys.argv[1], float(sys.argv[2]) if sys.argv[2:] else 60.0
    admin = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rollout.toml")
        text = (HERE.parent.parent / "rollout.toml").read_text()
        file.write_text(re.sub(r'(?m)^admin *= *"[^"]*"', f'admin = "127.0.0.1:{admin}"', text))
        demo = subprocess.Popen([binary, "--config", file, "demo"], stdout=subprocess.DEVNULL)
        prometheus = None
        try:
            prometheus = Prometheus(Path(folder), admin)
            check(prometheus, seconds)
        finally:
            for process in [demo, *filter(None, [prometheus and prometheus.process])]:
                process.terminate()
                process.wait()


main()
