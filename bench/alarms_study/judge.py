"""Which alarms the rules raise on runs that were collected: step by step, as they would have been raised live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.alarms_study.collect import is_there, place_of, refusal
from bench.alarms_study.trials import SEEDS, TRIALS, Trial
from postlude.doctor.rules import RULES, examine
from postlude.doctor.track import rows_of, track_of
from postlude.doctor.watching import Watch, noted_as
from postlude.runs import History, read

REFUSED = "refused by the check"
"""Stands for an alarm: of a run that was not begun, since its first answers showed what is wrong."""


@dataclass(frozen=True)
class Judged:
    """A run, and the steps at which its alarms came."""

    trial: Trial
    seed: int
    alarms: dict[str, int]
    """Rule -> finished steps when it was raised."""
    hints: dict[str, int]
    """The same of rules that raise no alarm, and are told to who asks."""
    steps: int
    course: dict[str, tuple[float, float]]
    """First and last value of what says whether it learnt anything."""

    @property
    def may_set(self) -> bool:
        return self.trial.may_set(self.seed)

    @property
    def caught(self) -> int | None:
        """Steps from the beginning of the fault to the first alarm or hint that names it; None where none did. A run
        that is refused before its first update is caught at once."""
        if REFUSED in self.alarms:
            return 0
        named = [step for rule, step in {**self.hints, **self.alarms}.items() if rule in self.trial.caught_by]
        return min((max(step - self.trial.begins, 0) for step in named), default=None)

    @property
    def in_time(self) -> bool:
        return self.caught is not None and self.caught <= self.trial.within

    @property
    def early(self) -> list[str]:
        """Alarms before anything was wrong."""
        return [rule for rule, step in self.alarms.items() if 0 < step <= self.trial.begins]


def judged(trial: Trial, seed: int, history: History, truth: bool = True) -> Judged:
    """What is found after each step of a run, by the very object that watches runs. Without `truth`: as if nothing
    had been measured that is not trained on."""
    watch, noted = Watch(track_of(history)), list[str]()
    alarms, hints = dict[str, int](), dict[str, int]()
    hinting = [rule for rule in RULES.values() if rule.gravity == "hint"]
    for step, figures in rows_of(history):
        watch.add(step, {n: v for n, v in figures.items() if truth or not n.startswith("truth/")})
        if not step:
            continue
        alarms |= {finding.rule: step for finding in watch.alarms(noted)}
        open_ = [rule for rule in hinting if not {noted_as(r) for r in rule.follows} & {*noted}]
        for finding in examine(watch.track, [rule for rule in open_ if rule.name not in hints]):
            hints[finding.rule] = step
    return Judged(trial, seed, alarms, hints, watch.track.step, _course(history))


COURSE = (
    "truth/held_out/right",
    "sampled/accuracy",
    "held_out/loss/policy",
    "held_out/rewards/accuracy",
    "sampled/length",
)


def _course(history: History) -> dict[str, tuple[float, float]]:
    return {name: (history[name].first, history[name].last) for name in COURSE if name in history}


def all_judged(study: Path, setting: bool = False, truth: bool = True) -> Iterator[Judged]:
    """Every run that is there, or those that thresholds may be set on."""
    for trial in TRIALS:
        for seed in SEEDS:
            if is_there(study, trial, seed) and (trial.may_set(seed) or not setting):
                one = judged(trial, seed, read(place_of(study, trial, seed)), truth)
                yield replace(one, alarms={REFUSED: 0}) if refusal(study, trial, seed) else one


def live_alarms(history: History) -> dict[str, int]:
    """The alarms that a run raised itself while it went on."""
    notes = (row for row in history.of("note") if row.get("code") == "alarm")
    return {str(row["data"]["rule"]): int(row["step"]) for row in notes}
