#!/usr/bin/env bash
# Checks the units: examples/systemd/check.sh BINARY
#
# By systemd-analyze 253 or newer, which is unpacked into target/systemd and not installed:
# - `verify` prints nothing (it exits with 0 on lines that it ignores);
# - `security` finds an exposure of 2.0 at most, and grants only what $granted lists;
# - each line of the sandbox is needed: without it one of these checks fails;
# - the units have the directives of $directives and no others, so that nothing can be added either.
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

# Of both units, in their order.
directives="[Unit]
Description=shiftgate: shifts LLM traffic between OpenAI and Qwen by percentage
Documentation=https://github.com/shiftgate/shiftgate
After=network-online.target
Wants=network-online.target
[Service]
Type=notify
Type=notify-reload
ExecReload=/bin/kill -HUP \$MAINPID
ExecStart=/usr/local/bin/shiftgate --config /etc/shiftgate/rollout.toml
Restart=on-failure
RestartSec=1s
RestartPreventExitStatus=2
TimeoutStopSec=30s
LimitNOFILE=65536
LoadCredential=qwen-api-key:/etc/shiftgate/keys/qwen-api-key
StateDirectory=shiftgate
StateDirectoryMode=0700
SystemCallErrorNumber=EPERM
DynamicUser=yes
UMask=0077
CapabilityBoundingSet=
PrivateDevices=yes
PrivateUsers=yes
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
[Install]
WantedBy=multi-user.target
[Unit]
Description=Ports of shiftgate
[Socket]
ListenStream=127.0.0.1:8080
ListenStream=127.0.0.1:9900
[Install]
WantedBy=sockets.target"

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
  analyzed "$1" && exact "$1"
}

# Compares the directives of FOLDER, with the program's usual path.
exact() {
  local folder="$1" said
  said="$(sed -e '/^[#;]/d' -e '/^[[:space:]]*$/d' -e "s|^\(ExecStart=[^/]*\)$binary|\1/usr/local/bin/shiftgate|" \
    "$folder"/shiftgate.{service,socket} | diff <(echo "$directives") -)" || { echo "directives: $said"; return 1; }
}

# Fails, and prints the reason, unless systemd-analyze accepts the units of FOLDER.
analyzed() {
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
  ! analyzed "$scratch/without" >"$scratch/said" || fail "the check does not notice that $line is missing"
done < <(sandbox_lines)
((lines >= 20)) || fail "only $lines lines of sandbox"
echo "-- $lines lines of sandbox, each of them needed"

# Each a unit and an edit of sed.
loosened=(
  'service s/^Type=notify-reload$/&\nType=notify-reloaded/'
  'service s/^Type=notify-reload$/&\nNoSuchKey=1/'
  'service s/^ExecStart=/ExecStart=+/'
  'service s/^ExecStart=/ExecStart=!/'
  'service s/^ExecReload=/ExecReload=!/'
  'service s/^ExecStart=/ExecStartPre=+\/bin\/true\n&/'
  'service s/^DynamicUser=yes/&\nReadWritePaths=\/etc/'
  'service s/^DynamicUser=yes/&\nBindPaths=\/home/'
  'service s/^DynamicUser=yes/&\nUser=root/'
  'service s/^DynamicUser=yes/DynamicUser=no/'
  'service s/^DynamicUser=yes/&\nSupplementaryGroups=docker/'
  'service s/^DynamicUser=yes/&\n  AmbientCapabilities=CAP_NET_BIND_SERVICE/'
  'service s/^CapabilityBoundingSet=$/CapabilityBoundingSet=CAP_SYS_ADMIN/'
  'service s/^UMask=0077/UMask=0000/'
  'service s/^SystemCallFilter=~@privileged @resources/&\nSystemCallFilter=@mount/'
  'service s/^LimitNOFILE=65536/&\nDevicePolicy=auto/'
  'service s/^LimitNOFILE=65536/LimitNOFILE=64/'
  'service s/^StateDirectoryMode=0700/StateDirectoryMode=0777/'
  'service s/^LoadCredential=.*/LoadCredential=all:\/etc/'
  'service s/^LoadCredential=.*/&\nEnvironmentFile=-\/etc\/environment/'
  'service s/^\[Install\]/[Service]\nPermissionsStartOnly=yes\n&/'
  'service s/^Description=.*/&\n[Service]\nUser=root/'
  'service s/^After=.*/&\nJoinsNamespaceOf=other.service/'
  'socket s/^ListenStream=127.0.0.1:9900/ListenStream=0.0.0.0:9900/'
  'socket s/^ListenStream=127.0.0.1:8080/ListenStream=8080/'
  'socket s/^ListenStream=127.0.0.1:9900/&\nSocketMode=0666/'
)
for loose in "${loosened[@]}"; do
  copy "$scratch/loose"
  unit="shiftgate.${loose%% *}"
  sed -i "${loose#* }" "$scratch/loose/$unit"
  ! cmp -s "$scratch/whole/$unit" "$scratch/loose/$unit" || fail "$loose changes nothing"
  ! accepted "$scratch/loose" >"$scratch/said" || fail "the check does not notice $loose"
done
echo "-- ${#loosened[@]} looser units, each of them noticed"

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
