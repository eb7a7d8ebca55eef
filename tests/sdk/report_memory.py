"""Memory of `shiftgate report` on many lines: python3 tests/sdk/report_memory.py BINARY [LINES]. Standard library only.

For each way in which lines can be many (users, rows, kinds of one user) ten files of pods with LINES lines, a million by
default, are read in two orders. Exits with 1 if a report takes more than 64 MiB of resident memory, if the two differ by a
byte, or if torn, foreign, newer and too long lines change more than their own counts.
"""
import fcntl
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

LIMIT_KIB = 64 << 10
PODS = 10
# Lines of each kind that is skipped.
SKIPPED = 50
KINDS = ["json", "tools", "short", "text", "empty", "refusal"]
# F_SETPIPE_SZ, which this Python may not name: a pipe so small that no report fits.
SET_PIPE_SIZE, PIPE = 1031, 4096

LEG = ('{"backend":"%s","engine":"%s","model":"m","leg":"shadow","outcome":"%s","mode":"json","status":200,"error_type":null,'
       '"finish":"stop","late_ms":0.1,"ttft_ms":%.3f,"total_ms":%.3f,"gap_ms":3.2,"reused":true,"chars":200,"calls":0,'
       '"refused":false,"json_valid":true,"schema_valid":true,"input_tokens":1000,"cached_input_tokens":%d,"output_tokens":200,'
       '"reasoning_tokens":null,"cost_usd":0.000123456,"waiting":null,"null":{}}')
SCORES = ('{"kind":"%s","agreement":%.4f,"finish_equal":true,"exact":false,"similarity":0.5,"json_score":null,"tool_names":1.0,'
          '"tools_equal":true,"script_equal":true,"fence_equal":true,"length_ratio":1.25,"ttft_ratio":1.1,"null":{}}')
PAIR = ('{"v":1,"kind":"pair","id":"%016x","at":"2026-11-%02dT%02d:%02d:00.000Z","instance":"%06x","name":"n","epoch":"5f1c09aa31d2e870",'
        '"hash":"00","generation":1,"route":"%s","operation":"chat","model":"%s","stream":true,"percent":5.0,"served_by":"baseline",'
        '"key":"%016x","trace_id":"%032x","request":{"bytes":900,"messages":3,"tools":0,"format":"json_object","temperature":0},'
        '"baseline":%s,"candidate":%s,"noise":null,"scores":%s,"floor":%s,"content":null}\n')


def users(n, lines):
    """As many users as lines, in one row."""
    return n, "default", "gpt-4o", "json", 0


def rows(n, lines):
    """As many users as lines, in 1,500 rows."""
    return n, f"route{n % 15}", f"model{n % 1500 // 15}", "json", 0


def kinds(n, lines):
    """Eight pairs of each user and hour, of every kind and with every state of the prompt cache; 300 rows."""
    user = n % (lines // 8)
    return user, "default", f"model{user % 300}", KINDS[n // (lines // 8) % 6], n // (lines // 8)


def pair(make, n, lines, draw):
    user, route, model, kind, turn = make(n, lines)
    outcome = "timeout" if draw.random() < 0.01 else "ok"
    cached = lambda warm: 900 if warm else 100
    legs = [LEG % (name, name, outcome if name == "qwen" else "ok", draw.lognormvariate(5, 1), draw.lognormvariate(7, 1), cached(warm))
            for name, warm in (("openai", turn & 1), ("qwen", turn & 2))]
    scores = [SCORES % (kind, draw.random()) for _ in range(2)]
    spread = user * 0x9E37_79B9_7F4A_7C15 % (1 << 64)
    return PAIR % (n, 1 + user % 20, user % 24, turn * 7 % 60, user % PODS, route, model, spread, n, *legs, *scores)


def write(folder, make, lines):
    draw = random.Random(17)
    files = [open(folder / f"pod-{pod}.jsonl", "w", encoding="utf-8") for pod in range(PODS)]
    for n in range(lines):
        files[draw.randrange(PODS)].write(pair(make, n, lines, draw))
    for file in files:
        file.close()
    one = pair(make, 0, lines, draw)
    with open(folder / "skipped.jsonl", "w", encoding="utf-8") as out:
        for n in range(SKIPPED):
            out.write(one[:200 + n] + "\n" + one.replace('"v":1', '"v":2') + "words\n" + one.replace("pair", "x" * (4 << 20), 1))
    return [str(folder / f"pod-{pod}.jsonl") for pod in range(PODS)], str(folder / "skipped.jsonl")


def run(binary, files, folder):
    """Returns the report, the peak of resident memory in KiB, and the seconds it took."""
    began = time.monotonic()
    child = subprocess.Popen([binary, "report", "--json", *files], stdout=subprocess.PIPE, bufsize=0, cwd=folder)
    fcntl.fcntl(child.stdout, SET_PIPE_SIZE, PIPE)
    # The report is complete when its first byte comes, and the process cannot end before the rest is read.
    first = child.stdout.read(1)
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    out = first + child.stdout.read()
    if child.wait() != 0 or len(out) <= PIPE + 1:
        sys.exit(f"the report failed: {child.returncode}, {len(out)} bytes")
    return out, peak, time.monotonic() - began


def main():
    binary, lines = str(pathlib.Path(sys.argv[1]).resolve()), int((sys.argv[2:] or [1_000_000])[0])
    for make in (users, rows, kinds):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            files, skipped = write(folder, make, lines)
            forth, peak, seconds = run(binary, files, folder)
            back, other, _ = run(binary, [skipped, *files[::-1]], folder)
        report, same = json.loads(forth), json.loads(back)
        print(f"{make.__name__}: {lines} lines in {len(report['rows'])} rows and {report['other']['rows']} others: "
              f"{peak / 1024:.1f} and {other / 1024:.1f} MiB, {seconds:.1f} s", flush=True)
        if report["lines"]["pairs"] != lines:
            sys.exit(f"{report['lines']} were read")
        if same["lines"].pop("skipped") != dict.fromkeys(report["lines"].pop("skipped"), SKIPPED):
            sys.exit("the skipped lines are not counted by their reasons")
        same["files"] -= 1
        if json.dumps(same) != json.dumps(report):
            sys.exit("another order of files, or skipped lines, make another report")
        if max(peak, other) > LIMIT_KIB:
            sys.exit(f"that is more than {LIMIT_KIB >> 10} MiB")


if __name__ == "__main__":
    main()
