#!/usr/bin/env bash
# root.sh BINARY ROOT: assembles the image's root file system in the new folder ROOT. Dockerfile and image.sh both call it.
#
# It holds the program, the shared libraries that it names, the CA roots, and what the C library reads to find names.
set -euo pipefail
(($# == 2)) || { echo "usage: root.sh BINARY ROOT" >&2; exit 2; }
binary="$1"
root="$2"
roots=/etc/ssl/certs/ca-certificates.crt

[[ -s "$roots" ]] || { echo "root.sh: $roots is missing: install ca-certificates" >&2; exit 1; }
mkdir "$root"
install -D -m 0755 "$binary" "$root/usr/local/bin/shiftgate"
# Symbols are a tenth of the program, and nobody reads them in a container.
! command -v strip >/dev/null || strip "$root/usr/local/bin/shiftgate"
# `ldd` names the loader too, and says "not a dynamic executable" of a static program, which needs none.
{ ldd "$binary" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
  install -D -m 0755 "$library" "$root$library"
done
install -D -m 0644 "$roots" "$root$roots"
install -D -m 0644 /dev/stdin "$root/etc/nsswitch.conf" <<<"hosts: files dns"
# A mount needs its folder, because nothing can be created on a read-only root.
install -d -m 0755 "$root/etc/shiftgate" "$root/proc" "$root/dev" "$root/sys"
find "$root" -exec touch --no-dereference --date=@0 {} +
