r"""`python -m bench.maths_golds FOLDER ...`: what the maths reward makes of the right answers in files of rows.

For each file: how many right answers cannot be read (`bad`: the check refuses the row), are compared only as text,
part by part as words and values (`mixed`) or as words; how many are equal to themselves, and to other spellings of
them (`spellings`); and how many changed answers (`mutations`) are accepted. `--list` prints what is not as it should
be.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from bench.maths_golds.measure import Measured, measure
from bench.maths_golds.sets import gold_sets

HEAD = (
    f"{'set':<20}{'golds':>7}{'bad':>6}{'text':>6}{'mixed':>7}{'words':>7}{'itself':>9}"
    f"{'spellings':>22}{'changed':>10}{'paid':>6}"
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.maths_golds", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--list", type=int, default=0, metavar="N", help="print up to N of each kind that goes wrong")
    chosen = parser.parse_args(arguments)
    try:
        sets = gold_sets(chosen.paths)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(HEAD)
    measured: list[Measured] = []
    for one in sets:
        measured.append(measure(one))
        print(measured[-1].row, flush=True)
    _by_kind(measured)
    for one in measured if chosen.list else ():
        print(one.examples(chosen.list))
    return 1 if any(m.paid for m in measured) else 0


def _by_kind(measured: list[Measured]) -> None:
    """Spellings that are not always equal, and changes that were paid."""
    tried, lost = Counter[str](), Counter[str]()
    changed, paid = Counter[str](), Counter[str]()
    for one in measured:
        tried.update(one.spelled)
        lost.update(name for name, *_ in one.lost)
        changed.update(one.changed)
        paid.update(name for name, *_ in one.paid)
    print("\nspelling              tried  not equal")
    for name, count in tried.items():
        print(f"{name:<20}{count:>7}{lost[name]:>11}")
    print("\nchange                tried       paid")
    for name, count in changed.items():
        print(f"{name:<20}{count:>7}{paid[name]:>11}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
