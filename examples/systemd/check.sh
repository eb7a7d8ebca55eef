#!/usr/bin/env bash
# Checks the units: examples/systemd/check.sh BINARY
#
# By systemd-analyze 253 or newer, which is unpacked into target/systemd and not installed:
# - `verify` prints nothing (it exits with 0 on lines that it ignores);
# - `security` finds an exposure of 2.0 at most, and grants only what $granted lists;
# - each line of the sandbox is needed: without it one of these checks fails.
# By strace: BINARY, through a start, a request, a reload and a drain, makes no system call that the unit forbids.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary="$(realpath "${1:?usage: check.sh BINARY}")"
units=examples/systemd
unpacked="$PWD/target/systemd"
scratch="$(mktemp -d)"
running=""
trap '[[ -z "$running" ]] || kill "$running" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# It connects to any address over the network, and listens on it or on a Unix socket; its files are those of the machine.
granted="DeviceAllow IPAddressDeny PrivateNetwork RestrictAddressFamilies_AF_INET_INET6 RestrictAddressFamilies_AF_UNIX RootDirectoryOrRootImage"

fail() {
  echo "check.sh: $*" >&2
  exit 1
}

# Downloads systemd with apt's own client, from the mirror that this machine uses.
unpack() {
  [[ ! -x "$unpacked/usr/bin/systemd-analyze" ]] || return 0
  local suite mirror folder="$scratch/apt" package
  suite="$(. /etc/os-release && echo "$VERSION_CODENAME")-backports"
  mirror="$(sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *([a-z]+:[^ ]+\/debian\/?)( .*)?$/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)"
  [[ -n "$mirror" ]] || fail "no mirror of Debian in /etc/apt: install systemd 253 or newer and put it into $unpacked"
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$folder/sources.list"
  local options=(-qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=-
    -o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder/cache")
  apt-get "${options[@]}" update
  (cd "$folder" && apt-get "${options[@]}" download {systemd,libsystemd-shared,libsystemd0}"/$suite")
  for package in "$folder"/*.deb; do
    dpkg -x "$package" "$folder/root"
  done
  mkdir -p target && rm -rf "$unpacked" && mv "$folder/root" "$unpacked"
}

analyze() {
  LD_LIBRARY_PATH="$unpacked/usr/lib/$(uname -m)-linux-gnu/systemd:$unpacked/usr/lib/$(uname -m)-linux-gnu:$unpacked/lib/systemd" \
    SYSTEMD_UNIT_PATH="$2:$unpacked/lib/systemd/system:$unpacked/usr/lib/systemd/system" \
    "$unpacked/usr/bin/systemd-analyze" "${@:3}" 2>&1
}

# Fails, and prints the reason, unless the units of FOLDER are accepted.
accepted() {
  local folder="$1" said found
  said="$(analyze - "$folder" verify --man=no "$folder/shiftgate.service" "$folder/shiftgate.socket")" ||
    { echo "verify: $said"; return 1; }
  [[ -z "$said" ]] || { echo "verify: $said"; return 1; }
  said="$(analyze - "$folder" security --offline=true --threshold=20 --no-pager "$folder/shiftgate.service")" ||
    { echo "security: $(tail -1 <<<"$said")"; return 1; }
  found="$(analyze - "$folder" security --offline=true --json=short "$folder/shiftgate.service" | python3 -c '
import json, sys
print(*sorted(row["json_field"] for row in json.load(sys.stdin) if row["exposure"] not in (None, "", "0.0", 0)))')"
  [[ "$found" == "$granted" ]] || { echo "it grants: $found; expected: $granted"; return 1; }
}

# Copies the units to FOLDER with a program that is there.
copy() {
  mkdir -p "$1"
  cp "$units"/shiftgate.{service,socket} "$1"
  sed -i "s|^ExecStart=/usr/local/bin/shiftgate|ExecStart=$binary|" "$1/shiftgate.service"
}

sandbox_lines() {
  sed -n '/^# The sandbox/,/^$/p' "$units/shiftgate.service" | grep -v "^#" | grep .
}

seconds() {
  sed -nE "s/$1/\\1/p" "$2" | head -1
}

unpack
echo "-- $(analyze - "$units" --version | head -1)"

copy "$scratch/whole"
accepted "$scratch/whole" || fail "the units are refused"

lines=0
while IFS= read -r line; do
  lines=$((lines + 1))
  copy "$scratch/without"
  grep -vxF -- "$line" "$scratch/whole/shiftgate.service" >"$scratch/without/shiftgate.service"
  ! accepted "$scratch/without" >"$scratch/said" || fail "the check does not notice that $line is missing"
done < <(sandbox_lines)
((lines >= 20)) || fail "only $lines lines of sandbox"
echo "-- $lines lines of sandbox, each of them needed"

copy "$scratch/loose"
for line in 'Type=notify-reloaded' 'NoSuchKey=1'; do
  sed "s/^Type=notify-reload\$/&\n$line/" "$scratch/whole/shiftgate.service" >"$scratch/loose/shiftgate.service"
  ! accepted "$scratch/loose" >"$scratch/said" || fail "the check does not notice $line"
done

stop="$(seconds '^TimeoutStopSec=([0-9]+)s$' "$units/shiftgate.service")"
drain="$(seconds '^#? *drain *= *"([0-9]+)s".*$' rollout.toml)"
((stop > drain)) || fail "TimeoutStopSec $stop is not above drain $drain"

# The calls that the process makes, against the sets of the filter.
# A folder of its own: shiftgate watches it, and strace writes to the other.
mkdir "$scratch/own"
cat >"$scratch/own/rollout.toml" <<'TOML'
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
state = "state.json"
[rollout]
name = "check"
baseline = "openai"
percent = {}
[backend.openai]
engine = "openai"
url = "http://localhost:9/v1"
api_key = "client"
[guard]
[records]
TOML
touch "$scratch/log"
env -u SHIFTGATE_CONFIG NOTIFY_SOCKET="$scratch/notify" timeout 120 strace -f -qq -o "$scratch/calls" \
  "$binary" --config "$scratch/own/rollout.toml" >"$scratch/log" 2>&1 &
running=$!
said() {
  timeout 60 bash -c 'until grep -q "$1" "$2"; do sleep 0.1; done' - "$1" "$scratch/log" || fail "the log has no $1: $(cat "$scratch/log")"
}
said '"message":"listening"'
listen="$(sed -nE 's/.*"listen":"([^"]*)".*/\1/p' "$scratch/log")"
admin="$(sed -nE 's/.*"admin":"([^"]*)".*/\1/p' "$scratch/log")"
process="$(pgrep -P "$(pgrep -P "$running")")"
python3 - "$listen" "$admin" <<'PYTHON'
import sys, urllib.error, urllib.request
listen, admin = sys.argv[1:]
urllib.request.urlopen(f"http://{admin}/metrics").read()
try:
    urllib.request.urlopen(f"http://{listen}/v1/chat/completions", b'{"model":"m","messages":[]}')
except urllib.error.HTTPError as refused:
    assert refused.code == 502, refused.code
PYTHON
sed -i 's/"check"/"checked"/' "$scratch/own/rollout.toml"
kill -HUP "$process"
said 'rollout file reloaded'
kill -TERM "$process"
wait "$running" || fail "it ended with code $?"
running=""
analyze - "$units" syscall-filter --no-pager >"$scratch/sets"
python3 - "$units/shiftgate.service" "$scratch" <<'PYTHON'
import re, sys
unit, scratch = sys.argv[1:]
sets, name = {}, None
for line in open(f"{scratch}/sets"):
    if line.startswith("@"):
        sets[name := line.strip()] = []
    elif name and (call := re.fullmatch(r"    ([@a-z0-9_-]+)\n", line)):
        sets[name].append(call[1])

def calls(names):
    for name in names:
        yield from calls(sets[name]) if name.startswith("@") else [name]

allowed = set()
for given in re.findall(r"^SystemCallFilter=(.*)$", open(unit).read(), re.M):
    if given.startswith("~"):
        # Names that an earlier line gave come back with the next line, as in systemd.
        allowed -= set(calls(given[1:].split()))
    else:
        allowed |= set(calls(given.split()))
assert len(allowed) > 100, sorted(allowed)
made = {call[1] for line in open(f"{scratch}/calls") if (call := re.match(r"\d+ +([a-z0-9_]+)\(", line))}
# Before it runs, strace's child starts the program and asks for sockets of messages.
assert {"execve", "epoll_wait", "sendto"} & made, sorted(made)
forbidden = sorted(made - allowed)
print(f"-- {len(made)} system calls in use, {len(allowed)} allowed")
if forbidden:
    sys.exit(f"check.sh: the filter forbids calls that shiftgate makes: {', '.join(forbidden)}")
PYTHON
echo "-- the units are good"
