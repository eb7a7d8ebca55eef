#!/usr/bin/env python3
"""Applies the manifests of examples/kubernetes to a real kube-apiserver, with server-side validation: run by servers.sh.

The namespace enforces the Pod Security level `restricted`, and the admission of service accounts is on: so the server itself says whether
the pods are confined, and whether the sidecar gets a token. Needs etcd, kube-apiserver and kustomize in the PATH.
"""

import copy
import json
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/deployment"), str(ROOT / "examples/kubernetes")]
from beside import eventually, free_port  # noqa: E402
from manifests import TOKEN, pods, sidecar, template  # noqa: E402

# Of the PodMonitor there is no definition on this server; check.py looks at it.
PATHS = {"ConfigMap": "api/v1", "Secret": "api/v1", "Deployment": "apis/apps/v1", "StatefulSet": "apis/apps/v1", "Job": "apis/batch/v1",
         "CronJob": "apis/batch/v1", "NetworkPolicy": "apis/networking.k8s.io/v1", "Pod": "api/v1", "ServiceAccount": "api/v1"}
PLURAL = {"NetworkPolicy": "networkpolicies"}


class Server:
    def __init__(self, folder):
        self.folder, self.port, etcd, peer = folder, free_port(), free_port(), free_port()
        key = folder / "accounts.pem"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text("check,check,check,system:masters\n")
        log = open(folder / "log", "w")
        quiet = dict(stdout=log, stderr=log)
        client = f"http://127.0.0.1:{etcd}"
        self.processes = [
            subprocess.Popen(["etcd", "--data-dir", folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                              "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                              "--initial-cluster", f"default=http://127.0.0.1:{peer}"], **quiet),
            subprocess.Popen(["kube-apiserver", "--etcd-servers", client, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
                              "--secure-port", str(self.port), "--cert-dir", folder / "certificates", "--service-cluster-ip-range", "10.0.0.0/24",
                              "--service-account-issuer", "https://check", "--service-account-key-file", key,
                              "--service-account-signing-key-file", key, "--authorization-mode", "RBAC", "--token-auth-file", folder / "tokens.csv",
                              "--endpoint-reconciler-type", "none"], **quiet)]

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/{path}", json.dumps(body).encode() if body else None, method=method, headers={
            "authorization": "Bearer check", "content-type": kind})
        context = ssl.create_default_context(cafile=self.folder / "certificates/apiserver.crt")
        context.check_hostname = False
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self):
        assert all(one.poll() is None for one in self.processes), (self.folder / "log").read_text()[-3000:]
        try:
            request = urllib.request.Request(f"https://127.0.0.1:{self.port}/readyz", headers={"authorization": "Bearer check"})
            context = ssl.create_default_context(cafile=self.folder / "certificates/apiserver.crt")
            context.check_hostname = False
            return urllib.request.urlopen(request, timeout=5, context=context).status == 200
        except (OSError, urllib.error.URLError):
            return False

    def apply(self, manifest, namespace, **query):
        """Server-side apply; an unknown or a repeated field is refused."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        plural = PLURAL.get(kind, kind.lower() + "s")
        more = "".join(f"&{key}={value}" for key, value in query.items())
        path = f"{PATHS[kind]}/namespaces/{namespace}/{plural}/{name}?fieldManager=check&fieldValidation=Strict{more}"
        return self.call("PATCH", path, manifest, "application/apply-patch+yaml")

    def end(self):
        for one in reversed(self.processes):
            one.terminate()
            one.wait()


def rendered(folder):
    text = subprocess.run(["kustomize", "build", folder], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def strangers(folder):
    shutil.copytree(ROOT / "examples/kubernetes/component", folder / "component")
    shutil.copy(ROOT / "examples/kubernetes/strangers.yaml", folder)
    (folder / "kustomization.yaml").write_text("resources: [strangers.yaml]\ncomponents: [component]\n")
    return rendered(folder)


def namespace(server, name, **labels):
    status, said = server.call("POST", "api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    assert status == 201, said
    # There is no controller here to make it.
    for account in ("default", "web"):
        status, said = server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, name)
        assert status == 201, said


def check_all(server, manifests, where):
    applied = [one for one in manifests if one["kind"] != "PodMonitor"]
    for one in applied:
        status, said = server.apply(one, where)
        assert status == 201, f"{one['kind']} {one['metadata']['name']}: {said}"
    wrong = copy.deepcopy(next(one for one in applied if one["kind"] == "Deployment"))
    sidecar(template(wrong)["spec"])["restartpolicy"] = "Always"
    status, said = server.apply(wrong, where, dryRun="All")
    assert status >= 400, "an unknown field is accepted: this check cannot fail"
    print(f"{where}: {len(applied)} manifests accepted")


def pod_of(spec, name):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def check_restricted(server, base):
    """The pod is admitted at the level `restricted`, and each loosened line is refused."""
    spec = pods(base)[0]
    status, said = server.apply(pod_of(spec, "app"), "app")
    assert status == 201, said
    refused = 0
    for key, value in (("runAsNonRoot", False), ("runAsUser", 0), ("privileged", True), ("allowPrivilegeEscalation", True),
                       ("capabilities", {"drop": ["NET_RAW"]}), ("seccompProfile", {"type": "Unconfined"})):
        loose = copy.deepcopy(spec)
        sidecar(loose)["securityContext"][key] = value
        status, said = server.apply(pod_of(loose, f"loose-{key.lower()}"), "app")
        assert status in (403, 422), f"{key}: {said}"
        refused += 1
    print(f"the pod is admitted as restricted; {refused} loosened ones are refused")


def check_token(server, stranger):
    """The admission of service accounts gives the application its token, and the sidecar none."""
    spec = next(template(one)["spec"] for one in stranger if one["kind"] == "Deployment")
    status, made = server.apply(pod_of(spec, "web"), "strangers")
    assert status == 201, made
    volumes = {one["name"]: one for one in made["spec"]["volumes"]}
    at = lambda container: [volumes[one["name"]] for one in container["volumeMounts"] if one["mountPath"] == TOKEN]  # noqa: E731
    assert "projected" in at(made["spec"]["containers"][0])[0], "the application has lost its token"
    hidden = at(sidecar(made["spec"]))
    assert len(hidden) == 1 and "emptyDir" in hidden[0], hidden
    open_spec = copy.deepcopy(spec)
    one = sidecar(open_spec)
    one["volumeMounts"] = [mount for mount in one["volumeMounts"] if mount["mountPath"] != TOKEN]
    status, made = server.apply(pod_of(open_spec, "open"), "strangers")
    assert status == 201 and any("kube-api-access" in mount["name"] for mount in sidecar(made["spec"])["volumeMounts"]), "this check cannot fail"
    print("the application keeps its token, and the sidecar has none")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "strangers").mkdir()
        base, stranger = rendered(ROOT / "examples/kubernetes/base"), strangers(folder / "strangers")
        server = Server(folder)
        try:
            eventually(server.ready, "a ready kube-apiserver")
            version = re.search(r"k8s.io/kubernetes (v\S+)", (ROOT / "tests/kubernetes/go.mod").read_text())[1]
            print(f"kube-apiserver {version}")
            namespace(server, "app", **{"pod-security.kubernetes.io/enforce": "restricted"})
            namespace(server, "strangers")
            check_all(server, base, "app")
            check_all(server, stranger, "strangers")
            check_restricted(server, base)
            check_token(server, stranger)
        finally:
            server.end()


main()
