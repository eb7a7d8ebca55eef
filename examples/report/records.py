#!/usr/bin/env python3
"""Prints records of an invented rollout, the same ones each time: python3 examples/report/records.py [--hostile]

Eight days, two hours each: one route whose candidate times out, one that is ready, one that has too few pairs. The GPUs
are priced by rollout.toml beside this file. With --hostile the names that applications choose try to leave their place.
"""

import json
import random
import sys
from datetime import datetime, timedelta, timezone

BEGIN = datetime(2026, 11, 16, 8, tzinfo=timezone.utc)
DAYS, MINUTES = 8, 120
# Route: model, temperature, pairs, kinds, chance of a timeout of the candidate.
ROUTES = {
    "extract": ("gpt-4o-mini", 0, 1500, {"json": 0.7, "tools": 0.3}, 0.03),
    "label": ("gpt-4o-mini", 0, 2000, {"short": 1.0}, 0.0),
    "chat": ("gpt-4o", 0.7, 240, {"text": 1.0}, 0.004),
}
HOSTILE = {
    "extract": "\"onload=\"window.hit=1\" x='", "label": "<script>window.hit=1</script>", "chat": "{{ 7 * 7 }}{% include 'x' %}",
    "gpt-4o-mini": "\u202egpt\u0000\u001b[31m</style></svg><img src=x onerror=window.hit=1>", "gpt-4o": "m" * 10_240,
    "openai": "'><a href=https://example.invalid>openai</a>", "qwen-235b": "qwen & <b>235b</b>",
}


def stamp(day, seconds):
    at = BEGIN + timedelta(days=day, seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def leg(draw, backend, kind, total):
    """An answer; the first token comes after a fifth of the time."""
    prompt, answer = draw.randint(200, 2400), draw.randint(20, 400)
    price = (0.15, 0.60) if backend == "openai" else (0.06, 0.24)
    asks = kind == "json"
    return {
        "backend": backend, "outcome": "ok", "mode": {"short": "text"}.get(kind, kind),
        "finish": "tool_calls" if kind == "tools" else "stop", "ttft_ms": round(total * draw.uniform(0.1, 0.3), 3),
        "total_ms": round(total, 3), "refused": False, "json_valid": True if asks else None,
        "schema_valid": True if asks else None, "input_tokens": prompt,
        "cached_input_tokens": draw.choice([0, prompt * 3 // 4]), "output_tokens": answer,
        "cost_usd": round((prompt * price[0] + answer * price[1]) / 1e6, 9), "null": {},
    }


def scores(draw, kind, loss):
    """Scores whose mean agreement is about 1 − loss; text is never that alike."""
    if kind == "text":
        agreement = round(min(1.0, max(0.0, draw.gauss(0.55 - loss, 0.15))), 4)
    elif kind == "short":
        agreement = float(draw.random() >= loss)
    else:
        agreement = round(draw.uniform(0.3, 0.9), 4) if draw.random() < loss * 2.5 else 1.0
    return {
        "kind": kind, "agreement": agreement, "finish_equal": True, "exact": agreement == 1.0,
        "tool_names": 1.0 if kind == "tools" else None, "tools_equal": agreement == 1.0 if kind == "tools" else None,
        "script_equal": True if kind == "text" else None, "fence_equal": draw.random() > 0.02 if kind == "json" else None,
        "length_ratio": round(draw.lognormvariate(0.08, 0.2), 4) if kind != "tools" else None, "null": {},
    }


def pair(draw, route):
    model, temperature, _, kinds, fails = ROUTES[route]
    day, kind = draw.randrange(DAYS), draw.choices(list(kinds), kinds.values())[0]
    baseline = leg(draw, "openai", kind, draw.lognormvariate(7.0, 0.45))
    # Faster at the median, slower in the tail.
    candidate = leg(draw, "qwen-235b", kind, draw.lognormvariate(6.7, 0.7))
    if kind == "json" and draw.random() < 0.004:
        candidate |= {"mode": "text", "json_valid": False, "schema_valid": None}
    # A bad prompt was in force on the fourth day.
    loss = {"json": 0.05, "tools": 0.03, "short": 0.004, "text": 0.1}[kind] + (0.1 if day == 3 and kind == "json" else 0)
    scored = scores(draw, kind, loss)
    if draw.random() < fails:
        candidate |= {"outcome": "timeout", "mode": None, "finish": None, "ttft_ms": None, "total_ms": None,
                      "json_valid": None, "schema_valid": None, "input_tokens": None, "cached_input_tokens": None,
                      "output_tokens": None, "cost_usd": None, "null": {"mode": "outcome"}}
        scored = {"kind": None, "agreement": None, "null": {"agreement": "outcome"}}
    floor = {"json": 0.035, "tools": 0.025, "short": 0.004, "text": 0.0}[kind]
    return {
        "v": 1, "kind": "pair", "id": f"{draw.getrandbits(64):016x}", "at": stamp(day, draw.uniform(0, 60 * MINUTES)),
        "instance": "0a1b2c", "name": "example", "epoch": "5f1c09aa31d2e870", "route": route, "operation": "chat",
        "model": model, "percent": 5.0, "served_by": "baseline", "key": f"{draw.randrange(600):016x}",
        "trace_id": f"{draw.getrandbits(128):032x}",
        "request": {"bytes": 900, "format": "json_schema" if kind == "json" else None, "temperature": temperature},
        "baseline": baseline, "candidate": candidate, "scores": scored,
        "floor": scores(draw, kind, floor) if draw.random() < 0.4 else None,
    }


def counts(draw, route, day, minute):
    chosen = {"extract": 160, "label": 220, "chat": 25}[route] + draw.randint(-9, 9)
    shifted = chosen // 20
    failed = 1 if route == "extract" and draw.random() < 0.2 else 0
    backend = lambda n, failed, price: {
        "chosen": n, "attempted": n, "served": n - failed, "failed": failed, "usd": round((n - failed) * price, 9),
        "priced": n - failed, "ends": {"gpt-4o-mini": "2027-01-14"} if price == 0.0003 else {}}
    sent = chosen // 10
    return {
        "v": 1, "kind": "counts", "at": stamp(day, 60 * minute), "from": stamp(day, 60 * minute - 60), "instance": "0a1b2c",
        "name": "example", "hash": "00", "route": route,
        "backends": {"openai": backend(chosen - shifted, 0, 0.0003), "qwen-235b": backend(shifted, failed, 0.00012)},
        "shadow": {"qwen-235b": {"sent": sent, "unwell": draw.randrange(2), "ineligible": draw.randrange(2)}}, "noise": {},
    }


def renamed(value):
    """Replaces names wherever an application or a file could have written them."""
    if isinstance(value, dict):
        return {HOSTILE.get(key, key): renamed(one) for key, one in value.items()}
    return HOSTILE.get(value, value) if isinstance(value, str) else value


def main():
    draw = random.Random(17)
    lines = [pair(draw, route) for route in ROUTES for _ in range(ROUTES[route][2])]
    lines += [counts(draw, route, day, minute) for route in ROUTES for day in range(DAYS) for minute in range(MINUTES)]
    for line in lines:
        print(json.dumps(renamed(line) if "--hostile" in sys.argv else line, separators=(",", ":")))


if __name__ == "__main__":
    main()
