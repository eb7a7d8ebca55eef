"""The whole sidecar, its volumes and the base's other manifests: what is added to them is a difference, as well as what is missing."""

STATE = "/var/lib/shiftgate"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"

# Without `image`, which a team replaces, and `args`, which only the base has.
SIDECAR = {
    "name": "shiftgate",
    "restartPolicy": "Always",
    "ports": [{"name": "shiftgate-admin", "containerPort": 9900}],
    "env": [
        {"name": "K8S_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "K8S_NAMESPACE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ],
    "startupProbe": {"httpGet": {"path": "/readyz", "port": "shiftgate-admin"}, "periodSeconds": 1, "failureThreshold": 60},
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "shiftgate-admin"}, "periodSeconds": 10, "timeoutSeconds": 3},
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "384Mi"}},
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "volumeMounts": [
        {"name": "shiftgate-config", "mountPath": "/etc/shiftgate", "readOnly": True},
        {"name": "shiftgate-keys", "mountPath": "/etc/shiftgate-keys", "readOnly": True},
        {"name": "shiftgate-state", "mountPath": STATE},
        {"name": "shiftgate-no-token", "mountPath": TOKEN, "readOnly": True},
    ],
}

VOLUMES = [
    {"name": "shiftgate-config", "configMap": {"name": "shiftgate"}},
    # The files belong to root, and the sidecar runs as another user.
    {"name": "shiftgate-keys", "secret": {"secretName": "shiftgate-keys", "defaultMode": 0o444}},
    {"name": "shiftgate-state", "emptyDir": {"sizeLimit": "64Mi"}},
    {"name": "shiftgate-no-token", "emptyDir": {"sizeLimit": "1Mi"}},
]

# The base's pod beside its containers. Kubernetes mounts a token unless `automountServiceAccountToken` is false.
POD = {"terminationGracePeriodSeconds": 45, "automountServiceAccountToken": False}

KINDS = ["ConfigMap", "Deployment", "NetworkPolicy", "PodMonitor", "Secret"]


def _namespace(name):
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


POLICY = {
    "podSelector": {"matchLabels": {"app": "app"}},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": [_namespace("monitoring")], "ports": [{"protocol": "TCP", "port": 9900}]}],
    "egress": [
        {"to": [{**_namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
         "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}], "ports": [{"protocol": "TCP", "port": 443}]},
        {"to": [_namespace("models")], "ports": [{"protocol": "TCP", "port": 8000}]},
        {"to": [_namespace("observability")], "ports": [{"protocol": "TCP", "port": 4317}]},
    ],
}
