"""`make study-alarms`: collect what is missing, judge all of it, write the page.

`python -m bench.alarms_study --set` judges the runs that thresholds may be set on, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.alarms_study.collect import collect, place_of, run, seconds_of
from bench.alarms_study.judge import Judged, all_judged, judged, live_alarms
from bench.alarms_study.page import page, rows
from bench.alarms_study.trials import TRIALS
from postlude.runs import read

STUDY = Path("runs/alarms-study")
TARGET = Path("docs/alarms-study.md")
LIVE = ("paid for length", "cut off", "dead critic", "displacement", "grpo, upward", "dpo, largest")
"""Run once more, so that what they raise while they go on is compared with what is found in their events."""


def line(one: Judged) -> str:
    """A run in a line, for whoever sets thresholds."""
    verdict = "" if one.trial.healthy else f"{'caught' if one.in_time else 'MISSED'} {one.caught}/{one.trial.within} "
    return f"{one.trial.name}, seed {one.seed}: {verdict}alarms {one.alarms} hints {one.hints}"


def live() -> str:
    """Whether runs raise themselves what is found in their events afterwards, in a sentence."""
    differs: list[str] = []
    raised = 0
    with tempfile.TemporaryDirectory() as place:
        for trial in (t for t in TRIALS if t.name in LIVE):
            run(Path(place), trial, 0)
            history = read(place_of(Path(place), trial, 0))
            said, offline = live_alarms(history), judged(trial, 0, history).alarms
            raised += len(said)
            differs += [] if said == offline else [f"{trial.name}: live {said}, afterwards {offline}"]
    if differs:
        return f"**Live alarms differ from what is found afterwards**: {'; '.join(differs)}."
    return (
        f"{len(LIVE)} of the runs ({'; '.join(LIVE)}, seed 0) were made once more: the {raised} alarms that they "
        "raised while they went on are those found in their events afterwards, rule by rule and step by step."
    )


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=STUDY, help="where the runs are kept")
    parser.add_argument("--set", action="store_true", help="only judge what thresholds may be set on")
    parser.add_argument("--judge", action="store_true", help="run nothing: judge the runs that are there")
    options = parser.parse_args(words)
    if options.set:
        print(*(line(j) for j in all_judged(options.folder, setting=True)), sep="\n")
        return 0
    failed = [] if options.judge else collect(options.folder)
    everything, blind = list(all_judged(options.folder)), list(all_judged(options.folder, truth=False))
    TARGET.write_text(page(everything, blind, live(), seconds_of(options.folder)))
    TARGET.with_suffix(".json").write_text(json.dumps(rows(everything), indent=0) + "\n")
    print(*failed, TARGET.read_text(), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
