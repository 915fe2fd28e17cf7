"""`python -m bench.faults faults|damage|kills|mutations`: see the Makefile. Exit 1 where a trial went wrong."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.faults import damage, faults, kills, mutations, parallel, report, short
from bench.faults.families import FAMILIES, Family
from bench.faults.outcome import Bench
from bench.faults.rehearsal import rehearse
from bench.faults.trial import warm

THREE = ("grpo", "dpo", "ppo, own critic")
"""Families whose every operation is tried."""
TITLES = {
    "kill": "killed in it",
    "power": "power fails in it",
    "full once": "disk full, once",
    "stays full": "disk full from then on",
}
MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: what is tried needs no disk, and is faster without."""
WHOLE = {
    "everything": ("faults", "damage", "mutations"),
    "short": ("families", "sampled faults", "sampled damage", "sampled mutations"),
}
Work = Callable[[Path], Iterator[parallel.Row]]


def main() -> int:
    arguments = _arguments()
    warm()
    rehearse()
    console = Console(width=None if sys.stdout.isatty() else 200)
    root = arguments.place or Path(tempfile.mkdtemp(prefix="postlude-faults-", dir=MEMORY if MEMORY.is_dir() else None))
    wrong = 0
    with kills.judge() as url:
        for name in WHOLE.get(arguments.what, (arguments.what,)):
            tasks = _tasks(name, arguments, url)
            rows = parallel.run(tasks, root / name, arguments.jobs, name)
            if arguments.rows:
                with arguments.rows.open("a") as out:
                    out.writelines(json.dumps({"table": name, **row}) + "\n" for row in rows)
                continue
            lines = report.lines_of(name, rows)
            report.shown(name, lines, console)
            wrong += report.bad(rows, console)
            if name == "mutations":
                wrong += sum(line[1].startswith("0") for line in lines)
            if arguments.write:
                part = f" EVERY={arguments.every}" if arguments.every > 1 else ""
                command = f"make kills N={arguments.trials}" if name == "kills" else f"make faults{part}"
                report.keep(name, lines, command)
    if not arguments.place:
        shutil.rmtree(root)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.faults", description=__doc__)
    parser.add_argument("what", choices=("everything", "faults", "damage", "mutations", "kills", "short"))
    parser.add_argument("--family", action="append", help="only this one; may be given again")
    parser.add_argument("--trials", type=int, default=100, help="of kills, over all families")
    parser.add_argument("--every", type=int, default=1, help="only every so many trials")
    parser.add_argument("--first", type=int, default=0, help="of those, which comes first")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    parser.add_argument("--place", type=Path, help="folder to work in, and to leave")
    parser.add_argument("--rows", type=Path, help="write what became of each trial to this file, and show no tables")
    parser.add_argument("--write", action="store_true", help="into docs/faults.json and docs/reliability.md")
    return parser.parse_args()


def _tasks(name: str, arguments: argparse.Namespace, url: str) -> list[Work]:
    if name == "families":
        ways = zip(FAMILIES.values(), itertools.cycle(short.AT), strict=False)
        return [_killed_twice(family, at, url) for family, at in ways]
    if name == "sampled mutations":
        return [_mutations(FAMILIES[f], url) for f in short.MUTATED]
    if name.startswith("sampled"):
        return [_faults(FAMILIES["grpo"], 113, 7)] if name.endswith("faults") else [_damage(FAMILIES["grpo"], 37, 5)]
    families = arguments.family or (THREE if name in ("faults", "damage") else FAMILIES)
    if name == "kills":
        each = -(-arguments.trials // len(families))
        return [_kills(FAMILIES[f], url, each, f"{arguments.seed}/{f}") for f in families]
    if name == "mutations":
        return [_mutations(FAMILIES[f], url) for f in families if not FAMILIES[f].judged]
    if name == "damage":
        arguments.every |= 1  # four kinds of damage follow each other: an even share would leave out some
    parts = max(1, 6 // arguments.every)
    make = _faults if name == "faults" else _damage
    step = arguments.every * parts
    return [
        make(FAMILIES[f], step, arguments.first + arguments.every * part) for f in families for part in range(parts)
    ]


def _faults(family: Family, every: int, first: int) -> Work:
    def work(place: Path) -> Iterator[parallel.Row]:
        bench = _begun(place, family.shorter())
        for outcome in faults.trials(bench, short.folder_of(place), lambda number: number % every == first % every):
            yield {**asdict(outcome), "what": f"{outcome.part}, {TITLES[outcome.fault]}"}

    return work


def _damage(family: Family, every: int, first: int) -> Work:
    def work(place: Path) -> Iterator[parallel.Row]:
        bench = _begun(place, family.shorter())
        for part, folder in damage.finished_and_half(bench, short.folder_of(place)).items():
            for outcome in damage.trials(bench, folder, part, lambda number: number % every == first % every):
                yield {**asdict(outcome), "what": outcome.fault}

    return work


def _mutations(family: Family, url: str) -> Work:
    def work(place: Path) -> Iterator[parallel.Row]:
        bench = _begun(place, family, url)
        folder = mutations.cut_back(bench, 4, short.folder_of(place))
        for mutation in mutations.mutations(bench, folder, 4):
            yield asdict(mutation)

    return work


def _kills(family: Family, url: str, count: int, seed: str) -> Work:
    def work(place: Path) -> Iterator[parallel.Row]:
        bench = _begun(place, family, url)
        kills.whole_elsewhere(bench)
        chance = random.Random(seed)
        for _ in range(count):
            yield asdict(kills.trial(bench, chance))

    return work


def _killed_twice(family: Family, at: int, url: str) -> Work:
    def work(place: Path) -> Iterator[parallel.Row]:
        yield from short.killed_twice(_begun(place, family, url), at)

    return work


def _begun(place: Path, family: Family, url: str | None = None) -> Bench:
    bench = Bench(place, family, url)
    bench.begin()
    return bench


if __name__ == "__main__":
    sys.exit(main())
