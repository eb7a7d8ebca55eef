#!/usr/bin/env python3
"""Prints the licences of every crate that is linked into the binary: licences.py TARGET [CARGO OPTION...]

Fails if a crate comes without the text of its licence and the texts of the other crates do not have it either.
"""

import collections
import json
import re
import subprocess
import sys
from pathlib import Path

NAMES = re.compile(r"(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)
# A text is found by what only it says, for crates whose package leaves it out.
STANDARD = {
    "MIT": "permission is hereby granted, free of charge, to any person obtaining a copy",
    "Apache-2.0": "apache license version 2.0, january 2004",
    "BSD-3-Clause": "redistribution and use in source and binary forms",
    "ISC": "permission to use, copy, modify, and/or distribute this software",
    "Zlib": "this software is provided 'as-is'",
    "CC0-1.0": "creative commons legal code cc0 1.0 universal",
    "Unicode-3.0": "unicode license v3",
}


def plain(text):
    return " ".join(text.split()).lower()


def linked(target, options):
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}", *options]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, todo = set(), [root]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            package = packages[dependency["pkg"]]
            is_macro = any("proc-macro" in one["kind"] for one in package["targets"])
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and not is_macro and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    return sorted((packages[one] for one in found), key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = Path(package["manifest_path"]).parent
    # C sources that are compiled in keep theirs deeper in the package.
    depth = "**/*" if package.get("links") or package["name"].endswith("-sys") else "*"
    files = [path for path in sorted(folder.glob(depth)) if path.is_file() and NAMES.match(path.name)]
    for path in files:
        if path.suffix.lower() not in (".rs", ".c", ".h", ".go", ".py", ".spdx"):
            yield path.read_text(encoding="utf-8", errors="replace").strip()


def main():
    target, *options = sys.argv[1:]
    packages = linked(target, options)
    users, lists, without = collections.defaultdict(list), [], []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        lists.append(f"{name}: {package['license'] or 'see its text'}; {', '.join(package['authors']) or package['repository'] or ''}")
        found = list(texts(package))
        for text in found:
            users[text].append(name)
        if not found:
            without.append(package)
    missing = []
    for package in without:
        known = [one for one in STANDARD if one in re.split(r"[ /()]+", package["license"] or "")]
        holders = [text for one in known for text in users if STANDARD[one] in plain(text)]
        if not holders:
            missing.append(f"{package['name']} {package['version']} ({package['license']})")
            continue
        users[min(holders, key=lambda text: (len(text), text))].append(f"{package['name']} {package['version']} (its package has no text)")
    if missing:
        sys.exit(f"licences.py: no text of the licence of {', '.join(missing)}")
    print(f"{len(packages)} crates are linked into shiftgate. The standard library of Rust has its own list.\n")
    print("\n".join(lists))
    for text, names in sorted(users.items(), key=lambda item: (item[1], item[0])):
        print(f"\n{'=' * 100}\n{', '.join(sorted(set(names)))}\n{'-' * 100}\n{text}")


main()
