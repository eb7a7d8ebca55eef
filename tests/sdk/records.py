"""Recomputes the scores of records from their content: python3 tests/sdk/records.py FILE [COUNT SEED]. Standard library only.

Draws COUNT pairs at random, all by default, and scores each, and its floor, by tests/data/agreement_ref.py. Exits with 1
at the first difference. The records need `content = true`."""
import json
import random
import sys

from agreement import TOLERANCE, mode, reference

SIDES = ("baseline", "candidate", "noise")


def side(record, name):
    """The side as the reference reads it: its answer, and what is said of the leg."""
    leg, answer = record[name], record["content"][name] or {}
    return {
        **{key: value for key, value in answer.items() if value is not None},
        "outcome": leg["outcome"],
        "over_cap": leg["null"].get("mode") == "over_cap",
        "schema_valid": leg["schema_valid"],
    }


def json_valid(request, side):
    text, asked = side.get("text") or "", request["format"] in ("json_object", "json_schema")
    if reference.refused(side) or side.get("calls"):
        return None
    try:
        value = reference.parse(text, asked)
    except reference.Bad:
        return False if asked else None
    return True if asked or isinstance(value, (dict, list)) else None


def scores(request, ref, cand):
    kind, agreement, null = reference.agreement(request, ref, cand)
    said = {"kind": kind, "agreement": agreement, "null": null}
    if kind:
        a, b = ref.get("text") or "", cand.get("text") or ""
        has_texts = not (reference.blank(a) or reference.blank(b))
        said["finish_equal"] = ref["finish"] == cand["finish"] if "finish" in ref and "finish" in cand else None
        said["exact"] = reference.fold(a) == reference.fold(b) if has_texts else None
        said["similarity"] = reference.chrf(a, b) if has_texts else None
        said["length_ratio"] = len(b) / len(a) if has_texts else None
    return said


def wrong(said, scored):
    """The recorded values that the reference has otherwise."""
    recorded = {**scored, "null": scored["null"].get("agreement")}

    def is_equal(name, value):
        other = recorded[name]
        is_number = isinstance(value, float) and isinstance(other, (int, float))
        return abs(value - other) <= TOLERANCE if is_number else value == other

    return {name: value for name, value in said.items() if not is_equal(name, value)}


def differences(record):
    request = record["request"]
    sides = {name: side(record, name) for name in SIDES if record[name]}
    found = {"scores": wrong(scores(request, sides["baseline"], sides["candidate"]), record["scores"])}
    if record["floor"]:
        found["floor"] = wrong(scores(request, sides["baseline"], sides["noise"]), record["floor"])
    for name, one in sides.items():
        leg = {"mode": mode(request, one)}
        if leg["mode"]:
            leg["json_valid"] = json_valid(request, one)
            leg["refused"] = reference.refused(one)
            leg["chars"] = len(one.get("text") or "")
            leg["calls"] = len(one.get("calls", []))
        found[name] = {key: value for key, value in leg.items() if record[name][key] != value}
    return {name: values for name, values in found.items() if values}


def main():
    path, *drawn = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        records = [record for record in map(json.loads, lines) if record["kind"] == "pair"]
    if drawn:
        count, seed = map(int, drawn)
        records = random.Random(seed).sample(records, min(count, len(records)))
    kinds = {}
    for record in records:
        found = differences(record)
        if found:
            print(f"pair {record['id']}: the reference has {found}\n{json.dumps(record)}", file=sys.stderr)
            return 1
        kind = record["scores"]["kind"] or "null"
        kinds[kind] = kinds.get(kind, 0) + 1
    print(f"{len(records)} pairs are scored as by the reference: {dict(sorted(kinds.items()))}")
    return 0 if records else 1


if __name__ == "__main__":
    sys.exit(main())
