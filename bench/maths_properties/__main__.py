"""`python -m bench.maths_properties [VALUES] [--seed N]`: laws that hold for any value, tried on random ones."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from bench.maths_properties.trials import MAKERS, tried

LAWS = ("another spelling", "other words around", "another value", "another answer beside")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.maths_properties", description=__doc__)
    parser.add_argument("values", nargs="?", type=int, default=25_000, help="random values, four trials each")
    parser.add_argument("--seed", type=int, default=0, help="number of the first value")
    parser.add_argument("--list", type=int, default=3, metavar="N", help="broken trials to show of each kind and law")
    chosen = parser.parse_args(arguments)
    started = time.perf_counter()
    tally = tried(chosen.seed * len(MAKERS), chosen.values)
    broken = Counter((t.kind, t.law) for t in tally.broken)
    print(f"{'kind':<16}" + "".join(f"{law:>23}" for law in LAWS))
    for kind in dict.fromkeys(kind for kind, _ in tally.tried):
        cells = (f"{tally.tried[kind, law] - broken[kind, law]} of {tally.tried[kind, law]}" for law in LAWS)
        print(f"{kind:<16}" + "".join(f"{cell:>23}" for cell in cells))
    total = tally.tried.total()
    print(f"{total:,} trials, {len(tally.broken):,} broken, {time.perf_counter() - started:.0f} s")
    shown = Counter[tuple[str, str]]()
    for trial in tally.broken:
        shown[trial.kind, trial.law] += 1
        if shown[trial.kind, trial.law] <= chosen.list:
            print(f"  {trial.number} {trial.kind}, {trial.law}: gold {trial.gold!r}, response {trial.response!r}")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
