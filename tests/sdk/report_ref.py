"""An independent reference of `shiftgate report --json`, from the definition of the report alone.

    python3 tests/sdk/report_ref.py FILE...            prints the report (standard library only)
    python3 tests/sdk/report_ref.py --write FILE...    writes FILE's report beside it, as FILE without .jsonl and with .json

Sentences (`says`) and the version are left out: they are words, not figures.
"""

import json
import math
import sys
from collections import defaultdict
from datetime import datetime, timezone

MAX_LINE = 4 << 20
ALPHA, C = 0.05, 0.75
L = math.log(2 / ALPHA)
MIN_PAIRS, MIN_KEYS = 200, 30
LIMIT_SHARE, LIMIT_AGREEMENT = 0.01, 0.05
KEY_HOURS, ROWS, WORST, NOTE = 131_072, 256, 10, 1.05
COPIES = ["sent", "opted_out", "ineligible", "residency", "untranslatable", "unwell", "in_flight", "bytes", "budget"]
CHECKS = ["failed", "refused", "empty", "cut", "json_broken", "schema_broken", "script"]
FLIPS = {"finish": "finish_equal", "exact": "exact", "tool_names": "tool_names", "tools": "tools_equal",
         "script": "script_equal", "fence": "fence_equal"}
JUDGED = ["tools", "json", "short"]


def r6(x):
    """Six decimals, halves away from zero; None for what is not a number."""
    if x is None or math.isnan(x) or math.isinf(x):
        return None
    return math.copysign(math.floor(abs(x) * 1e6 + 0.5) / 1e6, x) + 0.0


def over(a, b):
    return a / b if b else None


def ms(text):
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    delta = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def stamp(at):
    text = datetime.fromtimestamp(at // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at % 1000:03d}Z"


# Lines


def classify(line):
    """A record, or the reason for which the line is skipped; None for a blank one."""
    if len(line) > MAX_LINE:
        return "too_long"
    line = line.strip()
    if not line:
        return None
    try:
        record = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return "torn" if line.startswith(b"{") else "foreign"
    if not isinstance(record, dict) or not isinstance(record.get("v"), (int, float)):
        return "foreign"
    if record["v"] > 1:
        return "newer"
    if record["v"] != 1 or record.get("kind") not in ("pair", "counts"):
        return "foreign"
    if record["kind"] == "pair" and ("baseline" not in record or "candidate" not in record):
        return "foreign"
    return record


# Intervals


def betting(xs, unit):
    if not xs:
        return None
    ys = xs if unit else [(x + 1) / 2 for x in xs]
    total, squares, v = 0.5, 0.25, 0.25
    bets = []
    for t, y in enumerate(ys, 1):
        bets.append(math.sqrt(2 * L / (t * math.log(1 + t) * v)))
        total += y
        mu = total / (t + 1)
        squares += (y - mu) ** 2
        v = squares / (t + 1)

    def below(m):
        return sum(math.log(1 + min(bet, C / m if m else math.inf) * (y - m)) for bet, y in zip(bets, ys)) >= L

    def above(m):
        return sum(math.log(1 - min(bet, C / (1 - m) if m < 1 else math.inf) * (y - m)) for bet, y in zip(bets, ys)) >= L

    def edge(holds, a, b):
        """The last point from a towards b at which it holds, to 1e-7; a if it holds nowhere."""
        while abs(b - a) > 1e-8:
            middle = (a + b) / 2
            a, b = (middle, b) if holds(middle) else (a, middle)
        return a

    low, high = edge(below, 0.0, 1.0), edge(above, 1.0, 0.0)
    if not unit:
        low, high = 2 * low - 1, 2 * high - 1
    return {"n": len(xs), "mean": sum(xs) / len(xs), "low": low, "high": high}


def rounded(interval):
    return interval and {k: v if k == "n" else r6(v) for k, v in interval.items()}


def ratio(logs):
    n = len(logs)
    if n == 0:
        return None
    logs = sorted(logs)
    median = math.exp((logs[(n - 1) // 2] + logs[n // 2]) / 2)
    k, below = 0, 0
    # P(Bin(n, 1/2) < k + 1), in whole numbers.
    while (below := below + math.comb(n, k)) * 40 <= 2 ** n:
        k += 1
    low, high = (math.exp(logs[k - 1]), math.exp(logs[n - k])) if k else (None, None)
    return {"n": n, "median": r6(median), "low": r6(low), "high": r6(high)}


def quantiles(values):
    if not values:
        return None
    values = sorted(values)
    return {f"p{q}": values[max(1, -(-q * len(values) // 100)) - 1] for q in (50, 95, 99)}


# Pairs


def ok(pair):
    return pair["baseline"]["outcome"] == "ok" == pair["candidate"]["outcome"]


def asks_json(pair):
    return (pair.get("request") or {}).get("format") in ("json_object", "json_schema")


def faults(pair, check):
    """Faults of the baseline and of the candidate; None if the check is not over this pair."""
    legs = [pair["baseline"], pair["candidate"]]
    if check == "failed":
        outcomes = [leg["outcome"] for leg in legs]
        if {"cancelled", "rate_limited"} & set(outcomes):
            return None
        if outcomes == ["status_4xx"] * 2:
            return (0, 0)
        return tuple(int(outcome != "ok") for outcome in outcomes)
    if not ok(pair):
        return None
    if check == "refused":
        return tuple(int(leg.get("refused") is True) for leg in legs)
    if check == "empty":
        return tuple(int(leg.get("mode") == "empty") for leg in legs)
    if check == "cut":
        return tuple(int(leg.get("finish") == "length") for leg in legs)
    if check in ("json_broken", "schema_broken"):
        if not asks_json(pair):
            return (0, 0)
        valid = [leg.get("json_valid" if check == "json_broken" else "schema_valid") for leg in legs]
        return None if None in valid else tuple(int(not v) for v in valid)
    equal = pair["scores"].get("script_equal")
    return None if equal is None else (0, int(not equal))


def good(pair, leg):
    broken = asks_json(pair) and (leg.get("json_valid") is False or leg.get("schema_valid") is False)
    return (leg["outcome"] == "ok" and leg.get("refused") is not True and leg.get("mode") != "empty"
            and leg.get("finish") != "length" and not broken)


def agreement(scores):
    return None if scores is None else scores.get("agreement")


def cache(pair):
    warm = []
    for leg in (pair["baseline"], pair["candidate"]):
        cached, all_of_it = leg.get("cached_input_tokens"), leg.get("input_tokens")
        if cached is None or not all_of_it:
            return "unknown"
        warm.append(cached / all_of_it >= 0.5)
    return {0: "cold", 1: "mixed", 2: "warm"}[sum(warm)]


def floor_of(pair):
    """Agreement of the baseline with itself, if the noise leg has the pair's kind."""
    floor = pair.get("floor")
    if floor and floor.get("kind") == pair["scores"].get("kind"):
        return floor.get("agreement")
    return None


def key_of(pair):
    return (pair.get("key") or pair["id"], pair["instance"], ms(pair["at"]) // 3_600_000)


def observations(groups, quantity):
    """Means of the quantity over key-hours, in their order."""
    means = []
    for at in sorted(groups, key=lambda at: (at[2], at[1], at[0])):
        values = [value for value in map(quantity, groups[at]) if value is not None]
        if values:
            means.append(sum(values) / len(values))
    return means


def decide(difference, loss, limit):
    if difference and difference["low"] > limit:
        return "worse"
    if any(interval and interval["high"] <= limit for interval in (difference, loss)):
        return "ok"
    return "open"


def two_digits(x):
    whole, unit = math.ceil(max(x, 0)), 1
    while whole // unit >= 100:
        unit *= 10
    return -(-whole // unit) * unit


def needs(pairs, finding):
    interval, limit, b = finding["raw"], finding["limit"], L / C
    if interval is None:
        return None
    n, mean = interval["n"], interval["mean"]
    h = mean - interval["low"] if mean > limit else interval["high"] - mean
    s = max(0.0, (h - b / n) * math.sqrt(n))
    g = max(limit, abs(limit - mean))
    root = (math.sqrt(s * s + 4 * b * g) - s) / (2 * b)
    return pairs / n * (1 / root ** 2 - n)


def verdict(pairs, scored, keys, findings):
    why = [name for name, short in (("pairs", pairs < MIN_PAIRS), ("keys", keys < MIN_KEYS)) if short]
    if why:
        return "not_enough_data", why, two_digits(max(MIN_PAIRS - pairs, (MIN_KEYS - keys) * pairs / keys))
    worse = [f["name"] for f in findings if f["result"] == "worse"]
    if worse:
        return "not_ready", worse, None
    if not scored:
        return "not_enough_data", ["pairs"], None
    still = [f for f in findings if f["result"] == "open"]
    if still:
        more = [needs(pairs, f) for f in still]
        return "not_enough_data", [f["name"] for f in still], None if None in more else two_digits(max(more))
    return "ready", [], None


def matrix(pairs, of):
    counts = defaultdict(lambda: defaultdict(int))
    for pair in pairs:
        sides = of(pair["baseline"]), of(pair["candidate"])
        if None not in sides:
            counts[sides[0]][sides[1]] += 1
    return {a: dict(b) for a, b in counts.items()}


def row(key, pairs):
    route, model, candidate, served_by, sampling, epoch = key
    oks = [pair for pair in pairs if ok(pair)]
    groups = defaultdict(list)
    for pair in pairs:
        groups[key_of(pair)].append(pair)
    keys = len({at[:2] for at in groups})
    findings, checks, kinds = [], [], []
    for check in CHECKS:
        of = [f for f in (faults(pair, check) for pair in pairs) if f is not None]

        def x(pair, check=check):
            f = faults(pair, check)
            return None if f is None else f[1] - f[0]
        raw = betting(observations(groups, x), check == "script")
        result = decide(raw, None, LIMIT_SHARE)
        if not of or (check == "failed" and served_by == "candidate"):
            result = "not_judged"
        findings.append({"name": check, "result": result, "raw": raw, "limit": LIMIT_SHARE})
        checks.append({
            "check": check, "n": len(of), "both": of.count((1, 1)), "baseline_only": of.count((1, 0)),
            "candidate_only": of.count((0, 1)),
            "share": {"baseline": r6(sum(f[0] for f in of) / len(of)), "candidate": r6(sum(f[1] for f in of) / len(of))}
            if of else None,
            "difference": rounded(raw), "limit": LIMIT_SHARE, "result": result})
    scored = [pair for pair in pairs if agreement(pair["scores"]) is not None]
    raws = {}
    for kind in sorted({pair["scores"]["kind"] for pair in scored}):
        of = [pair for pair in scored if pair["scores"]["kind"] == kind]
        floors = [(floor_of(pair), agreement(pair["scores"])) for pair in of if floor_of(pair) is not None]
        mine = lambda pair: pair["scores"].get("kind") == kind and agreement(pair["scores"]) is not None
        loss = betting(observations(groups, lambda p: 1 - agreement(p["scores"]) if mine(p) else None), True)
        difference = betting(observations(
            groups, lambda p: floor_of(p) - agreement(p["scores"]) if mine(p) and floor_of(p) is not None else None), False)
        result = decide(difference, loss, LIMIT_AGREEMENT)
        if kind not in JUDGED:
            result = "not_judged"
        elif result == "open" and (len(of) < len(scored) / 20 or (served_by == "candidate" and not floors)):
            result = "not_judged"
        raws[kind] = {"name": f"agreement:{kind}", "result": result, "raw": difference, "limit": LIMIT_AGREEMENT,
                      "beside": over(sum(f - a for f, a in floors), len(floors)), "floors": len(floors)}
        kinds.append({
            "kind": kind, "n": len(of), "agreement": r6(sum(agreement(p["scores"]) for p in of) / len(of)),
            "floor": {"n": len(floors), "agreement": r6(over(sum(f for f, _ in floors), len(floors)))},
            "loss": rounded(loss), "difference": rounded(difference),
            "limit": LIMIT_AGREEMENT if kind in JUDGED else None, "result": result})
    findings += [raws[kind] for kind in JUDGED if kind in raws]
    judged = verdict(len(pairs), len(scored), keys, findings)
    unscored = defaultdict(int)
    for pair in pairs:
        if agreement(pair["scores"]) is None:
            unscored[(pair["scores"].get("null") or {}).get("agreement", "unknown")] += 1

    def differ(field, scores):
        of = [s[field] for s in scores if s and s.get(field) is not None]
        return {"n": len(of), "count": sum(v < 1 if field == "tool_names" else not v for v in of)}
    flips = {name: {**differ(field, [p["scores"] for p in oks]), "floor": differ(field, [p.get("floor") for p in oks])}
             for name, field in FLIPS.items()}

    def times(field, where=lambda pair: True):
        def both(pair):
            return ok(pair) and None not in (pair["baseline"].get(field), pair["candidate"].get(field)) and where(pair)

        def log(pair):
            if not both(pair) or not pair["baseline"][field] or not pair["candidate"][field]:
                return None
            return math.log(pair["candidate"][field] / pair["baseline"][field])
        of = [pair for pair in oks if both(pair)]
        return {"n": len(of), "baseline": quantiles([p["baseline"][field] for p in of]),
                "candidate": quantiles([p["candidate"][field] for p in of]), "ratio": ratio(observations(groups, log))}
    ttft = times("ttft_ms")
    for state in ("cold", "warm", "mixed", "unknown"):
        of = times("ttft_ms", lambda pair: cache(pair) == state)
        ttft[state] = {"n": of["n"], "ratio": of["ratio"]}
    length = lambda p: math.log(p["scores"]["length_ratio"]) if ok(p) and p["scores"].get("length_ratio") else None
    counted = [p for p in pairs
               if all(p[s].get(t) is not None for s in ("baseline", "candidate") for t in ("input_tokens", "output_tokens"))]
    tokens = {"n": len(counted)}
    priced = [p for p in pairs if all(p[s].get("cost_usd") is not None for s in ("baseline", "candidate"))]
    cost = {"n": len(priced), "coverage": r6(len(priced) / len(pairs))}
    whole = {}
    for side in ("baseline", "candidate"):
        tokens[side] = {t: sum(p[side][f"{t}_tokens"] for p in counted) for t in ("input", "output")}
        whole[side] = sum(round(p[side]["cost_usd"] * 1e9) for p in priced) / 1e9
        fine = sum(good(p, p[side]) for p in priced)
        cost[side] = {"per_1000": r6(over(1000 * whole[side], len(priced))), "good": fine,
                      "per_1000_good": r6(over(1000 * whole[side], fine))}
    bad = []
    for pair in pairs:
        outcomes = pair["baseline"]["outcome"], pair["candidate"]["outcome"]
        score, kind = agreement(pair["scores"]), pair["scores"].get("kind")
        if outcomes[0] == "ok" and outcomes[1] not in ("ok", "cancelled", "rate_limited"):
            rank = (0, 0)
        elif score is not None and score != 1:
            rank = (2 if kind == "text" else 1, score)
        else:
            continue
        bad.append((rank, pair["id"], {"id": pair["id"], "trace_id": pair["trace_id"], "at": stamp(ms(pair["at"])), "kind": kind,
                                       "agreement": score, "outcome": outcomes[1]}))
    bad.sort(key=lambda one: one[:2])
    ats = [ms(pair["at"]) for pair in pairs]
    out = {
        "route": route, "model": model, "candidate": candidate, "served_by": served_by, "sampling": sampling, "epoch": epoch,
        "baseline": max((ms(p["at"]), p["baseline"]["backend"]) for p in pairs)[1], "current": None,
        "verdict": judged[0], "why": judged[1], "needs_pairs": judged[2], "from": stamp(min(ats)), "to": stamp(max(ats)),
        "pairs": len(pairs), "keys": keys, "key_hours": len(groups), "thinned": False,
        "percents": sorted({float(p["percent"]) for p in pairs}),
        "outcomes": matrix(pairs, lambda leg: leg["outcome"]), "modes": matrix(oks, lambda leg: leg.get("mode")),
        "finishes": matrix(oks, lambda leg: leg.get("finish")), "unscored": dict(unscored), "checks": checks, "kinds": kinds,
        "flips": flips, "ttft_ms": ttft, "total_ms": times("total_ms"),
        "length": {"n": sum(length(p) is not None for p in pairs), "ratio": ratio(observations(groups, length))},
        "tokens": tokens, "cost": cost, "worst": [one[2] for one in bad[:WORST]]}
    out["notes"] = notes(out)
    return out, {"kinds": raws, "cost": whole["candidate"], "last": max(ats)}


def notes(of):
    names = []
    for name, bound in (("slower", "low"), ("faster", "high")):
        for times in (of["ttft_ms"], of["total_ms"]):
            names += beyond(name, times["ratio"], bound)
    prices = of["cost"]["baseline"]["per_1000"], of["cost"]["candidate"]["per_1000"]
    if None not in prices:
        names += ["dearer"] if prices[1] > prices[0] * NOTE else ["cheaper"] if prices[1] < prices[0] / NOTE else []
    names += beyond("longer", of["length"]["ratio"], "low") + beyond("shorter", of["length"]["ratio"], "high")
    names += ["unpriced"] if of["cost"]["coverage"] < 0.5 else []
    names += ["text"] if any(kind["kind"] == "text" for kind in of["kinds"]) else []
    return [{"note": name} for name in names]


def beyond(name, of, bound):
    if not of or of[bound] is None:
        return []
    return [name] if (of[bound] > NOTE if bound == "low" else of[bound] < 1 / NOTE) else []


# Routes, totals, money


def traffic(counts):
    routes = {}
    for line in counts:
        route = routes.setdefault(line["route"], {"minutes": set(), "backends": {}, "shadow": {}})
        route["minutes"].add(ms(line["at"]) // 60_000)
        for name, of in line["backends"].items():
            sums = route["backends"].setdefault(name, defaultdict(int))
            for field in ("chosen", "attempted", "served", "failed", "priced"):
                sums[field] += of[field]
            sums["nano"] += round((of["usd"] or 0) * 1e9)
        for name, of in line["shadow"].items():
            sums = route["shadow"].setdefault(name, defaultdict(int))
            for outcome, n in of.items():
                sums[outcome] += n
    return routes


def route_verdict(rows):
    table = ["pairs", "keys"] + CHECKS + [f"agreement:{kind}" for kind in JUDGED]
    pairs = sum(row["pairs"] for row in rows)
    why = lambda of: [name for name in table if any(name in row["why"] for row in of)]
    stops = [row for row in rows if row["verdict"] == "not_ready"]
    if stops:
        return "not_ready", why(stops), None
    large = [row for row in rows if row["pairs"] >= pairs / 20] or rows
    still = [row for row in large if row["verdict"] != "ready"]
    if not still:
        return "ready", [], None
    more = [row["needs_pairs"] and row["needs_pairs"] * pairs / row["pairs"] for row in still]
    return "not_enough_data", why(still), None if None in more else two_digits(max(more))


def sign(x):
    return (x > 0) - (x < 0)


def total(candidate, what, parts, pooled):
    """Parts: route, row, value, weight, sign."""
    if not parts:
        return []
    weights = sum(part[3] for part in parts)
    parts = [(a, b, v, w / weights if weights else 1 / len(parts), s) for a, b, v, w, s in parts]
    value = sum(v * w for _, _, v, w, _ in parts)
    signs = {part[4] for part in parts}
    turned = len(signs) == 1 and 0 not in signs and sign(pooled) == -signs.copy().pop()
    warns = turned or any(s and s != sign(value) for s in signs)
    return [{"candidate": candidate, "what": what, "value": r6(value), "pooled": r6(pooled), "reversed": turned,
             "rows": [{"route": a, "row": b, "value": r6(v), "weight": r6(w)} for a, b, v, w, _ in parts], "says": warns}]


def totals(candidate, baseline, rows, routes):
    chosen = {name: sum(b["chosen"] for b in of["backends"].values()) for name, of in routes.items()}
    out = []
    for what, part, whole in (("served_failed", "failed", "attempted"), ("served_usd", "nano", "priced")):
        parts, sums = [], [0, 0, 0, 0]
        for name in sorted(routes):
            one, other = (routes[name]["backends"].get(side) for side in (baseline, candidate))
            if not one or not other or not one[whole] or not other[whole]:
                continue
            scale = 1e9 if part == "nano" else 1
            a, n, b, m = one[part] / scale, one[whole], other[part] / scale, other[whole]
            value, p = b / m - a / n, (a + b) / (n + m)
            clear = part == "nano" or abs(value) > 2 * math.sqrt(max(0, p * (1 - p)) * (1 / n + 1 / m))
            parts.append((name, None, value, chosen[name], sign(value) if clear else 0))
            sums = [s + x for s, x in zip(sums, (a, n, b, m))]
        if parts:
            out += total(candidate, what, parts, sums[2] / sums[3] - sums[0] / sums[1])
    for what in ["failed"] + [f"agreement:{kind}" for kind in JUDGED]:
        values = []
        for position, row, extra in rows:
            if row["served_by"] != "baseline":
                continue
            if what == "failed":
                check = row["checks"][0]
                if check["n"]:
                    values.append((position, row, check["candidate_only"] - check["baseline_only"], check["n"], check["difference"]))
            else:
                kind = extra["kinds"].get(what[10:])
                if kind and kind["beside"] is not None:
                    values.append((position, row, kind["beside"] * kind["floors"], kind["floors"], kind["raw"]))
        per_route = defaultdict(int)
        for _, row, *_ in values:
            per_route[row["route"]] += row["pairs"]
        counted = any(chosen.get(route) for route in per_route)
        parts = []
        for position, row, s, n, interval in values:
            weight = (chosen.get(row["route"], 0) if counted else per_route[row["route"]])
            clear = interval and (1 if r6(interval["low"]) > 0 else -1 if r6(interval["high"]) < 0 else 0)
            parts.append((row["route"], position, s / n, weight * row["pairs"] / per_route[row["route"]], clear or 0))
        if values:
            out += total(candidate, what, parts, sum(v[2] for v in values) / sum(v[3] for v in values))
    return out


def money(candidate, baseline, rows, routes, gpus):
    sums = {baseline: defaultdict(int), candidate: defaultdict(int)}
    minutes, chosen = set(), 0
    for of in routes.values():
        if baseline in of["backends"] and candidate in of["backends"]:
            minutes |= of["minutes"]
            chosen += sum(b["chosen"] for b in of["backends"].values())
            for name in sums:
                for field, n in of["backends"][name].items():
                    sums[name][field] += n
    days = len(minutes) / 60 / 24
    price = {name: over(of["nano"] / 1e9, of["priced"]) for name, of in sums.items()}
    if price[candidate] is None:
        price[candidate] = over(sum(extra["cost"] for *_, extra in rows), sum(row["cost"]["n"] for _, row, _ in rows))
    rate, ours = over(chosen, days), price[baseline]
    month = 365 / 12
    bill = lambda a_day: None if a_day is None or ours is None else a_day * month * ours
    gpu = gpus.get(candidate)
    even = gpu / month / ours if gpu is not None and ours else None
    return {"candidate": candidate, "requests_per_day": r6(rate),
            "baseline_usd_per_1000": r6(ours and ours * 1000), "candidate_usd_per_1000": r6(price[candidate] and price[candidate] * 1000),
            "baseline_usd_per_month": r6(bill(over(sums[baseline]["served"], days))), "all_baseline_usd_per_month": r6(bill(rate)),
            "gpus_usd_per_month": r6(gpu), "break_even": None if even is None else
            {"requests_per_day": r6(even), "percent": r6(over(100 * even, rate or 0))}}


def report(files, gpus=None):
    lines, skipped = [], {"torn": 0, "foreign": 0, "newer": 0, "too_long": 0}
    for file in files:
        with open(file, "rb") as stream:
            for line in stream.read().split(b"\n"):
                read = classify(line)
                if isinstance(read, dict):
                    lines.append(read)
                elif read:
                    skipped[read] += 1
    pairs, counts = ([line for line in lines if line["kind"] == kind] for kind in ("pair", "counts"))
    ats = [ms(line["at"]) for line in lines]
    by_row = defaultdict(list)
    for pair in pairs:
        sampling = "greedy" if (pair.get("request") or {}).get("temperature") == 0 else "sampled"
        by_row[pair["route"], pair["model"], pair["candidate"]["backend"], pair["served_by"], sampling, pair["epoch"]].append(pair)
    kept = sorted(sorted(by_row, key=lambda key: (-len(by_row[key]), key))[:ROWS])
    others = [len(by_row[key]) for key in by_row if key not in set(kept)]
    latest = {}
    for key, of in by_row.items():
        last = (max(ms(pair["at"]) for pair in of), key[5])
        latest[key[0], key[2]] = max(latest.get((key[0], key[2]), last), last)
    rows = []
    for position, key in enumerate(kept):
        out, extra = row(key, by_row[key])
        out["current"] = latest[key[0], key[2]][1] == key[5]
        rows.append((position, out, extra))
    routes = traffic(counts)
    current = [one for one in rows if one[1]["current"]]
    out_routes, out_totals, out_money = [], [], []
    for route, candidate in sorted({(row["route"], row["candidate"]) for _, row, _ in current}):
        of = [one for one in current if (one[1]["route"], one[1]["candidate"]) == (route, candidate)]
        baseline = max((extra["last"], row["baseline"]) for _, row, extra in of)[1]
        seen = routes.get(route, {"minutes": set(), "backends": {}, "shadow": {}})
        shadow = {name: seen["shadow"].get(candidate, {}).get(name, 0) for name in COPIES}
        judged = route_verdict([row for _, row, _ in of])
        served = {}
        for name in (baseline, candidate):
            sums = seen["backends"].get(name, defaultdict(int))
            served[name] = {field: sums[field] for field in ("chosen", "attempted", "served", "failed")}
            served[name] |= {"usd": r6(sums["nano"] / 1e9) if sums["priced"] else None, "priced": sums["priced"]}
        out_routes.append({
            "route": route, "candidate": candidate, "baseline": baseline, "epoch": of[0][1]["epoch"],
            "rows": [position for position, *_ in of], "verdict": judged[0], "why": judged[1], "needs_pairs": judged[2],
            "hours": r6(len(seen["minutes"]) / 60),
            "admitted": r6(over(shadow["sent"], sum(shadow[name] for name in ("sent", "unwell", "in_flight", "bytes", "budget")))),
            "shadow": shadow, "served": served})
    for candidate in sorted({row["candidate"] for _, row, _ in current}):
        of = [one for one in current if one[1]["candidate"] == candidate]
        baseline = max((extra["last"], row["baseline"]) for _, row, extra in of)[1]
        out_totals += totals(candidate, baseline, of, routes)
        out_money.append(money(candidate, baseline, of, routes, gpus or {}))
    ends = {}
    for line in sorted(counts, key=lambda line: ms(line["at"])):
        for backend, of in line["backends"].items():
            for model, date in (of.get("ends") or {}).items():
                ends[backend, model] = date
    day = lambda text: datetime.fromisoformat(text).date()
    today = datetime.fromtimestamp(max(ats) / 1000, timezone.utc).date() if ats else None
    return {
        "v": 1, "from": stamp(min(ats)) if ats else None, "to": stamp(max(ats)) if ats else None, "files": len(files),
        "instances": len({line["instance"] for line in lines}),
        "lines": {"pairs": len(pairs), "counts": len(counts), "skipped": skipped},
        "other": {"rows": len(others), "pairs": sum(others)}, "routes": out_routes, "rows": [row for _, row, _ in rows],
        "totals": out_totals, "money": out_money,
        "ends": [{"backend": b, "model": m, "ends": date, "days": (day(date) - today).days} for (b, m), date in sorted(ends.items())]}


def lines_of(report):
    """The report as JSON with one line for each of its fields, and one for each element of a list."""
    def dump(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def field(value):
        listed = isinstance(value, list) and value
        return "[\n" + ",\n".join(map(dump, value)) + "]" if listed else dump(value)
    return "{" + ",\n".join(f"{dump(name)}:{field(value)}" for name, value in report.items()) + "}\n"


if __name__ == "__main__":
    names = sys.argv[1:]
    if names[:1] == ["--write"]:
        for name in names[1:]:
            with open(name.removesuffix(".jsonl") + ".json", "w") as out:
                out.write(lines_of(report([name], {"qwen-gpu": 2.5 * 8 * 730})))
    else:
        print(json.dumps(report(names), ensure_ascii=False))
