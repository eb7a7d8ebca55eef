#!/usr/bin/env python3
"""Checks the manifests: python3 examples/kubernetes/check.py BINARY SIM

Renders them, validates them against the schemas of the last three versions of Kubernetes, breaks each line that confines the sidecar and
expects a complaint, and compares a stranger's workloads with and without the component. Then ten sidecars follow one ConfigMap volume under
load. SIM is the built example `sim`. Needs PyYAML and kubernetes-validate, and kustomize, kubectl or Go.
SHIFTGATE_PROJECTION names tests/kubernetes/projection, built: then the kubelet's own writer writes the volume.
"""

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "tests" / "deployment"))
from beside import PATIENCE, ROOT, Backends, Load, Sidecar, Volume, ask, await_percent, eventually, free_port, get  # noqa: E402
from manifests import loosened, pod_problems, pods, problems, rollout, sidecar, taken_out, template, without_base_url  # noqa: E402

SIDECARS = 10


def renderer():
    """Returns the command that renders a folder; without kustomize and kubectl, Go builds kustomize once."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "shiftgate", "kubernetes", "kustomize")
    if not cache.exists():
        subprocess.run(["go", "build", "-o", cache, "sigs.k8s.io/kustomize/kustomize/v5"], cwd=ROOT / "tests/kubernetes", check=True)
    return [cache, "build"]


RENDER = renderer()


def render(folder):
    text = subprocess.run([*RENDER, folder], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def copied(folder):
    """Copies component and base into `folder`, as a team does."""
    for name in ("component", "base"):
        shutil.copytree(HERE / name, folder / name)
    return folder / "base"


def strangers(folder, components):
    folder.mkdir()
    shutil.copy(HERE / "strangers.yaml", folder)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["strangers.yaml"], "components": components}))
    return render(folder)


def check_rights(base):
    assert not problems(base), problems(base)
    rules = set()
    for rule, manifests in loosened(base):
        assert rule in problems(manifests), f"nothing complains when this is loosened: {rule}"
        rules.add(rule)
    # Without its name it would not be found.
    untested = {name for name, _ in pod_problems(pods(base)[0], tomllib.loads(rollout(base)))} - rules - {"name"}
    assert not untested, f"nothing breaks {untested}"
    print(f"{len(rules)} rules hold, and each is missed when it is broken, in {len(list(loosened(base)))} ways")


def check_strangers(folder):
    copied(folder)
    alone, beside = strangers(folder / "alone", []), strangers(folder / "beside", ["../component"])
    kinds = [one["kind"] for one in alone]
    assert {"value", "valueFrom"} <= {key for one in alone for entry in template(one)["spec"]["containers"][0].get("env", [])
                                      if entry["name"] == "OPENAI_BASE_URL" for key in entry}, "no stranger has an OPENAI_BASE_URL of its own"
    assert set(kinds) == {"Deployment", "StatefulSet", "Job", "CronJob"}
    assert [one["kind"] for one in beside if one["kind"] not in kinds] == ["ConfigMap"]
    changed = [one for one in beside if one["kind"] in kinds]
    assert [taken_out(one) for one in changed] == [without_base_url(one) for one in alone], "the component changes more than it should"
    containers = [sidecar(pod) for pod in pods(changed)]
    assert all(one == containers[0] for one in containers), "sidecar.yaml and sidecar-cronjob.yaml differ"
    volumes = [[one for one in pod["volumes"] if one["name"].startswith("shiftgate-")] for pod in pods(changed)]
    assert all(one == volumes[0] for one in volumes)
    block = yaml.safe_load((HERE / "extra-init-containers.yaml").read_text())
    assert block["extraInitContainers"] == [containers[0]] and block["extraVolumes"] == volumes[0], "the Helm block differs"
    assert block["extraEnv"][0] in pods(changed)[0]["containers"][0]["env"]
    print(f"{', '.join(kinds)}: sidecar, its volumes and OPENAI_BASE_URL are the whole difference; the Helm block is equal")
    return beside


def check_edit(folder):
    base = copied(folder)
    templates = lambda: [yaml.safe_dump(template(one)) for one in render(base) if one["kind"] == "Deployment"]  # noqa: E731
    before, file, component = templates(), folder / "component/rollout.toml", folder / "component/kustomization.yaml"

    def edit(old, new):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
    edit("qwen = 5.0", "qwen = 50.0")
    assert "qwen = 50.0" in rollout(render(base)) and templates() == before, "an edit restarts pods"
    component.write_text(component.read_text().replace("disableNameSuffixHash: true", "disableNameSuffixHash: false"))
    hashed = [one for one in render(base) if one["kind"] == "Deployment"]
    edit("qwen = 50.0", "qwen = 51.0")
    assert [one for one in render(base) if one["kind"] == "Deployment"] != hashed, "this check cannot fail"
    print("an edit of rollout.toml leaves the pod template as it is")


def check_schemas(manifests):
    versions = known_versions()
    known = [one for one in manifests if one["kind"] != "PodMonitor"]
    for version in versions:
        for manifest in known:
            kubernetes_validate.validate(manifest, version, strict=True)
    wrong = next(one for one in known if one["kind"] == "Job")
    template(wrong)["spec"]["initContainers"][0]["restartpolicy"] = "Always"
    try:
        kubernetes_validate.validate(wrong, versions[-1], strict=True)
    except kubernetes_validate.ValidationError:
        pass
    else:
        raise AssertionError("this check cannot fail")
    print(f"{len(known)} manifests are valid in Kubernetes {', '.join(versions)}")


def known_versions():
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    minors = sorted(int(one.name.split(".")[1]) for one in folder.glob("v1.*-local"))
    return [f"1.{minor}" for minor in minors[-3:]]


def check_monitor(base):
    monitor = next(one for one in base if one["kind"] == "PodMonitor")["spec"]
    wanted = monitor["selector"].get("matchLabels", {}).items()
    for one in base:
        if one["kind"] == "Deployment":
            ports = [port["name"] for port in sidecar(template(one)["spec"])["ports"]]
            assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == ports
            assert wanted <= template(one)["metadata"]["labels"].items()
    print("the PodMonitor selects the pods and names the sidecar's port")


def check_file(binary, base, folder):
    file = folder / "rollout.toml"
    file.write_text(rollout(base))
    checked = subprocess.run([binary, "check", "--without-secrets", "--config", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    # The sidecars of this check have no volume of their own.
    kept = 'state  = "/var/lib/shiftgate/state.json"'
    assert kept in file.read_text()
    return file.read_text().replace(kept, "")


class Projection(Volume):
    """The same volume, written by the kubelet's own atomic writer."""

    def __init__(self, folder):
        super().__init__(folder)
        self.writer = subprocess.Popen([os.environ["SHIFTGATE_PROJECTION"], folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self, files):
        with tempfile.TemporaryDirectory() as source:
            for name, text in files.items():
                Path(source, name).write_text(text)
            print(source, file=self.writer.stdin, flush=True)
            assert self.writer.stdout.readline() == "written\n"


def volume(folder):
    return Projection(folder) if "SHIFTGATE_PROJECTION" in os.environ else Volume(folder)


def at_home(text, backends, keys, percent):
    """Returns the ConfigMap's file with addresses of this machine."""
    for old, new in (('"127.0.0.1:8080"', '"127.0.0.1:0"'), ('"0.0.0.0:9900"', '"127.0.0.1:0"'), ("https://api.openai.com", backends.openai),
                     ("http://qwen.models.svc.cluster.local:8000", backends.qwen), ("/etc/shiftgate-keys", str(keys)),
                     ("qwen = 5.0", f"qwen = {percent}")):
        assert old in text, old
        text = text.replace(old, new)
    return text + "[failover]\nenabled = false\n"


def check_rollout(binary, text, backends, folder):
    config, keys = volume(folder / "config"), volume(folder / "keys")
    keys.write({"qwen": "key\n"})
    steps = (0.0, 1.0, 10.0, 50.0, 100.0)
    files = {percent: at_home(text, backends, keys.folder, percent) for percent in steps}
    config.write({"rollout.toml": files[0.0]})
    sidecars = [Sidecar(binary, config.folder / "rollout.toml") for _ in range(SIDECARS)]
    try:
        load = Load([one.listen for one in sidecars], threads=16, keys=30)
        shifted = set()
        for generation, percent in enumerate(steps, 1):
            if generation > 1:
                config.write({"rollout.toml": files[percent]})
            for one in sidecars:
                await_percent(one.admin, percent)
            load.covered(generation)
            now = {key for (_, key), backend in load.answered[generation].items() if backend == "qwen"}
            stayed = {key for (_, key), backend in load.answered[generation].items() if backend == "openai"}
            assert not now & stayed, f"generation {generation}: sidecars disagree on {now & stayed}"
            assert shifted <= now, "a key moved back on the way up"
            shifted = now
        assert len(shifted) == 30 and not any(backend == "qwen" for backend in load.answered[1].values())
        check_invalid(config, files[100.0], sidecars, load)
        asked = load.end()
        print(f"{SIDECARS} sidecars, 0 to 100 % in {len(steps)} volumes by {type(config).__name__}: {asked} requests, 0 failed, 0 disagreements")
        check_job(sidecars[0])
    finally:
        for one in sidecars:
            one.__exit__()


def check_invalid(config, good, sidecars, load):
    """A broken ConfigMap: the last good one serves, the pod stays ready, and the alert's metric rises."""
    alerts = yaml.safe_load((ROOT / "examples/observability/alerts.yml").read_text())
    alert = next(rule for rule in alerts["groups"][0]["rules"] if rule["alert"] == "ShiftgateReloadFailed")
    metric = "shiftgate_config_reload_failed"
    assert metric in alert["expr"]
    failed = lambda one: int(next(line for line in get(one.admin, "/metrics")[1].splitlines() if line.startswith(metric)).split()[1])  # noqa: E731
    for broken in ("percent = 5\n", good.replace("qwen = 100.0", "qwen = 101.0"), ""):
        config.write({"rollout.toml": broken})
        eventually(lambda: all(failed(one) == 1 for one in sidecars), f"{metric} 1")
        load.more(50)
        assert all(get(one.admin, "/readyz")[0] == 200 and get(one.admin, "/healthz")[0] == 200 for one in sidecars)
        config.write({"rollout.toml": good})
        eventually(lambda: all(failed(one) == 0 for one in sidecars), f"{metric} 0")
    print("3 invalid volumes: all sidecars stay ready and serve the last good one; the alert's metric rises and falls")


def check_job(one):
    """The application of a Job has ended, with a connection that it left open; the kubelet then sends SIGTERM to the sidecar."""
    left = http.client.HTTPConnection(one.listen)
    left.request("GET", "/v1/models")
    left.getresponse().read()
    gone = threading.Thread(target=ask, args=(one.listen, "last", True))
    gone.start()
    began = time.monotonic()
    one.process.terminate()
    code = one.process.wait(PATIENCE)
    gone.join(PATIENCE)
    taken = time.monotonic() - began
    assert code == 0 and taken < 20, f"exit {code} after {taken:.1f} s"
    print(f"a Job's sidecar: exit 0 {taken:.1f} s after SIGTERM; drain is 20 s")


def check_base(binary, base, text, folder):
    """The base's sidecar, with the base's arguments: it needs no backends, and follows the volume."""
    arguments, config = sidecar(pods(base)[0])["args"], volume(folder / "demo")
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    file = lambda percent: text.replace("127.0.0.1:8080", listen).replace("0.0.0.0:9900", admin).replace("qwen = 5.0", f"qwen = {percent}")  # noqa: E731
    config.write({"rollout.toml": file(5.0)})
    environment = {**os.environ, "SHIFTGATE_CONFIG": config.folder / "rollout.toml"}
    process = subprocess.Popen([binary, *arguments], env=environment, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: (get(admin, "/readyz") or [0])[0] == 200, "a ready demo")
        assert ask(listen, "key")[0] == 200
        config.write({"rollout.toml": file(100.0)})
        await_percent(admin, 100.0)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    print(f"the base's `{' '.join(arguments)}` serves without backends and keys, follows the volume, and drains")


def main():
    binary, sim = (Path(one).resolve() for one in sys.argv[1:3])
    print(f"rendered by {' '.join(str(one) for one in RENDER)}")
    with tempfile.TemporaryDirectory() as name, Backends(sim) as backends:
        folder = Path(name)
        base = render(HERE / "base")
        text = check_file(binary, base, folder)
        check_rights(base)
        (folder / "strangers").mkdir()
        beside = check_strangers(folder / "strangers")
        (folder / "edit").mkdir()
        check_edit(folder / "edit")
        check_schemas([*base, *beside])
        check_monitor(base)
        check_base(binary, base, text, folder)
        check_rollout(binary, text, backends, folder)


main()
