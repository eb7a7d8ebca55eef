#!/usr/bin/env bash
# Builds a real kube-apiserver, etcd, kustomize and the kubelet's writer of volumes from their Go modules, once, and checks the manifests
# of examples/kubernetes with them, on loopback.
#
#   servers.sh BINARY SIM   builds if needed, then applies every manifest with server-side validation and rolls ten sidecars
#   servers.sh build        only builds: eight minutes of CPU
#
# Needs Go 1.26, openssl, and a Python with PyYAML and kubernetes-validate (SHIFTGATE_PYTHON names it; `.ci/run deployment` makes one).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/shiftgate/kubernetes"
python="${SHIFTGATE_PYTHON:-$here/../../target/deployment/bin/python}"

# build NAME PACKAGE: the rename makes a program appear whole or not at all.
build() {
  [[ -x "$cache/$1" ]] && return
  echo "servers.sh: building $1" >&2
  mkdir -p "$cache"
  nice -n 19 go -C "$here" build -p 1 -trimpath -ldflags '-s -w' -o "$cache/$1.new.$$" "$2"
  mv "$cache/$1.new.$$" "$cache/$1"
}

build kustomize sigs.k8s.io/kustomize/kustomize/v5
build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build projection ./projection
[[ "${1:-}" != build ]] || exit 0
(($# == 2)) || { echo "usage: servers.sh BINARY SIM, or servers.sh build" >&2; exit 2; }

PATH="$cache:$PATH" "$python" "$here/apply.py"
PATH="$cache:$PATH" SHIFTGATE_PROJECTION="$cache/projection" "$python" "$here/../../examples/kubernetes/check.py" "$1" "$2"
