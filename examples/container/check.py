#!/usr/bin/env python3
"""Checks the image: python3 examples/container/check.py BINARY SIM

Packs BINARY with image.sh, unpacks the image, and runs it with runc as PID 1 on a read-only root, as a numeric user, without
capabilities, under the seccomp profile that container engines use by default. There it has to serve, verify certificates with the image's
roots, take saved files and swapped volumes without a failed request, use a new key, and drain. SIM is the built example `sim`.
Needs root, umoci, skopeo, runc, openssl and the default seccomp profile (Debian: golang-github-containers-common).
"""

import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "tests" / "deployment"))
from beside import PATIENCE, ROOT, Backends, Load, Volume, ask, await_percent, eventually, free_port, get, started  # noqa: E402

CONFIG = """
[server]
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"
[failover]
enabled = false
[rollout]
name = "container"
baseline = "openai"
percent = {{ qwen = {percent} }}
[backend.openai]
engine = "openai"
url = "{openai}"
api_key = "client"
[backend.qwen]
engine = "vllm"
url = "{qwen}"
api_key = {{ file = "/etc/shiftgate-keys/qwen" }}
models = {{ "*" = "qwen" }}
"""


def dockerfile():
    """Returns the instructions of the Dockerfile, as pairs."""
    text = (HERE / "Dockerfile").read_text().replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line and not line.startswith("#")]


def check_dockerfile(image, scratch):
    """The Dockerfile says what the image of image.sh has, and its placeholders satisfy Cargo."""
    said = dict(dockerfile()[[line[0] for line in dockerfile()].index("FROM", 1):])
    assert said["FROM"] == "scratch" and said["USER"] == image["User"]
    assert json.loads(said["ENTRYPOINT"]) == image["Entrypoint"] and [said["ENV"]] == image["Env"]
    assert set(said["EXPOSE"].split()) == {port.removesuffix("/tcp") for port in image["ExposedPorts"]}
    probe = json.loads(said["HEALTHCHECK"].split("CMD", 1)[1])
    assert probe == [*image["Entrypoint"], "status"]
    placeholders = next(text for name, text in dockerfile() if name == "RUN" and text.startswith("mkdir"))
    subprocess.run(["sh", "-ec", placeholders], cwd=scratch, check=True)
    for kind, folder in (("bin", "src"), ("bench", "benches"), ("test", "tests"), ("example", "examples")):
        for target in tomllib.loads((ROOT / "Cargo.toml").read_text()).get(kind, []):
            paths = [target["path"]] if "path" in target else [f"{folder}/{target['name']}.rs", f"{folder}/{target['name']}/main.rs"]
            assert any((scratch / path).is_file() for path in paths), f"the Dockerfile makes no placeholder for {paths}"
    copied = " ".join(text for name, text in dockerfile() if name == "COPY").split()
    sent = (HERE / "Dockerfile.dockerignore").read_text().split()
    for source in (ROOT / "src").rglob("*.rs"):
        if source.stem != "tests":
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
                name = str((source.parent / name).resolve().relative_to(ROOT))
                assert name.startswith("src/") or (name in copied and f"!{name}" in sent), f"the Dockerfile does not copy {name}"
    return probe


def check_root(root):
    """Every library is there, nothing else is, and no file is writable for the container's user."""
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    other = [file for file in files if not re.fullmatch(
        r"usr/local/bin/shiftgate|etc/nsswitch\.conf|etc/ssl/certs/ca-certificates\.crt|(usr/)?lib(64)?/[\w/.-]+\.so[.\d]*", file)]
    assert not other, f"the image has more than it needs: {other}"
    for path in root.rglob("*"):
        assert path.is_symlink() or (path.stat().st_uid == 0 and not path.stat().st_mode & 0o022), path
    roots = (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE")
    assert roots > 100, roots
    print(f"{len(files)} files, {roots} CA roots")


def seccomp_profile():
    """Returns the default profile of container engines for a process without capabilities, in runc's form."""
    profile = json.loads(Path("/usr/share/containers/seccomp.json").read_text())
    calls = [rule for rule in profile["syscalls"]
             if not rule.get("includes", {}).get("caps") and "amd64" in rule.get("includes", {}).get("arches", ["amd64"])]
    keep = ("names", "action", "args", "errnoRet")
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{key: rule[key] for key in keep if rule.get(key) is not None} for rule in calls]}


class Container:
    """The unpacked image in runc. The network is the host's, so that the backends of this check can be reached."""

    def __init__(self, bundle, mounts):
        self.name = f"shiftgate-check-{os.getpid()}-{time.monotonic_ns()}"
        config = json.loads((bundle / "config.json").read_text())
        process, linux = config["process"], config["linux"]
        config["root"]["readonly"], process["terminal"], process["noNewPrivileges"] = True, False, True
        process["capabilities"] = {kind: [] for kind in process["capabilities"]}
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 1024}]
        linux["seccomp"] = seccomp_profile()
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
        config["mounts"] = [one for one in config["mounts"] if one["destination"] in ("/proc", "/dev")]
        for target, source in {"/etc/hosts": "/etc/hosts", **mounts}.items():
            config["mounts"].append({"destination": target, "source": str(source), "type": "bind", "options": ["rbind", "ro"]})
        (bundle / "config.json").write_text(json.dumps(config))
        self.process, _ = started(["runc", "run", "--bundle", bundle, self.name])
        self.pid = json.loads(subprocess.run(["runc", "state", self.name], check=True, capture_output=True).stdout)["pid"]

    def run(self, command):
        return subprocess.run(["runc", "exec", self.name, *command], capture_output=True, text=True, timeout=PATIENCE)

    def signal(self, name):
        subprocess.run(["runc", "kill", self.name, name], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            subprocess.run(["runc", "kill", self.name, "KILL"], check=False)
            self.process.wait()
        subprocess.run(["runc", "delete", "--force", self.name], check=False, capture_output=True)


def check_confined(container):
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["NSpid"].split()[-1] == "1" and status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4
    assert all(int(status[kind], 16) == 0 for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    mounts = [line.split() for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()]
    assert next(one[5] for one in mounts if one[4] == "/").split(",")[0] == "ro"
    print("PID 1, user 65532, no capabilities, seccomp filter, read-only root")


class Https:
    """An HTTPS server with a certificate of a CA of its own; it keeps the keys that it was sent."""

    def __init__(self, folder):
        self.ca, certificate, key, self.keys = folder / "ca.pem", folder / "leaf.pem", folder / "leaf-key.pem", []
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        run = dict(check=True, stderr=subprocess.DEVNULL)
        subprocess.run([*new, "-keyout", folder / "ca-key.pem", "-out", self.ca, "-subj", "/CN=check"], **run)
        subprocess.run([*new, "-CA", self.ca, "-CAkey", folder / "ca-key.pem", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"], **run)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.keys.append(self.headers["authorization"])
                self.rfile.read(int(self.headers["content-length"]))
                body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "qwen", "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that does not trust the certificate is expected.
        self.server.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{self.server.server_port}/v1"


def check_roots_and_keys(bundle, folder, backends):
    """The image's CA bundle decides which certificates are good; a key that is saved is used."""
    https, listen, admin = Https(folder), free_port(), free_port()
    config, keys, bundle_file = Volume(folder / "tls"), Volume(folder / "tls-keys"), folder / "bundle.crt"
    config.write({"rollout.toml": CONFIG.format(listen=listen, admin=admin, percent=100, openai=f"{backends.openai}/v1", qwen=https.url)})
    keys.write({"qwen": "key-1\n"})
    mounts = {"/etc/shiftgate": config.folder, "/etc/shiftgate-keys": keys.folder}
    address, file = f"127.0.0.1:{listen}", "/etc/ssl/certs/ca-certificates.crt"
    with Container(bundle, mounts):
        status, _, text = ask(address, "key")
        assert status == 502 and not https.keys, f"a certificate of an unknown CA: {status} {text}"
    bundle_file.write_text((bundle / "rootfs" / file[1:]).read_text() + https.ca.read_text())
    with Container(bundle, {**mounts, file: bundle_file}):
        status, _, text = ask(address, "key")
        assert status == 200 and https.keys == ["Bearer key-1"], f"{status} {text} {https.keys}"
        keys.write({"qwen": "key-2\n"})
        eventually(lambda: ask(address, "key")[0] == 200 and https.keys[-1] == "Bearer key-2", "the new key in use")
    print("a CA in the image's bundle is trusted, another is not; a new key is in use")


def refused(admin):
    return json.loads(get(admin, "/status")[1])["reload_error"]


def check_life(bundle, folder, backends, probe):
    listen, admin = free_port(), free_port()
    address, admin_address = f"127.0.0.1:{listen}", f"127.0.0.1:{admin}"
    text = lambda percent: CONFIG.format(  # noqa: E731
        listen=listen, admin=admin, percent=percent, openai=f"{backends.openai}/v1", qwen=f"{backends.qwen}/v1")
    config, keys, plain = Volume(folder / "config"), Volume(folder / "keys"), folder / "plain"
    keys.write({"qwen": "key\n"})
    # Even a key of the container's own user: its mount is read-only.
    os.chown(keys.folder / "qwen", 65532, 65532)
    config.write({"rollout.toml": text(0)})
    plain.mkdir()
    (plain / "rollout.toml").write_text(text(0))
    for kind, source, save in (
            ("saved file", plain, lambda one: (plain / "rollout.toml").write_text(one)),
            ("swapped volume", config.folder, lambda one: config.write({"rollout.toml": one}))):
        with Container(bundle, {"/etc/shiftgate": source, "/etc/shiftgate-keys": keys.folder}) as container:
            check_confined(container)
            healthy = container.run(probe)
            assert healthy.returncode == 0, healthy
            save(text(0) + "broken\n")
            eventually(lambda: refused(admin_address), "a refused file")
            healthy = container.run(probe)
            assert healthy.returncode == 0 and "asked" in healthy.stdout, f"a refused file makes it unhealthy: {healthy}"
            save(text(0))
            eventually(lambda: not refused(admin_address), "a valid file")
            checked = container.run([probe[0], "check"])
            assert checked.returncode == 0 and "chmod" not in checked.stderr, f"a mounted key cannot be changed: {checked.stderr}"
            load = Load([address])
            for percent in (25, 100, 0, 50):
                save(text(percent))
                await_percent(admin_address, percent)
                load.more(20)
            assert get(admin_address, "/readyz")[0] == 200
            asked = load.end()
            streamed = []
            client = threading.Thread(target=lambda: streamed.append(ask(address, "last", stream=True)))
            client.start()
            eventually(lambda: any(one["in_flight"] for one in json.loads(get(admin_address, "/status")[1])["backends"]), "a running answer")
            began = time.monotonic()
            container.signal("TERM")
            code = container.process.wait(PATIENCE)
            client.join(PATIENCE)
            assert code == 0 and streamed[0][0] == 200 and "[DONE]" in streamed[0][2], f"exit {code}, {streamed}"
            print(f"{kind}: {asked} requests, 0 failed; SIGTERM: exit 0 after {time.monotonic() - began:.1f} s, the running stream ended whole")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    binary, sim = (Path(one).resolve() for one in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as name, Backends(sim) as backends:
        folder = Path(name)
        folder.chmod(0o755)
        print(subprocess.run([HERE / "image.sh", folder, binary], check=True, capture_output=True, text=True).stdout.strip())
        image = f"oci:{folder}/oci:shiftgate"
        config = json.loads(subprocess.run(["skopeo", "inspect", "--config", image], check=True, capture_output=True).stdout)["config"]
        (folder / "placeholders").mkdir()
        probe = check_dockerfile(config, folder / "placeholders")
        bundle = folder / "bundle"
        subprocess.run(["umoci", "unpack", "--image", image.removeprefix("oci:"), bundle], check=True, capture_output=True)
        check_root(bundle / "rootfs")
        check_life(bundle, folder, backends, probe)
        check_roots_and_keys(bundle, folder, backends)


main()
