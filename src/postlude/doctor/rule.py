"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from postlude.doctor.track import Column, Kind, Track
from postlude.doctor.windows import Window

Gravity = Literal["grave", "warning", "hint"]
GRAVITIES: tuple[Gravity, ...] = ("grave", "warning", "hint")
"""From the worst on. What is grave makes the steps that follow worth nothing: only that can pause or roll back."""
Shows = Literal["spread", "highest", "longest", "judged"]
"""Which answers of the evidence are shown: the best, a middle and the worst; the best paid; the longest; those that
people judged."""
TOO_FEW = "it needs"
"""What the reason begins with where a rule only wants more of a run."""
EVERY_KIND: tuple[Kind, ...] = ("sampled", "judged", "written")


@dataclass(frozen=True)
class Finding:
    """What a rule saw. `rule` and `gravity` are filled in by `Rule.look`."""

    value: float
    threshold: float
    steps: tuple[int, ...]
    """The evidence: steps that show it, and no others. What was saved before the first of them is still sound."""
    text: str
    """What was seen, in a sentence with its numbers."""
    remedy: tuple[str, ...] = ()
    """`KEY=VALUE` pairs, to be set together. Empty where no setting helps."""
    figure: str = ""
    """Whose values are the evidence."""
    values: tuple[float, ...] = ()
    """Of the figure, at `steps`."""
    rule: str = ""
    gravity: Gravity = "warning"
    command: str = ""
    """What to do instead where no setting helps and a command does: to look at the data, say."""


def seen(evidence: Window, value: float, threshold: float, text: str, *remedy: str | None) -> Finding:
    """A finding with a window as its evidence; what is None of the remedies is left out."""
    pairs = tuple(pair for pair in remedy if pair is not None)
    return Finding(value, threshold, evidence.steps, text, pairs, evidence.name, evidence.values)


@dataclass(frozen=True)
class Rule:
    """A symptom, and the function that finds it in a track's figures: by them, the method and the settings alone, so
    that a run that goes on has the alarms of one that was never stopped. It costs no more than its windows."""

    name: str
    """`kl-explosion`: what `alarms.ignore` and `alarms.on` take."""
    symptom: str
    """In a few words, for lists."""
    reads: tuple[str, ...]
    """Figures that must be there: a name, several of which one is enough (`accuracy|sampled_accuracy`), or a pattern
    (`truth/*/*/divergence`). What is read if it is there is not listed."""
    threshold: str
    """In words, with the numbers."""
    cause: str
    """The likely one, in a sentence."""
    remedy: str
    """What to do, in a sentence."""
    source: str
    """Of the threshold and the cause."""
    check: Callable[[Track], Finding | None]
    """Asked where everything it reads is there."""
    gravity: Gravity = "warning"
    kinds: tuple[Kind, ...] = EVERY_KIND
    """Of runs that it is about."""
    where: Callable[[Track], bool] | None = None
    """Whether a run of these kinds has what it is about (a critic, say); None is always."""
    points: int = 1
    """Values of the first figure it reads that it needs."""
    follows: tuple[str, ...] = ()
    """Rules whose symptom explains this one: it is no alarm beside them, and no finding of its own."""
    shows: Shows = "spread"
    """Answers that let people see it."""
    unseen: str = ""
    """How its figures come to be there, where a run lacks them: `evaluate on held-out prompts (data.eval)`."""

    def concerns(self, track: Track) -> bool:
        """Whether the run is of a kind that can have the symptom."""
        return track.kind in self.kinds and (self.where is None or self.where(track))

    def blind(self, track: Track) -> str | None:
        """Why it cannot tell, if it cannot."""
        for names in self.reads:
            if not any(_columns(name, track) for name in names.split("|")):
                first, *others = names.split("|")
                like = f" or {others[0]}" if len(others) == 1 else " or its like" if others else ""
                return f"there is no {first}{like}" + (f": {self.unseen}" if self.unseen else "")
        first = self.reads[0] if self.reads else ""
        count = max((len(column) for name in first.split("|") for column in _columns(name, track)), default=0)
        return (
            f"{TOO_FEW} {self.points} values of {first.replace('|', ' or ')}, and there are {count}"
            if count < self.points
            else None
        )

    def look(self, track: Track) -> Finding | None:
        """What it finds at the track's newest step; None of a run that it is not about, or that it cannot tell of."""
        if not self.concerns(track) or self.blind(track) is not None:
            return None
        finding = self.check(track)
        return None if finding is None else replace(finding, rule=self.name, gravity=self.gravity)


def _columns(name: str, track: Track) -> list[Column]:
    if "*" in name:
        return track.matching(name)
    return [track[name]] if name in track else []
