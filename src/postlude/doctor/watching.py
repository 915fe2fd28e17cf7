"""Rules over a run as it goes on, and over one that was: the same look after every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from postlude.doctor.rule import GRAVITIES, Finding, Rule
from postlude.doctor.rules import RULES, examine
from postlude.doctor.track import Track, rows_of, seconds_of, track_of
from postlude.runs.history import History

ALARM = "alarm"
"""Code of the note that a rule makes."""


def noted_as(rule: str) -> str:
    """The name under which a run remembers that the alarm was given."""
    return f"{ALARM}: {rule}"


def said(finding: Finding) -> str:
    """The text of an alarm."""
    return f"{finding.rule}: {finding.text}. {RULES[finding.rule].remedy}"


def data_of(finding: Finding) -> dict[str, object]:
    """The same for programs."""
    return {
        "rule": finding.rule,
        "value": number(finding.value),
        "threshold": number(finding.threshold),
        "steps": list(finding.steps),
        "remedy": list(finding.remedy),
    }


def for_going_on(pairs: Sequence[str]) -> list[str]:
    """Without the settings that only decide which checkpoints stay: they help a run that begins anew."""
    return [pair for pair in pairs if not pair.startswith("checkpoints.")]


def number(value: float) -> float | None:
    """What JSON can hold."""
    return value if math.isfinite(value) else None


Action = Literal["log", "pause", "rollback"]
ACTIONS: tuple[Action, ...] = ("log", "pause", "rollback")


@dataclass(frozen=True)
class Ends:
    """An alarm that ends a run, and how."""

    finding: Finding
    action: Action


class Watch:
    """Looks at a run after each of its steps. Hints are for whoever asks, and no alarm."""

    def __init__(
        self,
        track: Track,
        ignored: Collection[str] = (),
        asked: Collection[str] = (),
        action_of: Callable[[Rule], Action] = lambda rule: "log",
    ) -> None:
        """`ignored` rules are left out; hints among those `asked` for are looked at, too."""
        self.track = track
        self.ends: Ends | None = None
        """The alarm that is to end the run; of several the first one, and what goes back before what pauses."""
        self._action_of = action_of
        self.back_to: int | None = None
        """The step of the checkpoint that the run is to go back to."""
        known = [rule for rule in RULES.values() if rule.name not in ignored]
        self._rules = [rule for rule in known if rule.gravity != "hint" or rule.name in asked]

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step, or of the evaluation after it."""
        self.track.add(step, figures)

    def again(self, history: History) -> None:
        """What a run that goes on had logged before."""
        for step, figures in rows_of(history):
            self.add(step, figures)

    def alarms(self, noted: list[str]) -> list[Finding]:
        """Of rules that are not in `noted` yet and that none in it explains, the worst first; they are added."""
        quiet = [r for r in self._rules if not any(noted_as(name) in noted for name in (r.name, *r.follows))]
        seen = examine(self.track, quiet)
        names = {finding.rule for finding in seen}
        findings = [finding for finding in seen if names.isdisjoint(RULES[finding.rule].follows)]
        noted += [noted_as(finding.rule) for finding in findings]
        asked = [Ends(finding, self._action_of(RULES[finding.rule])) for finding in findings]
        worst = max(asked, key=lambda one: ACTIONS.index(one.action), default=None)
        if self.ends is None and worst is not None and worst.action != "log":
            self.ends = worst
        return findings


# ------------------------------------------------------------------------------------------------ of a folder


@dataclass(frozen=True)
class Seen:
    """What a rule found in a run."""

    first: Finding
    """As it was when the rule first held: what the run's alarm said."""
    now: Finding | None
    """At the run's newest step; None where it holds no more."""
    explained: tuple[str, ...] = ()
    """Rules that found what this one follows from."""

    @property
    def shown(self) -> Finding:
        """The newest there is."""
        return self.now or self.first


@dataclass(frozen=True)
class Diagnosis:
    """Everything that rules say of a run."""

    steps: int
    """So many were looked at."""
    seen: tuple[Seen, ...]
    """The worst first, and of those what came first: it is likely the cause of the others."""
    fine: tuple[str, ...]
    """Rules that saw nothing."""
    unseen: Mapping[str, str]
    """Rules that could not tell -> why not."""


def diagnose(
    history: History, rules: Iterable[Rule] | None = None, people: Mapping[str, float] | None = None
) -> Diagnosis:
    """A whole run, step by step, as it would have been watched, and what no run that goes on reads: the seconds of its
    steps, and at its end the figures of what `people` said of its answers."""
    rules = list(RULES.values() if rules is None else rules)
    track, first, seconds = track_of(history), dict[str, Finding](), seconds_of(history)
    for step, figures in chain(rows_of(history), [(history.steps, people or {})]):
        track.add(step, figures)
        track.add(step, seconds.pop(step, {}))
        if step:
            first |= {f.rule: f for f in examine(track, (rule for rule in rules if rule.name not in first))}
    now = {f.rule: f for f in examine(track, rules)} if track.step else {}
    seen = [
        Seen(finding, now.get(name), tuple(other for other in RULES[name].follows if other in first))
        for name, finding in first.items()
    ]
    seen.sort(key=lambda one: (bool(one.explained), GRAVITIES.index(one.first.gravity), one.first.steps[-1:]))
    quiet = [rule for rule in rules if rule.name not in first and rule.concerns(track)]
    unseen = {rule.name: why for rule in quiet if (why := rule.blind(track)) is not None}
    fine = tuple(rule.name for rule in quiet if rule.name not in unseen)
    return Diagnosis(track.step, tuple(seen), fine, unseen)
