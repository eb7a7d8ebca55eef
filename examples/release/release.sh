#!/usr/bin/env bash
# Makes the files of a release: examples/release/release.sh FOLDER [BINARY]
#
#   FOLDER/shiftgate-TARGET.tar.gz          binary, licences, completions, example files, SBOM
#   FOLDER/shiftgate-TARGET.tar.gz.sha256   for sha256sum --check
#   FOLDER/shiftgate-TARGET.cdx.json        SBOM: CycloneDX 1.5, by cargo-cyclonedx
#   FOLDER/changes.md                       the section of CHANGELOG.md
#
# Builds the profile `dist`, by `cargo auditable` if it is installed, unless BINARY is given. The same commit, toolchain
# and BINARY give the same bytes: times are SOURCE_DATE_EPOCH, by default that of the commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C

fail() {
  echo "release.sh: $*" >&2
  exit 1
}

out="$(realpath -m "${1:?usage: release.sh FOLDER [BINARY]}")"
target="$(rustc -vV | sed -n 's/^host: //p')"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)"
commit="${SHIFTGATE_COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)}"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
scratch="$(mktemp -d)"
# cargo-cyclonedx writes beside Cargo.toml.
sbom="shiftgate-release.cdx"
trap 'rm -rf "$scratch" "$sbom.json"' EXIT

build() {
  local cargo=(cargo)
  ! cargo auditable --version >/dev/null 2>&1 || cargo=(cargo auditable)
  # Without the folders of this machine the bytes are the same on another one.
  local home="${CARGO_HOME:-$HOME/.cargo}"
  export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$PWD=/shiftgate"
  export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/shiftgate"
  SHIFTGATE_COMMIT="$commit" "${cargo[@]}" build --locked --profile dist --target "$target" --target-dir target/release-build
  binary="target/release-build/$target/dist/shiftgate"
}

# Prints the section of this version, or of what is not released.
changes() {
  awk -v version="$version" '
    /^## / { if (found) exit; found = index($0, "[" version "]") || index($0, "[Unreleased]") }
    found' CHANGELOG.md
}

binary="${2:-}"
[[ -n "$binary" ]] || build
[[ "$("$binary" --version)" == "shiftgate $version" ]] || fail "$binary is $("$binary" --version), not $version"

folder="$scratch/shiftgate-$target"
mkdir -p "$folder"/{completions,examples} "$out"
install -m 755 "$binary" "$folder/shiftgate"
cp LICENSE README.md CHANGELOG.md rollout.toml rollout.schema.json "$folder"
cp examples/*.toml "$folder/examples"
cp -r examples/systemd "$folder/examples"
rm "$folder/examples/systemd/check.sh"
python3 examples/release/licences.py "$target" >"$folder/LICENCES.txt"
cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$folder/LICENCES-standard-library.html"
"$folder/shiftgate" completions bash >"$folder/completions/shiftgate.bash"
"$folder/shiftgate" completions zsh >"$folder/completions/_shiftgate"
"$folder/shiftgate" completions fish >"$folder/completions/shiftgate.fish"

cargo cyclonedx --version >/dev/null 2>&1 || fail "cargo-cyclonedx is missing: cargo install --locked cargo-cyclonedx"
cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps --override-filename "$sbom"
# Its names of the own package contain the folder of this checkout.
sed "s|path+file://$PWD|pkg:cargo/shiftgate|g" "$sbom.json" >"$folder/shiftgate.cdx.json"
! grep -q "$PWD" "$folder/shiftgate.cdx.json" || fail "the SBOM names $PWD"
cp "$folder/shiftgate.cdx.json" "$out/shiftgate-$target.cdx.json"

changes >"$out/changes.md"
[[ -s "$out/changes.md" ]] || fail "CHANGELOG.md has no section of $version"

chmod -R u=rwX,go=rX "$folder"
tar --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
  -C "$scratch" -cf - "shiftgate-$target" | gzip -n -9 >"$out/shiftgate-$target.tar.gz"
(cd "$out" && sha256sum "shiftgate-$target.tar.gz" >"shiftgate-$target.tar.gz.sha256")
cat "$out/shiftgate-$target.tar.gz.sha256"
