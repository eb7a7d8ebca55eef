"""Compares examples/records.sql in DuckDB with `shiftgate report --json`: python tests/sdk/records_sql.py BINARY.

Needs PyPI's `duckdb`. Every figure of the report that SQL can have is looked for in the views, and every column of the views
in the report, on the records of tests/data/report and on a folder of rotated, compressed, torn and hostile files. Exits with
1 at the first difference, and where duckdb is missing.
"""
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime

from report_data import Maker, backend

try:
    import duckdb
except ImportError:
    sys.exit("records_sql.py needs DuckDB: pip install duckdb")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SQL = (ROOT / "examples/records.sql").read_text(encoding="utf-8")
ROW = ["route", "model", "candidate", "served_by", "sampling", "epoch"]
MATRICES = ["outcomes", "modes", "finishes"]
# The report's alone: intervals, verdicts, and what follows from them.
REPORTS_ALONE = {"verdict", "why", "needs_pairs", "thinned", "limit", "result", "worst", "notes", "low", "high"}
MAX_LINE = 4 << 20


class Differs(Exception):
    pass


def flat(value, path=()):
    """Figures of an object by their path, joined by `_`. An object that is null has no path."""
    for name, of in value.items():
        if name in REPORTS_ALONE:
            continue
        if isinstance(of, dict) and name != "unscored":
            yield from flat(of, (*path, name))
        else:
            yield "_".join((*path, name)), of


def is_same(name, ours, theirs):
    if isinstance(theirs, datetime):
        theirs = theirs.isoformat(timespec="milliseconds") + "Z"
    if name == "unscored":
        return ours == (theirs or {})
    if isinstance(ours, bool) or isinstance(theirs, bool) or None in (ours, theirs):
        return ours is theirs
    if isinstance(ours, float) or isinstance(theirs, float):
        room = abs(theirs) * 0.001 if re.search(r"_p\d\d$", name) else max(1.01e-6, abs(theirs) * 1e-9)
        return abs(ours - theirs) <= room
    return ours == theirs


def compare(what, reported, view):
    """Both are lists of (key, fields). A field that the report lacks is one of an object that is null there."""
    keys = [[key for key, _ in side] for side in (reported, view)]
    if sorted(keys[0], key=repr) != sorted(keys[1], key=repr):
        raise Differs(f"{what}: the report has {keys[0]}\nSQL has {keys[1]}")
    if len({repr(key) for key in keys[0]}) != len(keys[0]):
        raise Differs(f"{what}: a key occurs twice")
    found = {repr(key): fields for key, fields in view}
    for key, fields in reported:
        theirs = found[repr(key)]
        missing = {name for name, value in fields.items() if name not in theirs and value is not None}
        if missing:
            raise Differs(f"{what} {key}: SQL has no {sorted(missing)}")
        for name, value in theirs.items():
            # An object that is null has fields in SQL: those of no observation.
            expected = fields.get(name, 0 if re.search(r"(^|_)n$", name) else None)
            if not is_same(name, expected, value):
                raise Differs(f"{what} {key} {name}: the report says {expected}, SQL {value}")
    return sum(len(fields) for _, fields in view)


def rows_of(connection, view, keys):
    result = connection.sql(f"FROM {view}")
    columns = result.columns
    if columns[:len(keys)] != keys:
        raise Differs(f"{view}: its columns begin with {columns[:len(keys)]}, not with {keys}")
    return [(tuple(row[:len(keys)]), dict(zip(columns[len(keys):], row[len(keys):]))) for row in result.fetchall()]


def of_report(report):
    """The report's figures in the shape of the views."""
    views = {name: [] for name in ("report_rows", "report_checks", "report_kinds", "report_flips", "report_matrices")}
    for row in report["rows"]:
        key = tuple(row.pop(name) for name in ROW)
        for matrix in MATRICES:
            for start, cells in row.pop(matrix).items():
                views["report_matrices"] += [((*key, matrix, start, end), {"pairs": n}) for end, n in cells.items()]
        for view, lists, name in (("report_checks", "checks", "check"), ("report_kinds", "kinds", "kind")):
            views[view] += [((*key, of.pop(name)), dict(flat(of))) for of in row.pop(lists)]
        views["report_flips"] += [((*key, name), dict(flat(of))) for name, of in row.pop("flips").items()]
        views["report_rows"].append((key, dict(flat(row))))
    return views


def check(binary, folder, more=()):
    files = sorted(str(file) for file in pathlib.Path(folder).glob("*records*.jsonl*"))
    run = subprocess.run([binary, "report", "--json", *files], capture_output=True, cwd=folder, check=True)
    report = json.loads(run.stdout)
    if len(report["rows"]) == 256 or any(row["thinned"] for row in report["rows"]):
        raise Differs("the report left something out: nothing can be compared")
    os.chdir(folder)
    connection = duckdb.connect()
    connection.execute(SQL)
    routes = report["routes"]
    pairs = sum(row["pairs"] for row in report["rows"])
    fields = 0
    ends = {"report_checks": ["check"], "report_kinds": ["kind"], "report_flips": ["flip"], "report_matrices": ["matrix", "from", "to"]}
    for view, reported in of_report(report).items():
        found = rows_of(connection, view, ROW + ends.get(view, []))
        fields += compare(view, reported, found)
        if [key for key, _ in reported] != [key for key, _ in found] and view != "report_matrices":
            raise Differs(f"{view} has another order than the report")
    served = dict(rows_of(connection, "report_served", ["route", "backend"]))
    for route in routes:
        copies = {f"shadow_{name}": n for name, n in route["shadow"].items()}
        for name, of in route["served"].items():
            theirs = served.get((route["route"], name))
            if theirs is None:
                theirs, of = {}, {field: n for field, n in of.items() if n}
            elif name == route["candidate"]:
                of |= {**copies, "admitted": route["admitted"], "hours": route["hours"]}
            for field, value in of.items():
                if not is_same(field, value, theirs.get(field)):
                    raise Differs(f"report_served {route['route']} {name} {field}: the report says {value}, SQL {theirs.get(field)}")
            fields += len(of)
    for question in more:
        connection.sql(question).fetchall()
    return report, pairs, fields


def questions():
    """The example questions of the file's head."""
    head = "\n".join(line[2:].strip() for line in SQL.split("\n\n")[0].splitlines())
    return re.findall(r"^SELECT .*?;", head, re.M | re.S)


def hostile(folder):
    """Files of pods, one rotated and two compressed, with lines of every kind that is skipped."""
    names = ["m'; DROP VIEW report_rows; --", 'm"x', "\x00\x1b[31m", "größe \u202e模型", "$.a[0]", "", " m ", "%s{}", "NULL", "a,b\tc\nd"]
    make = Maker(31, fault=0.2, keys=12, hours=3)
    draw = random.Random(31)
    lines = [json.dumps(make.pair(n, model=draw.choice(names), route=draw.choice(["default", names[2], names[9]]),
                                  to=draw.choice(["qwen-gpu", names[1]]), epoch=draw.choice(["1", "2"])))
             for n in range(900)]
    for n in range(0, 900, 30):
        refused = json.loads(lines[n])
        refused["baseline"]["outcome"] = refused["candidate"]["outcome"] = "status_4xx"
        lines[n] = json.dumps(refused)
    for minute in range(40):
        backends = {"openai": backend(draw.randrange(50), 1, draw.random(), 7), names[1]: backend(3, 1, 0.25, 1), names[2]: backend(1)}
        shadow = {names[1]: {"sent": 3, "unwell": draw.randrange(3), "odd\x00": 2}, "only-copied": {"bytes": 1}}
        lines.append(json.dumps(make.counts(minute, draw.choice(["default", names[9]]), backends, shadow)))
    odd = dict(json.loads(lines[0]))
    lines += ["", "  \t", lines[1][:300], lines[2][:-1], '{"v":2,"kind":"pair"}', lines[3].replace('"v": 1', '"v": 3'), "[1]", "[2]",
              'plain "words", and \x01 more', "{}", '{"v":1,"kind":"note"}', '"', "'", "# comment", "v,kind", lines[4] * 2,
              json.dumps(odd | {"id": 7}), json.dumps(odd | {"at": "soon"}), json.dumps(odd | {"served_by": "both"}),
              json.dumps(odd | {"scores": None}), json.dumps(odd | {"candidate": None}), json.dumps(odd | {"model": None}),
              json.dumps(odd | {"at": "2026-11-20T11:30:00.5+02:00", "id": "0" * 16}),
              json.dumps(odd | {"kind": "pair", "future": {"x": [1, None]}, "id": "1" * 16}),
              json.dumps(odd | {"content": "x" * MAX_LINE}), json.dumps(odd | {"content": "y" * (3 * MAX_LINE)})]
    fits = odd | {"id": "2" * 16, "content": ""}
    lines.append(json.dumps(fits | {"content": "x" * (MAX_LINE - len(json.dumps(fits)))}))
    draw.shuffle(lines)
    raw = [line.encode() for line in lines] + [b'{"v":1,"kind":"pair","id":"\xff\xfe"', b"\xc3\x28", b"\x00\x00"]
    parts = [raw[n::4] for n in range(4)]
    for name, part in zip(("pod-a.records.jsonl", "records.jsonl.1"), parts):
        (folder / name).write_bytes(b"\n".join(part))
    for name, part in zip(("old-records.jsonl.gz", "records.jsonl.2.gz"), parts[2:]):
        with gzip.open(folder / name, "wb") as out:
            out.write(b"\r\n".join(part) + b"\n")
    (folder / "records.jsonl").write_bytes(b"")
    (folder / "other.txt").write_bytes(lines[0].encode())


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    asked = questions()
    if len(asked) != 3:
        sys.exit(f"examples/records.sql has {len(asked)} example questions, not 3")
    home, total = os.getcwd(), 0
    for case in sorted((ROOT / "tests/data/report").glob("*.jsonl")) + [None]:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            if case:
                shutil.copy(case, folder / "records.jsonl")
            else:
                hostile(folder)
            try:
                report, pairs, fields = check(binary, folder, asked)
            except Differs as differs:
                sys.exit(f"{case.name if case else 'hostile files'}: {differs}")
            finally:
                os.chdir(home)
            skipped = report["lines"]["skipped"]
            if not case and (pairs < 900 or 0 in skipped.values()):
                sys.exit(f"the hostile files have {pairs} pairs and skip {skipped}")
            print(f"{case.name if case else 'hostile files'}: {pairs} pairs, {len(report['rows'])} rows, {fields} figures are equal")
            total += fields
    if total < 10_000:
        sys.exit(f"only {total} figures were compared")


if __name__ == "__main__":
    main()
