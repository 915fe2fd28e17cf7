"""`python -m bench.hostile DIR`: a table of what every program did and was rewarded with. Exit 1 if any was wrong.

The grading runs in a process of its own (`relsupervisor`), so that a program that kills it is found out.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.hostile.rate import rate
from bench.hostile.trial import Trial, source_of, tests_of, try_program
from bench.hostile.world import world
from postlude.errors import PostludeError
from postlude.sandbox.backends import Chosen, choose
from postlude.sandbox.settings import Limits


def main() -> int:
    arguments = _arguments()
    limits = Limits(seconds=arguments.seconds, scratch=64 if arguments.profile == "files" else 0)
    try:
        chosen = choose(arguments.sandbox, limits)
    except PostludeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if not chosen.backend.locked:
        print("These programs do harm: they run only in a sandbox.", file=sys.stderr)
        return 2
    try:
        index = json.loads((arguments.folder / "index.json").read_text())
    except (OSError, ValueError) as error:
        print(f"{arguments.folder}: no programs with an index.json here ({error})", file=sys.stderr)
        return 2
    if arguments.supervised:
        _supervised(arguments, chosen, limits, index)
        return 0
    print(chosen.line)
    wrong = _table(index, _trials(index))
    if arguments.rate:
        rate(chosen.backend)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.hostile", description=__doc__)
    parser.add_argument("folder", type=Path, help="programs with an index.json")
    parser.add_argument("--sandbox", default="auto", help="auto, namespaces, landlock or bubblewrap")
    parser.add_argument("--profile", choices=("strict", "files"), default="strict")
    parser.add_argument("--seconds", type=float, default=2.0, help="limit of one run")
    parser.add_argument("--no-rate", dest="rate", action="store_false", help="leave out the runs a second")
    parser.add_argument("--supervised", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _supervised(arguments: argparse.Namespace, chosen: Chosen, limits: Limits, index: dict[str, Any]) -> None:
    """Try the programs of these ids, a line of JSON each."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what outlives its worker comes to us
    wanted = set(arguments.supervised)
    with world() as surroundings:
        for entry in index["programs"]:
            if entry["id"] in wanted:
                source = source_of(arguments.folder, entry)
                trial = try_program(source, surroundings, chosen.backend, limits, tests_of(index, entry))
                print(json.dumps([entry["id"], asdict(trial)]), flush=True)


def _trials(index: dict[str, Any]) -> dict[str, Trial]:
    """What became of each; where the supervisor dies, that was the program it was at."""
    left = [entry["id"] for entry in index["programs"]]
    done: dict[str, Trial] = {}
    while left:
        command = [sys.executable, "-m", "bench.hostile", *sys.argv[1:], "--supervised", *left, "relsupervisor"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
            assert supervisor.stdout
            for line in supervisor.stdout:
                name, trial = json.loads(line)
                done[name] = Trial(**trial)
        left = [name for name in left if name not in done]
        if left:
            done[left[0]] = Trial("?", (), 0.0, (f"the supervisor died ({supervisor.returncode})",))
            left = left[1:]
    return done


def _table(index: dict[str, Any], done: dict[str, Trial]) -> int:
    """Print the table; returns how many programs did harm or got a wrong reward."""
    print(f"\n{'program':<24}{'verdict':<10}{'reward':<10}{'wanted':<8}{'s':>5}  harms")
    harmful = wrong = 0
    for entry in index["programs"]:
        trial, wanted = done[entry["id"]], str(entry.get("expected_reward", "0_or_1"))
        right = _fits(wanted, trial.rewards)
        rewards = "/".join("none" if r is None else f"{r:g}" for r in trial.rewards)
        told = "; ".join(trial.harms) or "-"
        mark = "" if right else f"  WRONG REWARD ({trial.detail})"
        print(f"{entry['id']:<24}{trial.verdict:<10}{rewards:<10}{wanted:<8}{trial.seconds:>5.1f}  {told}{mark}")
        harmful += bool(trial.harms)
        wrong += not right
    print(f"\n{len(done)} programs: {harmful} did harm, {wrong} got a wrong reward")
    return harmful + wrong


def _fits(wanted: str, rewards: Sequence[float | None]) -> bool:
    """Whether every grading gave the wanted reward; an abstention is never right."""
    allowed = {"0": {0.0}, "1": {1.0}}.get(wanted, {0.0, 1.0})
    return bool(rewards) and all(r in allowed for r in rewards)


if __name__ == "__main__":
    sys.exit(main())
