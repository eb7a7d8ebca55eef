"""Computes the README's table of how long a decision takes: python3 tests/sdk/decision_table.py [README.md].

Prints the table; with a file, exits with 1 unless the table is in it. Standard library only. The constants are those of the
report (tests/sdk/report_ref.py), the traffic is assumed:
"""
import math
import random
import sys

from report_ref import C, L, LIMIT_AGREEMENT, LIMIT_SHARE

# Requests a second, all day.
RATES = (1, 10, 100)
# Shares of the users that are copied, and of the copied ones that the baseline is asked again for. Both are drawn by user.
SHADOW, NOISE = 0.10, 0.20
# Requests of a user in an hour, and hours of a user in a day.
PAIRS, HOURS = 20, 2
# Runs of a simulation, and the share of them that is decided by then.
RUNS, DECIDED = 400, 0.9


def decided(draw, limit):
    """Number of user-hours after which the upper bound is not above the limit: the bet against the limit has won."""
    m = (limit + 1) / 2
    wealth, total, squares, v, t = 0.0, 0.5, 0.25, 0.25, 0
    while wealth < L:
        t += 1
        y = (draw() + 1) / 2
        bet = math.sqrt(2 * L / (t * math.log(1 + t) * v))
        wealth += math.log(1 - min(bet, C / (1 - m)) * (y - m))
        total += y
        squares += (y - total / (t + 1)) ** 2
        v = squares / (t + 1)
    return t


def user_hours(draw, limit):
    """User-hours with which nine of ten runs are decided; without any difference the constant of the report."""
    if draw is None:
        return math.ceil(L / C / limit)
    found = sorted(decided(lambda seed=random.Random(seed): draw(seed), limit) for seed in range(RUNS))
    return found[math.ceil(DECIDED * RUNS) - 1]


def failing(share):
    """The difference of two sides that each fail in this share of the requests, by chance."""
    def draw(seed):
        return sum((seed.random() < share) - (seed.random() < share) for _ in range(PAIRS)) / PAIRS
    return draw


CASES = [
    ("checks, and no fault occurs", None, LIMIT_SHARE, 1.0),
    ("checks, and 1 % of the requests fail on either side", failing(0.01), LIMIT_SHARE, 1.0),
    ("agreement, and every answer is the same", None, LIMIT_AGREEMENT, NOISE),
    ("agreement, and 10 % of the answers differ on either side", failing(0.1), LIMIT_AGREEMENT, NOISE),
]


def number(n):
    return f"{n:,.0f}"


def span(hours):
    """Hours, or days from two days on; never less than an hour, the unit of an observation."""
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{max(1, math.ceil(hours))} h"


def table():
    yield "| what is decided | copied user-hours | pairs | copied users | " + " | ".join(f"{rate}/s" for rate in RATES) + " |"
    yield "|---|---|---|---|" + "---|" * len(RATES)
    for name, draw, limit, share in CASES:
        copied = math.ceil(user_hours(draw, limit) / share)
        spans = [span(copied / (rate * 3600 / PAIRS * SHADOW)) for rate in RATES]
        yield f"| {name} | {number(copied)} | {number(copied * PAIRS)} | {number(copied / HOURS)} | {' | '.join(spans)} |"


def main():
    lines = "\n".join(table())
    print(lines)
    if sys.argv[1:]:
        with open(sys.argv[1], encoding="utf-8") as readme:
            if lines not in readme.read():
                sys.exit(f"the table is not in {sys.argv[1]}")


if __name__ == "__main__":
    main()
