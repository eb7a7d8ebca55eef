#!/usr/bin/env bash
# image.sh OUT BINARY: packs the image of the Dockerfile without Docker, as an OCI layout in OUT/oci with the tag `shiftgate`.
#
# BINARY is of `cargo build --profile dist`, built for this machine's C library. Needs Debian's umoci and ca-certificates, and root, as
# the layer's files belong to it. The same BINARY gives the same image. To upload it:
#   skopeo copy oci:OUT/oci:shiftgate docker://REGISTRY/shiftgate:VERSION
# The OCI format has no HEALTHCHECK; Kubernetes has probes instead.
set -euo pipefail
(($# == 2)) || { echo "usage: image.sh OUT BINARY" >&2; exit 2; }
out="$1"
binary="$2"
here="$(dirname "${BASH_SOURCE[0]}")"
image="$out/oci:shiftgate"
created=1970-01-01T00:00:00Z
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

mkdir -p "$out"
rm -rf "$out/oci"
"$here/root.sh" "$binary" "$scratch/root"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=posix \
  --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -C "$scratch/root" -cf "$scratch/root.tar" .
umoci init --layout "$out/oci"
umoci new --image "$image"
umoci raw add-layer --image "$image" --history.created "$created" --history.created_by root.sh "$scratch/root.tar"
umoci config --image "$image" --no-history --created "$created" --author shiftgate --architecture "$(dpkg --print-architecture)" --os linux \
  --config.user 65532:65532 --config.entrypoint /usr/local/bin/shiftgate \
  --config.env SHIFTGATE_CONFIG=/etc/shiftgate/rollout.toml \
  --config.exposedports 8080/tcp --config.exposedports 9900/tcp
umoci gc --layout "$out/oci" >&2
echo "$image: $(du -sb --apparent-size "$scratch/root" | cut -f1) bytes unpacked, $(du -sb "$out/oci" | cut -f1) packed"
