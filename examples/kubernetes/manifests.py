"""Rendered manifests: what they may grant, and what the component may change."""

import copy
import tomllib

from expected import KINDS, POD, POLICY, SIDECAR, STATE, TOKEN, VOLUMES

UNITS = {"Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30, "GiB": 1 << 30, "KiB": 1 << 10}
# Bytes that the process needs beside bodies and copies: four times its measured memory with 64 busy connections.
PROCESS = 64 << 20
BASE_URL = {"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:8080/v1"}


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
    """Yields each rule of a pod, and whether it holds. Parts are compared as a whole, so that nothing can be added."""
    container = sidecar(pod)
    server, limits, shadow = file.get("server", {}), file.get("limits", {}), file.get("shadow")
    needed = size(limits.get("body_bytes", "256MiB")) + size((shadow or {}).get("max_bytes", "64MiB")) + PROCESS
    others = [*pod["containers"], *(one for one in pod["initContainers"] if one is not container)]
    own = {one["name"] for one in VOLUMES}
    used = {one["name"] for one in container["volumeMounts"]}
    yield "first", pod["initContainers"][0] is container
    for key, expected in SIDECAR.items():
        yield key, container.get(key) == expected
    yield "nothing else in the sidecar", set(container) - {"image", "args"} <= set(SIDECAR)
    yield "volumes", [one for one in pod["volumes"] if one["name"] in used | own or one["name"].startswith("shiftgate-")] == VOLUMES
    yield "own volumes", not any(one["name"] in own for other in others for one in other.get("volumeMounts", []))
    yield "pod", {key: value for key, value in pod.items() if key not in ("containers", "initContainers", "volumes")} == POD
    # What the file needs of the manifests.
    yield "memory", size(container["resources"]["limits"]["memory"]) >= needed
    yield "listen", server.get("listen", "127.0.0.1:8080").startswith("127.0.0.1:")
    yield "admin port", [one.get("containerPort") for one in container["ports"]] == [int(server["admin"].rsplit(":", 1)[1])]
    yield "state", server.get("state", "").startswith(f"{STATE}/")
    yield "grace", pod.get("terminationGracePeriodSeconds", 30) > int(server.get("drain", "20s").removesuffix("s"))


def problems(manifests):
    """Returns the names of all rules that the base's manifests break."""
    file = tomllib.loads(rollout(manifests))
    found = {name for pod in pods(manifests) for name, holds in pod_problems(pod, file) if not holds}
    if sorted(one["kind"] for one in manifests) != KINDS:
        found.add("kinds")
    if any(set(one.get("data", {})) != {"rollout.toml"} for one in manifests if one["kind"] == "ConfigMap"):
        found.add("config")
    if policies(manifests) != [POLICY]:
        found.add("network policy")
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

    def no_right(key):
        return lambda _all, _pod, one: one["securityContext"].pop(key)

    def more(**more):
        return lambda _all, _pod, one: one.update(more)

    def of_pod(**more):
        return lambda _all, pod, _one: pod.update(more)

    def mount(path, **more):
        return lambda _all, _pod, one: next(m for m in one["volumeMounts"] if m["mountPath"] == path).update(more)

    def without(path):
        return lambda _all, _pod, one: one.update(volumeMounts=[m for m in one["volumeMounts"] if m["mountPath"] != path])

    def mounted(name, source):
        def change(_all, pod, one):
            pod["volumes"].append({"name": name, **source})
            one["volumeMounts"].append({"name": name, "mountPath": "/more", "readOnly": True})
        return change

    def text(old, new):
        def change(everything, *_):
            config = next(m for m in everything if m["kind"] == "ConfigMap")["data"]
            assert old in config["rollout.toml"]
            config["rollout.toml"] = config["rollout.toml"].replace(old, new)
        return change

    def policy(change):
        return lambda everything, *_: change(policies(everything)[0])

    def kind(kind):
        return lambda everything, *_: everything.append({"kind": kind})

    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    host = {"hostPath": {"path": "/"}}
    for rule, change in (
            ("first", lambda _all, pod, _one: pod["initContainers"].insert(0, {"name": "other", "image": "other"})),
            ("restartPolicy", lambda _all, _pod, one: one.pop("restartPolicy")),
            ("securityContext", rights(runAsNonRoot=False)), ("securityContext", rights(runAsUser=0)), ("securityContext", rights(runAsGroup=0)),
            ("securityContext", rights(privileged=True)), ("securityContext", rights(allowPrivilegeEscalation=True)),
            ("securityContext", rights(readOnlyRootFilesystem=False)), ("securityContext", rights(capabilities={"drop": ["NET_RAW"]})),
            ("securityContext", rights(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
            ("securityContext", rights(seccompProfile={"type": "Unconfined"})), ("securityContext", rights(procMount="Unmasked")),
            ("securityContext", rights(seLinuxOptions={"type": "spc_t"})), ("securityContext", rights(appArmorProfile={"type": "Unconfined"})),
            *(("securityContext", no_right(key)) for key in SIDECAR["securityContext"]),
            ("securityContext", lambda _all, _pod, one: one.pop("securityContext")),
            ("volumeMounts", without(TOKEN)), ("volumeMounts", mount(TOKEN, name="shiftgate-config")),
            ("volumeMounts", mount(TOKEN, mountPath="/run/secrets/kubernetes.io/serviceaccount")),
            ("volumeMounts", mount("/etc/shiftgate-keys", readOnly=False)), ("volumeMounts", mount("/etc/shiftgate", subPath="rollout.toml")),
            ("volumeMounts", mounted("host", host)), ("volumeMounts", mounted("token", token)), ("volumeMounts", mounted("shiftgate-token", token)),
            ("volumes", mounted("host", host)), ("volumes", mounted("token", token)), ("volumes", mounted("shiftgate-token", token)),
            ("volumes", lambda _all, pod, _one: pod["volumes"].append({"name": "shiftgate-more", **host})),
            ("volumes", lambda _all, pod, _one: volume(pod, "shiftgate-keys")["secret"].update(defaultMode=0o400)),
            ("volumes", lambda _all, pod, _one: volume(pod, "shiftgate-keys")["secret"].update(defaultMode=0o666)),
            ("own volumes", lambda _all, pod, _one: pod["containers"][0].update(volumeMounts=[{"name": "shiftgate-keys", "mountPath": "/k"}])),
            ("nothing else in the sidecar", more(envFrom=[{"secretRef": {"name": "other"}}])),
            ("nothing else in the sidecar", more(lifecycle={"preStop": {"exec": {"command": ["x"]}}})),
            ("nothing else in the sidecar", more(volumeDevices=[{"name": "x", "devicePath": "/dev/x"}])),
            ("nothing else in the sidecar", more(command=["sh"])), ("nothing else in the sidecar", more(stdin=True)),
            ("env", lambda _all, _pod, one: one["env"].append({"name": "K", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}})),
            ("ports", lambda _all, _pod, one: one["ports"][0].update(hostPort=9900)),
            ("ports", lambda _all, _pod, one: one["ports"].append({"containerPort": 8080})),
            ("startupProbe", lambda _all, _pod, one: one.pop("startupProbe")),
            ("livenessProbe", lambda _all, _pod, one: one["livenessProbe"]["httpGet"].update(path="/readyz")),
            ("resources", lambda _all, _pod, one: one["resources"]["limits"].update(cpu="10m")),
            ("pod", of_pod(hostNetwork=True)), ("pod", of_pod(hostPID=True)), ("pod", of_pod(hostIPC=True)),
            ("pod", of_pod(shareProcessNamespace=True)), ("pod", of_pod(securityContext={"fsGroup": 0})),
            ("pod", of_pod(serviceAccountName="admin")), ("pod", of_pod(automountServiceAccountToken=True)),
            ("pod", lambda _all, pod, _one: pod.pop("automountServiceAccountToken")),
            ("memory", lambda _all, _pod, one: one["resources"]["limits"].update(memory="256Mi")),
            ("listen", text('"127.0.0.1:8080"', '"0.0.0.0:8080"')), ("listen", text('"127.0.0.1:8080"', '"[::]:8080"')),
            ("admin port", text(":9900", ":9901")), ("state", text("/var/lib/shiftgate/", "/var/lib/other/")),
             ("volumeMounts", without(STATE)), ("volumeMounts", mount(STATE, readOnly=True)), ("grace", of_pod(terminationGracePeriodSeconds=20)),
            ("kinds", kind("ClusterRoleBinding")), ("kinds", kind("Role")), ("kinds", kind("Secret")),
            ("kinds", lambda everything, *_: everything.remove(next(m for m in everything if m["kind"] == "NetworkPolicy"))),
            ("config", lambda everything, *_: next(m for m in everything if m["kind"] == "ConfigMap")["data"].update(more="x")),
            *(("network policy", policy(change)) for change in (
                lambda one: one["ingress"][0].pop("from"), lambda one: one["ingress"][0].pop("ports"),
                lambda one: one["ingress"][0].update({"from": [{"namespaceSelector": {}}]}),
                lambda one: one["ingress"][0].update({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
                lambda one: one.update(policyTypes=["Egress"]), lambda one: one.update(podSelector={"matchLabels": {"a": "nothing"}}),
                lambda one: one["egress"].append({}), lambda one: one["egress"][1].pop("ports"),
                lambda one: one["egress"].append({"to": [{"namespaceSelector": {}}], "ports": [{"port": 1, "endPort": 65535}]}),
                lambda one: one["egress"].append({"to": [{"ipBlock": {"cidr": "::/0"}}], "ports": [{"port": 443}]}),
                lambda one: one["egress"][1]["to"][0]["ipBlock"].pop("except")))):
        yield rule, broken(change)


def taken_out(manifest):
    """Returns a workload without what the component adds; fails if the component changed anything else."""
    rest = copy.deepcopy(manifest)
    pod = template(rest)["spec"]
    added = pod["initContainers"].pop(0)
    assert added["name"] == "shiftgate", added["name"]
    pod["volumes"] = [one for one in pod["volumes"] if not one["name"].startswith("shiftgate-")]
    # Whatever the entry was, the whole of it is replaced.
    assert [one for one in pod["containers"][0]["env"] if one["name"] == "OPENAI_BASE_URL"] == [BASE_URL]
    for owner, key in ((pod, "initContainers"), (pod, "volumes")):
        if not owner[key]:
            del owner[key]
    return without_base_url(rest)


def without_base_url(manifest):
    """Returns a workload without the first container's OPENAI_BASE_URL."""
    rest = copy.deepcopy(manifest)
    first = template(rest)["spec"]["containers"][0]
    first["env"] = [one for one in first.get("env", []) if one["name"] != "OPENAI_BASE_URL"]
    if not first["env"]:
        del first["env"]
    return rest
