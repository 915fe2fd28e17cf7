"""`python -m bench.scale_faults`: every trial, and a table of what became of them. Exit 1 where one went wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.faults.trial import warm
from bench.scale_faults.table import Trial, short, trials
from bench.scale_faults.trial import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.scale_faults", description=__doc__)
    parser.add_argument("--only", default="", help="trials whose name holds this")
    parser.add_argument("--short", action="store_true", help="the few runs with several faults each")
    parser.add_argument("--every", type=int, default=1, help="only every so many")
    arguments = parser.parse_args()
    warm()
    every = short() if arguments.short else [(one,) for one in trials()]
    chosen = [one for one in every if arguments.only in named(one)][:: arguments.every]
    counts: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        for one in chosen:
            outcome = world.tried(*one)
            counts[outcome.kind] += 1
            wrong += not outcome.right
            mark = " " if outcome.right else "!"
            unasked = "" if outcome.asked else " (the fault never came to pass)"
            line = outcome.text if not outcome.right else outcome.text.partition("\n")[0][:160]
            print(f"{mark} {named(one):50} {outcome.kind:10} {outcome.seconds:5.1f} s{unasked} {line}", flush=True)
    print(f"{len(chosen)} faults: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return 1 if wrong else 0


def named(trial: Trial) -> str:
    return " + ".join(one.name for one in trial)


if __name__ == "__main__":
    sys.exit(main())
