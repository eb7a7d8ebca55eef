#!/usr/bin/env bash
# Builds a real Jaeger from its Go module, once, for machines without Docker, and caches it.
#
#   jaeger.sh         builds it if needed and runs it: UI and query API on 16686, OTLP on 4317 (gRPC) and 4318 (HTTP)
#   jaeger.sh build   only builds it and prints its path
#
# SHIFTGATE_JAEGER names an installed Jaeger v2 instead. The Go module has only a placeholder for the UI's page: use the
# query API, or set jaeger_query.ui.assets_path to the UI's files.
set -euo pipefail

# The newest version that the module path allows: v1.76.0 is the code of Jaeger 2.13.
version=v1.76.0
module=github.com/jaegertracing/jaeger
binary="${SHIFTGATE_JAEGER:-${XDG_CACHE_HOME:-$HOME/.cache}/shiftgate/jaeger}"

say() {
  echo "jaeger.sh: $*" >&2
}

build() {
  [[ -x "$binary" ]] && return
  if [[ -n "${SHIFTGATE_JAEGER:-}" ]]; then
    say "SHIFTGATE_JAEGER names $SHIFTGATE_JAEGER, which is not a program"
    exit 1
  fi
  if ! command -v go >/dev/null; then
    say "Go is not installed: install Go 1.26 or newer, or use compose.yaml"
    exit 1
  fi
  say "building $module $version: about four minutes, once"
  local folder
  # `go install` refuses a module that replaces others; its own go.sum still holds all of them to their checksums.
  go mod download "$module@$version"
  folder="$(go env GOMODCACHE)/$module@$version"
  mkdir -p "$(dirname "$binary")"
  # The rename makes the program appear whole or not at all.
  go -C "$folder" build -trimpath -ldflags '-s -w' -o "$binary.new.$$" ./cmd/jaeger
  mv "$binary.new.$$" "$binary"
}

case "${1:-run}" in
  build)
    build
    echo "$binary"
    ;;
  run)
    build
    say "UI and query API: http://127.0.0.1:16686   OTLP: http://127.0.0.1:4317 (gRPC), http://127.0.0.1:4318 (HTTP)"
    exec "$binary"
    ;;
  *)
    say "unknown argument $1; use build, or none"
    exit 2
    ;;
esac
