"""Rendered manifests: what they may grant, and what the component may change."""

import copy
import tomllib

STATE = "/var/lib/shiftgate"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
KINDS = {"ConfigMap", "Secret", "Deployment", "StatefulSet", "Job", "CronJob", "NetworkPolicy", "PodMonitor"}
UNITS = {"Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30, "GiB": 1 << 30, "KiB": 1 << 10}
# Bytes that the process needs beside bodies and copies: four times its measured memory with 64 busy connections.
PROCESS = 64 << 20
# Bytes of the state file and of the new one that replaces it.
STATE_BYTES = 2 * (16 << 20)


def size(text):
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * UNITS[unit]


def template(manifest):
    spec = manifest["spec"]
    return (spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec)["template"]


def pods(manifests):
    return [template(one)["spec"] for one in manifests if one["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob")]


def sidecar(pod):
    return next(one for one in pod["initContainers"] if one["name"] == "shiftgate")


def volume(pod, name):
    return next(one for one in pod["volumes"] if one["name"] == name)


def rollout(manifests):
    return next(one for one in manifests if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "shiftgate")["data"]["rollout.toml"]


def policies(manifests):
    return [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]


def pod_problems(pod, file):
    container = sidecar(pod)
    rights, mounts = container["securityContext"], {one["mountPath"]: one for one in container["volumeMounts"]}
    server, limits, shadow = file.get("server", {}), file.get("limits", {}), file.get("shadow")
    probe = lambda kind: container.get(kind, {}).get("httpGet")  # noqa: E731
    hidden, kept = mounts.get(TOKEN), mounts.get(STATE)
    needed = size(limits.get("body_bytes", "256MiB")) + size((shadow or {}).get("max_bytes", "64MiB")) + PROCESS
    others = [*pod["containers"], *(one for one in pod["initContainers"] if one is not container)]
    own = {one["name"] for one in pod["volumes"] if one["name"].startswith("shiftgate-")}
    keys = volume(pod, "shiftgate-keys")["secret"].get("defaultMode", 0o644)
    yield "first", pod["initContainers"][0] is container
    yield "native sidecar", container.get("restartPolicy") == "Always"
    yield "not root", rights.get("runAsNonRoot") is True and rights.get("runAsUser", 0) > 0 and rights.get("runAsGroup", 0) > 0
    yield "not privileged", rights.get("privileged", False) is False
    yield "no escalation", rights.get("allowPrivilegeEscalation") is False
    yield "read-only root", rights.get("readOnlyRootFilesystem") is True
    yield "no capabilities", rights.get("capabilities") == {"drop": ["ALL"]}
    yield "seccomp", rights.get("seccompProfile") == {"type": "RuntimeDefault"}
    yield "token hidden", hidden is not None and "emptyDir" in volume(pod, hidden["name"])
    yield "read-only mounts", all(one.get("readOnly") is True for path, one in mounts.items() if path != STATE)
    yield "state", kept is not None and not kept.get("readOnly") and server.get("state", "").startswith(f"{STATE}/") \
        and size(volume(pod, kept["name"]).get("emptyDir", {}).get("sizeLimit", "0Mi")) > STATE_BYTES
    yield "no subPath", not any("subPath" in one or "subPathExpr" in one for one in mounts.values())
    yield "volumes", all(set(one) - {"name"} <= {"configMap", "secret", "emptyDir"} for one in pod["volumes"] if one["name"] in own)
    yield "own volumes", not any(one["name"] in own for other in others for one in other.get("volumeMounts", []))
    yield "keys readable", keys & 0o004 and not keys & 0o333
    yield "host", not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"))
    yield "host port", not any("hostPort" in one for one in container["ports"])
    yield "no pod rights", "securityContext" not in pod and pod.get("automountServiceAccountToken", False) is False
    yield "startup probe", probe("startupProbe") == {"path": "/readyz", "port": "shiftgate-admin"}
    yield "liveness probe", probe("livenessProbe") == {"path": "/healthz", "port": "shiftgate-admin"}
    yield "memory", size(container["resources"]["limits"]["memory"]) >= needed
    yield "listen", server.get("listen", "127.0.0.1:8080").startswith("127.0.0.1:")
    yield "admin port", container["ports"] == [{"name": "shiftgate-admin", "containerPort": int(server["admin"].rsplit(":", 1)[1])}]
    yield "grace", pod.get("terminationGracePeriodSeconds", 30) > int(server.get("drain", "20s").removesuffix("s"))


def problems(manifests):
    """Returns the names of all rules that the manifests break."""
    file = tomllib.loads(rollout(manifests))
    found = {name for pod in pods(manifests) for name, holds in pod_problems(pod, file) if not holds}
    if not {one["kind"] for one in manifests} <= KINDS:
        found.add("kinds")
    for policy in policies(manifests):
        ingress = [(rule.get("from"), [port.get("port") for port in rule.get("ports", [])]) for rule in policy.get("ingress", [])]
        if set(policy["policyTypes"]) != {"Ingress", "Egress"} or any(not peers or ports != [9900] for peers, ports in ingress):
            found.add("ingress")
        if any(not rule.get("to") or not rule.get("ports") for rule in policy["egress"]):
            found.add("egress")
        everywhere = [peer["ipBlock"] for rule in policy["egress"] for peer in rule.get("to", []) if "ipBlock" in peer]
        if any("169.254.0.0/16" not in block.get("except", []) for block in everywhere):
            found.add("metadata service")
    return found


def loosened(manifests):
    """Yields each rule with manifests that break it."""
    def broken(change):
        changed = copy.deepcopy(manifests)
        pod = pods(changed)[0]
        change(changed, pod, sidecar(pod))
        return changed

    def rights(**more):
        return lambda _all, _pod, one: one["securityContext"].update(more)

    def mount(path, **more):
        return lambda _all, _pod, one: next(m for m in one["volumeMounts"] if m["mountPath"] == path).update(more)

    def without(path):
        return lambda _all, _pod, one: one.update(volumeMounts=[m for m in one["volumeMounts"] if m["mountPath"] != path])

    def text(old, new):
        def change(everything, *_):
            config = next(m for m in everything if m["kind"] == "ConfigMap")["data"]
            assert old in config["rollout.toml"]
            config["rollout.toml"] = config["rollout.toml"].replace(old, new)
        return change

    def policy(change):
        return lambda everything, *_: change(policies(everything)[0])

    for rule, change in (
            ("first", lambda _all, pod, _one: pod["initContainers"].insert(0, {"name": "other", "image": "other"})),
            ("native sidecar", lambda _all, _pod, one: one.pop("restartPolicy")),
            ("not root", rights(runAsNonRoot=False)), ("not root", rights(runAsUser=0)), ("not root", rights(runAsGroup=0)),
            ("not privileged", rights(privileged=True)),
            ("no escalation", rights(allowPrivilegeEscalation=True)),
            ("read-only root", rights(readOnlyRootFilesystem=False)),
            ("no capabilities", rights(capabilities={"drop": ["NET_RAW"]})),
            ("no capabilities", rights(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
            ("seccomp", rights(seccompProfile={"type": "Unconfined"})),
            ("token hidden", without(TOKEN)), ("token hidden", mount(TOKEN, name="shiftgate-config")),
            ("read-only mounts", mount("/etc/shiftgate-keys", readOnly=False)),
            ("state", without(STATE)), ("state", mount(STATE, readOnly=True)), ("state", mount(STATE, name="shiftgate-no-token")),
            ("state", mount(STATE, name="shiftgate-keys")), ("state", text("/var/lib/shiftgate/", "/var/lib/other/")),
            ("no subPath", mount("/etc/shiftgate", subPath="rollout.toml")),
            ("volumes", lambda _all, pod, _one: pod["volumes"].append({"name": "shiftgate-more", "hostPath": {"path": "/"}})),
            ("own volumes", lambda _all, pod, _one: pod["containers"][0].update(volumeMounts=[{"name": "shiftgate-keys", "mountPath": "/k"}])),
            ("keys readable", lambda _all, pod, _one: volume(pod, "shiftgate-keys")["secret"].update(defaultMode=0o400)),
            ("keys readable", lambda _all, pod, _one: volume(pod, "shiftgate-keys")["secret"].update(defaultMode=0o666)),
            ("host", lambda _all, pod, _one: pod.update(hostNetwork=True)), ("host", lambda _all, pod, _one: pod.update(hostPID=True)),
            ("host port", lambda _all, _pod, one: one["ports"][0].update(hostPort=9900)),
            ("no pod rights", lambda _all, pod, _one: pod.update(securityContext={"fsGroup": 0})),
            ("no pod rights", lambda _all, pod, _one: pod.update(automountServiceAccountToken=True)),
            ("startup probe", lambda _all, _pod, one: one.pop("startupProbe")),
            ("liveness probe", lambda _all, _pod, one: one["livenessProbe"]["httpGet"].update(path="/readyz")),
            ("memory", lambda _all, _pod, one: one["resources"]["limits"].update(memory="256Mi")),
            ("listen", text('"127.0.0.1:8080"', '"0.0.0.0:8080"')), ("admin port", text(":9900", ":9901")),
            ("grace", lambda _all, pod, _one: pod.update(terminationGracePeriodSeconds=20)),
            ("kinds", lambda everything, *_: everything.append({"kind": "ClusterRoleBinding"})),
            ("ingress", policy(lambda one: one["ingress"][0].pop("from"))), ("ingress", policy(lambda one: one["ingress"][0].pop("ports"))),
            ("ingress", policy(lambda one: one.update(policyTypes=["Egress"]))),
            ("egress", policy(lambda one: one["egress"].append({}))),
            ("metadata service", policy(lambda one: one["egress"][1]["to"][0]["ipBlock"].pop("except")))):
        yield rule, broken(change)


def taken_out(manifest):
    """Returns a workload without what the component adds; fails if the component changed anything else."""
    rest = copy.deepcopy(manifest)
    pod = template(rest)["spec"]
    added = pod["initContainers"].pop(0)
    assert added["name"] == "shiftgate", added["name"]
    pod["volumes"] = [one for one in pod["volumes"] if not one["name"].startswith("shiftgate-")]
    environment = pod["containers"][0]["env"]
    assert {"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:8080/v1"} in environment
    pod["containers"][0]["env"] = [one for one in environment if one["name"] != "OPENAI_BASE_URL"]
    for owner, key in ((pod, "initContainers"), (pod, "volumes"), (pod["containers"][0], "env")):
        if not owner[key]:
            del owner[key]
    return rest
