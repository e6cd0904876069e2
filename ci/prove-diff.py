#!/usr/bin/env python3
"""Compares two matrices that `meshproof prove` wrote (docs/prove.md): ci/prove-diff.py OLD NEW

Prints what the new one catches less and more, and ends with 1 if a check no longer catches a fault that it caught before.
"""
import re
import sys


def caught(path):
    """The pairs of fault and check that were red."""
    checks, pairs = {}, set()
    for line in open(path, encoding="utf-8"):
        if line.startswith("## "):
            checks = {}
        elif match := re.match(r"(\d+)\. `([^`]+)`", line):
            checks[int(match[1])] = match[2]
        elif line.startswith("| ") and checks:
            fault, *cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            pairs |= {(fault, checks[number]) for number, cell in enumerate(cells, 1) if "red" in cell}
    return pairs


def main():
    old, new = (caught(path) for path in sys.argv[1:3])
    for word, pairs in (("lost", old - new), ("gained", new - old)):
        for fault, check in sorted(pairs):
            print(f"{word}: {check} on {fault}")
    faults = {fault for fault, _ in new}
    print(f"{len(old)} red cells before, {len(new)} after; {len(faults)} faults caught")
    sys.exit(1 if old - new else 0)


main()
