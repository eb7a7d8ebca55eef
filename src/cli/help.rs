//! Text of `--help` below the options: exit codes, and examples of each command.

/// Exit codes, for `shiftgate --help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: nobody answers at the admin port, an address is taken, a drain that had to cut answers
  2  the arguments or the file are not valid; nothing was changed
  128 and the number of a signal: it ended `report` (130: Ctrl-C)";

pub(super) const RUN: &str = "\
SIGHUP reads the file at once; SIGTERM drains and ends. Under systemd it tells the manager (NOTIFY_SOCKET) and takes
its sockets (LISTEN_FDS).

Examples:
  shiftgate run
  shiftgate --config /etc/shiftgate/rollout.toml";

pub(super) const CHECK: &str = "\
Examples:
  shiftgate check
  shiftgate check --without-secrets --config k8s/rollout.toml   # in CI, where no key is at hand
  shiftgate check --probe                                       # asks each backend which features work";

pub(super) const EXPLAIN: &str = "\
Examples:
  shiftgate explain request.json
  shiftgate explain --header 'x-session-id: 42' --json < request.json
  shiftgate explain --backend qwen-235b request.json            # the body that this backend would get";

pub(super) const DEMO: &str = "\
Examples:
  shiftgate demo                                # edit percent in rollout.toml meanwhile
  shiftgate demo --seconds 10 --faults 20       # a fifth of the candidates' requests fail over
  shiftgate demo --seconds 10 | cat             # lines instead of a table
  shiftgate demo --scenario errors              # what the guard does when a candidate fails";

/// Its two forms, which clap cannot tell from the arguments.
pub(super) const SHIFT_USAGE: &str = "\
shiftgate shift [OPTIONS] <BACKEND> <PERCENT>
       shiftgate shift --undo [OPTIONS]";

pub(super) const SHIFT: &str = "\
The file is replaced as a whole by a valid one, or not touched. Comments stay. The text before the
change is kept beside the file, in .NAME.undo, and --undo brings it back.

Examples:
  shiftgate shift qwen-235b 25
  shiftgate shift qwen-72b 2.5 --route nightly-summaries
  shiftgate shift qwen-235b 0                   # back
  shiftgate shift --undo                        # as before the last shift";

pub(super) const RESUME: &str = "\
A candidate that the guard withdrew gets its requests again, and its failures are counted anew; shiftgate status says who
is withdrawn, since when, and why. The file is edited in place, as by shift; shift --undo does not take it back.

Examples:
  shiftgate resume
  shiftgate resume --config /etc/shiftgate/rollout.toml";

pub(super) const HISTORY: &str = "\
It asks the running sidecar. If nobody answers, it reads the state file that [server] state names. Causes: start, edit,
shift, guard, resume. The last 1,000 entries are kept, the newest is printed last.

Examples:
  shiftgate history
  shiftgate history --json | jq '.history[] | select(.cause == \"guard\")'
  shiftgate history --admin 10.0.0.7:9900";

pub(super) const REPORT: &str = "\
Examples:
  shiftgate report shiftgate-records.jsonl
  shiftgate report shiftgate-records.jsonl* --html report.html   # one page that can be mailed
  shiftgate report --since 2026-11-20 --markdown *.jsonl *.jsonl.gz > report.md
  shiftgate report --require ready shiftgate-records.jsonl && shiftgate shift qwen-235b 50";

pub(super) const STATUS: &str = "\
Examples:
  shiftgate status
  shiftgate status --watch
  shiftgate status --json --admin 10.0.0.7:9900";

pub(super) const SCHEMA: &str = "\
Editors with a TOML language server (Taplo, Tombi, Even Better TOML) use the file that the first line of rollout.toml
names: #:schema ./rollout.schema.json

Examples:
  shiftgate schema > rollout.schema.json";

pub(super) const COMPLETIONS: &str = "\
Examples:
  shiftgate completions bash > ~/.local/share/bash-completion/completions/shiftgate
  shiftgate completions zsh > ~/.zfunc/_shiftgate      # with fpath+=~/.zfunc before compinit
  shiftgate completions fish > ~/.config/fish/completions/shiftgate.fish";
