"""Checks agreements against the reference: python3 tests/sdk/agreement.py < PAIRS. Standard library only.

Each line is an object with `request`, `ref`, `cand`, and what was said of them: `kind`, `agreement`, `null`, and `modes`
of both sides. Exits with 1 at the first line that the reference scores otherwise."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "data"))
import agreement_ref as reference  # noqa: E402

TOLERANCE = 0.0001


def mode(request, side):
    is_scored = side.get("outcome", "ok") == "ok" and not side.get("over_cap")
    return reference.mode(request, side) if is_scored else None


def differences(pair):
    request, sides = pair["request"], (pair["ref"], pair["cand"])
    kind, agreement, null = reference.agreement(request, *sides)
    modes = [mode(request, side) for side in sides]
    is_close = (
        abs(agreement - pair["agreement"]) <= TOLERANCE
        if agreement is not None and pair["agreement"] is not None
        else agreement == pair["agreement"]
    )
    said = {"kind": kind, "agreement": agreement, "null": null, "modes": modes}
    return {
        name: value
        for name, value in said.items()
        if (not is_close if name == "agreement" else name in pair and value != pair[name])
    }


def main():
    checked, kinds = 0, {}
    for number, line in enumerate(sys.stdin, 1):
        pair = json.loads(line)
        wrong = differences(pair)
        if wrong:
            print(f"line {number}: the reference has {wrong}\n{line}", file=sys.stderr)
            return 1
        checked += 1
        name = f"{pair['kind']} {pair['null'] or 'scored'}"
        kinds[name] = kinds.get(name, 0) + 1
    print(f"{checked} pairs agree with the reference: {dict(sorted(kinds.items()))}")
    return 0 if checked else 1


if __name__ == "__main__":
    sys.exit(main())
