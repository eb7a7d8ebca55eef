"""An independent reference of the guard's evidence, in plain floats, from its definition alone (standard library only).

    python3 tests/sdk/guard_ref.py FILE...      prints what each file's requests prove
    python3 tests/sdk/guard_ref.py --write DIR  writes the files of tests/data/guard, one for each rule

A file has limits, requests and the instants at which somebody looks. Times are milliseconds.
"""

import heapq
import json
import math
import random
import sys
from pathlib import Path

RATIOS = [1.5, 2, 3, 5, 10, 30]
MULTIPLES = [2, 4, 16, 64]
MOST = 1e300
HOLD = 60_000


class Mixture:
    """S <- (S + 1/(n(n+1))) * factor for each alternative; the evidence is the mean of S + 1/(n+1)."""

    def __init__(self, size):
        self.sums, self.n = [0.0] * size, 0

    def add(self, factors):
        self.n += 1
        start = 1 / (self.n * (self.n + 1))
        self.sums = [min((s + start) * f, MOST) for s, f in zip(self.sums, factors)]

    def value(self):
        return min(sum(s + 1 / (self.n + 1) for s in self.sums) / len(self.sums), MOST)


class Guard:
    def __init__(self, limits):
        self.limits = limits
        self.ratio, self.floor = Mixture(len(RATIOS)), Mixture(len(MULTIPLES))
        self.trials, self.faults, self.counted = ({"candidate": 0, "baseline": 0} for _ in range(3))
        self.keys, self.seen = set(), set()
        self.last_was_good = True
        self.state, self.until = "watching", None

    def evidence(self):
        floor = self.floor.value()
        return floor if self.limits["blind"] else min(floor, self.ratio.value())

    def time(self, now):
        """The end of a hold."""
        if self.state == "held" and now >= self.until:
            enough = self.evidence() >= 0.1 / self.limits["alpha"]
            self.state = "rolled_back" if enough else "watching"

    def decide(self, request, end, other):
        """(is a trial, is a fault, counts)"""
        candidate = request["side"] == "candidate"
        if end == "answered":
            return True, False, False
        if end in ("limited", "gone"):
            return False, False, False
        if end in ("cut", "overdue"):
            return True, True, True
        if end == "refused":
            # A fault only where the other side answered.
            answered = candidate and other == "answered"
            return answered, answered, answered
        assert end == "failed"
        return True, True, not candidate or other in ("answered", "off")

    def end(self, now, request, end, other):
        self.time(now)
        is_trial, is_fault, counts = self.decide(request, end, other)
        if not is_trial:
            return
        side, key = request["side"], request["key"]
        self.trials[side] += 1
        self.faults[side] += is_fault
        if side == "candidate":
            if key is not None:
                self.keys.add(key)
            counts = counts and self.last_was_good
            self.last_was_good = not is_fault
        if counts and key is not None:
            counts = key not in self.seen
            self.seen.add(key)
        self.counted[side] += counts
        self.tests(request, is_fault, counts)
        if side == "candidate" and counts and self.state == "watching" and self.evidence() >= 1 / self.limits["alpha"]:
            self.state, self.until = "held", now + HOLD

    def tests(self, request, is_fault, counts):
        candidate, floor = request["side"] == "candidate", self.limits["floor"]
        share, rest = request["percents"]
        if counts and rest > 0:
            w, m = share / (share + rest), self.limits["max_ratio"]
            wm = w * m / (1 - w + w * m)
            factors = []
            for r in RATIOS:
                wr = wm * r / (1 - wm + wm * r)
                factors.append(wr / wm if candidate else (1 - wr) / (1 - wm))
            self.ratio.add(factors)
        if candidate and (counts or not is_fault):
            qs = [min(k * floor, 0.9) for k in MULTIPLES]
            self.floor.add([q / floor if counts else (1 - q) / (1 - floor) for q in qs])

    def needs(self):
        """The larger of the two closed forms for five times the floor, less the requests seen; None if never."""
        limits, floor, alpha = self.limits, self.limits["floor"], self.limits["alpha"]
        p = min(5 * floor, 1.0)
        blind = limits["blind"]
        w = 1.0 if blind else limits["weight"]
        qs = [min(k * floor, 0.9) for k in MULTIPLES]
        d2 = max(p * math.log(q / floor) + (1 - p) * math.log((1 - q) / (1 - floor)) for q in qs)
        if d2 <= 0:
            return None
        needed = (math.log(1 / alpha) + math.log(4)) / (d2 * w)
        if not blind:
            trials = self.trials["baseline"]
            p_a = max(self.faults["baseline"] / trials if trials else 0.0, floor)
            k, m = p / p_a, limits["max_ratio"]
            theta = w * k / (1 - w + w * k)
            wm = w * m / (1 - w + w * m)
            ds = []
            for r in RATIOS:
                wr = wm * r / (1 - wm + wm * r)
                ds.append(theta * math.log(wr / wm) + (1 - theta) * math.log((1 - wr) / (1 - wm)))
            if max(ds) <= 0:
                return None
            n = max(sum(self.counted.values()), 1)
            events = (math.log(1 / alpha) + math.log(6) + 2 * math.log(n)) / max(ds)
            needed = max(needed, events / (w * p + (1 - w) * p_a))
        seen = self.trials["candidate"] + (0 if blind else self.trials["baseline"])
        return max(math.ceil(needed) - seen, 0)

    def verdict(self, needs):
        if self.limits["blind"]:
            return "blind"
        if self.evidence() >= 1 and self.counted["candidate"] > 0:
            return "suspicious"
        return "healthy" if needs == 0 else "insufficient"

    def look(self, now):
        self.time(now)
        needs = self.needs()
        return {"at": now, "ln_evidence": math.log(self.evidence()), "trials": self.trials.copy(),
                "faults": self.faults.copy(), "counted": self.counted.copy(), "keys": len(self.keys), "needs": needs,
                "verdict": self.verdict(needs), "state": self.state}


COLUMNS = ["sent", "side", "percents", "key", "streamed", "overdue", "generated", "failed", "ended", "end", "other"]


def play(case):
    """What somebody sees at each instant of `looks`."""
    guard, limits = Guard(case["limits"]), case["limits"]
    # In an instant: what was sent, what stopped waiting, what ended, who looks; overdue comes before all of them.
    line = [(at, 3, n) for n, at in enumerate(case["looks"])]
    for n, request in enumerate(case["requests"]):
        line.append((request["sent"], 0, n))
        line += [(at, 1, n) for at in (request["generated"], request["failed"]) if at is not None]
        line.append((request["ended"], 2, n))
    waiting, stopped, trials, seen = [], set(), set(), []
    for now, what, n in sorted(line):
        while waiting and waiting[0][0] <= now:
            due, late = heapq.heappop(waiting)
            if late not in stopped:
                stopped.add(late)
                trials.discard(late)
                guard.end(due, case["requests"][late], "overdue", None)
        if what == 3:
            seen.append(guard.look(now))
            continue
        request = case["requests"][n]
        if what == 0:
            # While it is held or rolled back, nothing that is drawn is a trial.
            if guard.state == "watching":
                trials.add(n)
                age = request["overdue"] or limits["overdue"]
                heapq.heappush(waiting, (now + (age if request["streamed"] else 10 * age), n))
        else:
            stopped.add(n)
            if what == 2 and n in trials:
                trials.discard(n)
                guard.end(now, request, request["end"], request["other"])
    return seen


# The files of tests/data/guard

LIMITS = {"max_ratio": 1.5, "floor": 0.005, "alpha": 0.01, "overdue": 30_000, "blind": False, "weight": 0.25}


class Maker:
    def __init__(self, seed, **limits):
        self.rng = random.Random(seed)
        self.limits = {**LIMITS, **limits}
        self.requests, self.now = [], 0

    def request(self, side=None, percents=(2500, 7500), end="answered", other=None, key=None, takes=None, **more):
        self.now += self.rng.randint(1, 400)
        if side is None:
            side = "candidate" if self.rng.random() < percents[0] / sum(percents) else "baseline"
        takes = self.rng.randint(50, 4_000) if takes is None else takes
        ended = self.now + takes
        generated = self.now + takes // 2 if end in ("answered", "cut") else None
        # A failure before the content is noted at once; the baseline's answer takes its time.
        failed = self.now + takes // 3 if end in ("failed", "refused", "limited") else None
        self.requests.append({"sent": self.now, "side": side, "percents": list(percents), "key": key, "streamed": True,
                              "overdue": None, "generated": generated, "failed": failed, "ended": ended, "end": end,
                              "other": other, **more})

    def chance(self, p):
        return self.rng.random() < p

    def case(self, rule):
        last = max(r["ended"] for r in self.requests) + 400_000
        sent = [r["sent"] for r in self.requests]
        looks = [sent[len(sent) * part // 8] for part in range(1, 8)] + [last]
        case = {"rule": rule, "limits": self.limits, "looks": looks, "requests": self.requests}
        return {**case, "expected": play(case)}


def failing(maker, count, baseline, candidate, percents=lambda n: (2500, 7500), **more):
    """Requests of which each side fails a part, all confirmed."""
    for n in range(count):
        shares = percents(n)
        side = "candidate" if maker.chance(shares[0] / sum(shares)) else "baseline"
        fails = maker.chance(candidate if side == "candidate" else baseline)
        other = "answered" if fails and side == "candidate" else None
        maker.request(side, shares, "failed" if fails else "answered", other, **more)


def cases():
    maker = Maker(1)
    failing(maker, 400, 0.03, 0.03)
    yield maker.case("the ratio: both fail alike")

    maker = Maker(2, alpha=1e-9)
    shares = [(500, 9500), (2500, 7500), (100, 9900), (5000, 2500), (9999, 1), (1, 9999)]
    failing(maker, 900, 0.1, 0.15, lambda n: shares[n // 60 % 6])
    yield maker.case("shares: each event has those that it was drawn from")

    maker = Maker(3, max_ratio=1.0, floor=0.002, alpha=1e-30)
    failing(maker, 300, 0.01, 0.3)
    failing(maker, 300, 0.2, 0.0)
    failing(maker, 300, 0.01, 0.3)
    yield maker.case("the recurrence: bad, well, bad again")

    maker = Maker(4, blind=True, weight=1.0, alpha=1e-12)
    failing(maker, 400, 0.0, 0.06, lambda n: (10_000, 0))
    yield maker.case("blind: the floor alone")

    maker = Maker(5, floor=0.4, max_ratio=1.0, alpha=1e-12)
    failing(maker, 400, 0.2, 0.7)
    yield maker.case("a high floor: rates of at most 0.9")

    maker = Maker(6, alpha=1e-12)
    for _ in range(600):
        key = f"user-{int(maker.rng.paretovariate(0.7)) % 400}"
        side = "candidate" if sum(key.encode()) % 4 == 0 else "baseline"
        fails = maker.chance(0.9 if sum(key.encode()) % 5 == 0 else 0.02)
        other = "answered" if fails and side == "candidate" else None
        maker.request(side, (2500, 7500), "failed" if fails else "answered", other, None if maker.chance(0.1) else key)
    yield maker.case("keys: the first counted event of each")

    maker = Maker(7, alpha=1e-12)
    for _ in range(500):
        fails = maker.chance(0.5 if len(maker.requests) % 60 < 20 else 0.02)
        other = maker.rng.choice(["answered", "failed"]) if fails else None
        maker.request("candidate" if maker.chance(0.5) else "baseline", (5000, 5000), "failed" if fails else "answered",
                      other)
    yield maker.case("rows: failures in a row count once, in the order of their ends")

    maker = Maker(8, alpha=1e-12)
    for _ in range(500):
        fails = maker.chance(0.15)
        end = maker.rng.choice(["failed", "refused"]) if fails else "answered"
        other = maker.rng.choice(["answered", "failed", "refused", "not_asked"]) if fails else None
        maker.request("candidate" if maker.chance(0.6) else "baseline", (2500, 7500), end, other)
    yield maker.case("confirmed: only where the baseline then answered")

    maker = Maker(9, alpha=1e-12, failover=False)
    for _ in range(400):
        fails = maker.chance(0.1)
        end = maker.rng.choice(["failed", "refused", "cut"]) if fails else "answered"
        maker.request("candidate" if maker.chance(0.6) else "baseline", (2500, 7500), end, "off" if fails else None)
    yield maker.case("failover off: unconfirmed failures count")

    maker = Maker(10, alpha=1e-12)
    for _ in range(500):
        end = maker.rng.choices(["answered", "limited", "gone", "cut"], [80, 8, 8, 4])[0]
        maker.request("candidate" if maker.chance(0.5) else "baseline", (2500, 7500), end)
    yield maker.case("no trials: 429 and clients that leave")

    maker = Maker(11, alpha=1e-12, overdue=5_000)
    for _ in range(500):
        hangs = maker.chance(0.1)
        takes = maker.rng.choice([4_000, 9_999, 10_001, 60_000, 101_000, 250_000]) if hangs else None
        own = maker.rng.choice([None, None, 20_000])
        end = maker.rng.choice(["answered", "failed", "gone"]) if hangs else "answered"
        other = "answered" if end == "failed" else None
        maker.request("candidate" if maker.chance(0.6) else "baseline", (2500, 7500), end, other, takes=takes,
                      streamed=maker.chance(0.7), overdue=own)
    yield maker.case("overdue: decided by age, before the end")

    maker = Maker(12)
    failing(maker, 200, 0.005, 0.005)
    failing(maker, 450, 0.005, 0.4)
    yield maker.case("the trip: held, then rolled back")

    maker = Maker(13)
    for n in range(600):
        side = "candidate" if maker.chance(0.25) else "baseline"
        ill = 200 <= n < 300
        fails = maker.chance(0.6 if ill else 0.0)
        # Both fail; the baseline takes its time for it.
        slow = {"takes": 25_000} if fails and side == "baseline" else {}
        other = "answered" if fails and side == "candidate" else None
        maker.request(side, (2500, 7500), "failed" if fails else "answered", other, **slow)
        if fails and side == "baseline":
            maker.requests[-1]["failed"] = maker.requests[-1]["ended"]
    yield maker.case("the hold: the baseline had failed as well")

    maker = Maker(14, floor=1e-9, max_ratio=1.0, alpha=1e-300)
    for _ in range(500):
        maker.request("candidate", (1, 9999), "failed", "answered")
        maker.request("candidate", (1, 9999), "answered")
    yield maker.case("the limit: at most 10^300")


def main():
    if sys.argv[1:2] == ["--write"]:
        for number, case in enumerate(cases(), 1):
            word = case["rule"].split(":")[0].replace("the ", "").replace(" ", "-")
            path = Path(sys.argv[2]) / f"{number:02}-{word}.json"
            rows = [json.dumps([r[name] for name in COLUMNS], separators=(",", ":")) for r in case.pop("requests")]
            head = json.dumps({**case, "columns": COLUMNS})[:-1]
            path.write_text(head + ', "requests": [\n' + ",\n".join(rows) + "\n]}\n")
        return
    for path in sys.argv[1:]:
        case = json.loads(Path(path).read_text())
        case["requests"] = [dict(zip(case["columns"], row)) for row in case["requests"]]
        print(json.dumps({"rule": case["rule"], "seen": play(case)}, indent=1))


if __name__ == "__main__":
    main()
