#!/usr/bin/env bash
# A real Jaeger without Docker, where Go is installed: built from its own module, once, and kept.
#
#   jaeger.sh         build it if needed, and run it: UI and query API on 16686, OTLP on 4317 (gRPC) and 4318 (HTTP)
#   jaeger.sh build   only build it; prints where it is
#
# SHIFTGATE_JAEGER names a Jaeger v2 that is there already. The module carries a placeholder for the UI's page: traces
# are then seen through the query API, or with the UI's files and jaeger_query.ui.assets_path.
set -euo pipefail

# The newest version that the module's path can name: v1.76.0 is the code of Jaeger 2.13.
version=v1.76.0
module=github.com/jaegertracing/jaeger
binary="${SHIFTGATE_JAEGER:-${XDG_CACHE_HOME:-$HOME/.cache}/shiftgate/jaeger}"

say() {
  echo "jaeger.sh: $*" >&2
}

build() {
  [[ -x "$binary" ]] && return
  if [[ -n "${SHIFTGATE_JAEGER:-}" ]]; then
    say "SHIFTGATE_JAEGER is $SHIFTGATE_JAEGER, and there is no program"
    exit 1
  fi
  if ! command -v go >/dev/null; then
    say "Go is not installed: install Go 1.26 or newer, or use compose.yaml"
    exit 1
  fi
  say "building $module $version: some four minutes, once"
  local folder
  # `go install` refuses a module that replaces others; its own go.sum still holds all of them to their checksums.
  go mod download "$module@$version"
  folder="$(go env GOMODCACHE)/$module@$version"
  mkdir -p "$(dirname "$binary")"
  # Whoever looks meanwhile finds all of it or nothing.
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
    say "unknown: $1; say build, or nothing"
    exit 2
    ;;
esac
