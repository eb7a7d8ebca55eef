"""Makes the records of tests/data/report, from fixed seeds.

    python3 tests/sdk/report_data.py tests/data/report
    python3 tests/sdk/report_ref.py --write tests/data/report/*.jsonl

    python3 tests/sdk/report_data.py --pairs N [--seed S] [--keys K]    prints N pairs of everything, to stdout
"""

import json
import random
import sys
from datetime import datetime, timedelta, timezone

BEGIN = datetime(2026, 11, 20, 8, 0, 1, 120_000, timezone.utc)
OUTCOMES = ["status_4xx", "status_5xx", "rate_limited", "timeout", "reset", "bad_answer", "cancelled"]


def stamp(seconds):
    at = BEGIN + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class Maker:
    """Draws records. `fault` is the chance of each fault of the candidate; the baseline has half of it."""

    def __init__(self, seed, fault=0.03, keys=60, hours=6):
        self.random = random.Random(seed)
        self.fault, self.keys, self.hours = fault, keys, hours

    def chance(self, p):
        return self.random.random() < p

    def some(self, value, p=0.9):
        return value if self.chance(p) else None

    def leg(self, backend, fault, asks):
        outcome = self.random.choice(OUTCOMES) if self.chance(fault) else "ok"
        if outcome != "ok":
            return {"backend": backend, "outcome": outcome, "mode": None, "finish": None, "ttft_ms": None, "total_ms": None,
                    "refused": None, "json_valid": None, "schema_valid": None, "input_tokens": None,
                    "cached_input_tokens": None, "output_tokens": None, "cost_usd": None, "null": {"mode": "outcome"}}
        broken = asks and self.chance(fault)
        mode = "refusal" if self.chance(fault / 2) else "empty" if self.chance(fault) else "json" if asks and not broken else "text"
        finish = "length" if self.chance(fault) else "stop"
        total = round(self.random.lognormvariate(6.5 if backend == "openai" else 6.3, 0.6), 3)
        prompt = self.random.randint(20, 4000)
        return {"backend": backend, "outcome": "ok", "mode": mode, "finish": self.some(finish, 0.98),
                "ttft_ms": self.some(round(total * self.random.uniform(0.1, 0.5), 3)), "total_ms": self.some(total, 0.97),
                "refused": mode == "refusal", "json_valid": self.some(not broken, 0.97) if asks else None,
                "schema_valid": self.some(not self.chance(fault), 0.97) if asks == "json_schema" and not broken else None,
                "input_tokens": self.some(prompt), "cached_input_tokens": self.some(self.random.randint(0, prompt), 0.6),
                "output_tokens": self.some(self.random.randint(1, 900)),
                "cost_usd": self.some(round(self.random.uniform(1e-5, 2e-3), 9), 0.7), "null": {}}

    def scores(self, kind, loss):
        score = lambda: round(max(0.0, 1 - self.random.expovariate(1 / loss)), 4) if self.chance(0.6) else 1.0
        agreement = round(self.random.uniform(0.2, 0.9), 4) if kind == "text" else float(score() > 0.5) if kind == "short" else score()
        return {"kind": kind, "agreement": agreement, "finish_equal": not self.chance(0.03), "exact": self.some(self.chance(0.4)),
                "tool_names": self.some(score()) if kind == "tools" else None,
                "tools_equal": self.some(self.chance(0.8)) if kind == "tools" else None,
                "script_equal": self.some(not self.chance(0.02)) if kind == "text" else None,
                "fence_equal": not self.chance(0.1) if kind == "json" else None,
                "length_ratio": self.some(round(self.random.lognormvariate(0.1, 0.3), 4)) if kind != "tools" else None, "null": {}}

    def pair(self, number, **fixed):
        draw = self.random
        asks = draw.choice([None, None, "json_object", "json_schema"])
        pair = {"v": 1, "kind": "pair", "id": f"{draw.getrandbits(64):016x}", "at": stamp(draw.uniform(0, 3600 * self.hours)),
                "instance": draw.choice(["0a1b2c", "ffee00"]), "name": "test", "epoch": "5f1c09aa31d2e870", "route": "default",
                "operation": "chat", "model": "gpt-4o-mini", "percent": draw.choice([5.0, 12.5]), "served_by": "baseline",
                "key": self.some(f"{draw.randrange(self.keys):016x}", 0.95), "trace_id": f"{draw.getrandbits(128):032x}",
                "request": {"bytes": 100, "format": asks, "temperature": draw.choice([0, 0.0, 0.7, None])}, **fixed}
        candidate = pair.pop("to", "qwen-gpu")
        pair["baseline"] = self.leg("openai", self.fault / 2, asks)
        pair["candidate"] = self.leg(candidate, self.fault, asks)
        kind = "json" if asks else draw.choice(["tools", "short", "text", "text", "empty", "refusal"])
        void = {"kind": None, "agreement": None, "null": {"agreement": "outcome"}}
        if "ok" == pair["baseline"]["outcome"] == pair["candidate"]["outcome"]:
            pair["scores"] = self.scores(kind, 0.1)
            if self.chance(0.02):
                pair["scores"] |= {"agreement": None, "null": {"agreement": draw.choice(["over_cap", "reference_invalid"])}}
        else:
            pair["scores"] = void
        pair["floor"] = self.scores(kind if self.chance(0.9) else "text", 0.08) if self.chance(0.4) else None
        return pair

    def counts(self, minute, route, backends, shadow=None):
        return {"v": 1, "kind": "counts", "at": stamp(60 * minute), "from": stamp(60 * minute - 60), "instance": "0a1b2c",
                "name": "test", "hash": "00", "route": route, "backends": backends, "shadow": shadow or {}, "noise": {}}


def backend(chosen, failed=0, usd=0.0, priced=0, attempted=None, ends=None):
    attempted = chosen if attempted is None else attempted
    return {"chosen": chosen, "attempted": attempted, "served": attempted - failed, "failed": failed, "usd": usd,
            "priced": priced, "ends": ends or {}}


def mixed():
    """All fields in every state, one route, two kinds of sampling."""
    make = Maker(1)
    lines = [make.pair(number) for number in range(280)]
    for minute in range(30):
        shadow = {"qwen-gpu": {"sent": 9, "unwell": 1, "ineligible": 2, "future": 5}, "openai": {"sent": 1}}
        openai = backend(100, 1, 0.0412345678, 99, ends={"gpt-4o-mini": "2027-01-14"} if minute % 7 else None)
        lines.append(make.counts(minute, "default", {"openai": openai, "qwen-gpu": backend(5, minute % 2)}, shadow))
    return lines


def rows():
    """Routes, models, candidates, epochs and both serving sides; two names of the baseline; ties of time."""
    make = Maker(2, keys=9)
    lines = []
    for number in range(240):
        draw = make.random
        late = draw.random() < 0.6
        lines.append(make.pair(
            number, route=draw.choice(["chat", "default"]), model=draw.choice(["gpt-4o", "größe \u001b[31m|<b>"]),
            to=draw.choice(["qwen-gpu", "qwen-b"]), served_by=draw.choice(["baseline", "candidate"]),
            epoch="11" * 8 if late else "ee" * 8, at=stamp(draw.uniform(7200, 9000) if late else draw.uniform(0, 7000))))
    lines[3]["baseline"]["backend"] = "openai-old"
    for minute in range(20):
        both = {"openai": backend(10), "qwen-gpu": backend(3, 1), "qwen-b": backend(2)}
        lines.append(make.counts(minute, "chat" if minute % 3 else "default", both, {"qwen-b": {"sent": 2, "budget": 2}}))
    return lines


def turned():
    """Served failures and prices that turn round; failures of pairs that differ by route."""
    make = Maker(3, fault=0.0, keys=400)
    lines = []
    for number in range(420):
        pair = make.pair(number, route=["batch", "chat"][number % 2])
        if pair["route"] == "batch" and number % 5 == 0:
            pair["candidate"] |= {"outcome": "timeout", "mode": None}
            pair["scores"] = {"kind": None, "agreement": None, "null": {"agreement": "outcome"}}
        lines.append(pair)
    lines.append(make.counts(1, "chat", {"openai": backend(9000, 90, 9.0, 8900), "qwen-gpu": backend(1000, 2, 0.9, 990)}))
    lines.append(make.counts(1, "batch", {"openai": backend(1000, 200, 9.0, 800), "qwen-gpu": backend(9000, 1500, 70.0, 7500)}))
    return lines


def near():
    """A candidate that is no worse, with as many key-hours as one check needs and another does not have."""
    make = Maker(4, fault=0.0, keys=10_000)
    return [make.pair(number, request={"format": None, "temperature": 0}) for number in range(300)]


def skipped():
    """Lines that change no figure, beside one pair."""
    pair = json.dumps(Maker(5).pair(0))
    return [pair, "", "  \t", pair[:200], '{"v":2,"kind":"pair"}', '{"kind":[1],"v":7}', "[1]", "plain words", "{}", '{"v":1,"kind":"note"}',
            '{"v":1,"kind":"pair","at":"2026-11-20T08:00:00Z"}', pair + pair]


def write(folder):
    for make in (mixed, rows, turned, near, skipped):
        with open(f"{folder}/{make.__name__}.jsonl", "w", encoding="utf-8") as out:
            for line in make():
                out.write((line if isinstance(line, str) else json.dumps(line, separators=(",", ":"))) + "\n")
    open(f"{folder}/empty.jsonl", "w").close()


if __name__ == "__main__":
    if sys.argv[1] == "--pairs":
        options = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
        maker = Maker(options.get("--seed", 9), keys=options.get("--keys", 5000), hours=48)
        for number in range(options["--pairs"]):
            print(json.dumps(maker.pair(number), separators=(",", ":")))
    else:
        write(sys.argv[1])
