"""The best checkpoint of a run, by a held-out figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postlude.runs.figures import PREFIXES, lookup
from postlude.statistics import of_mean
from postlude.words import closest, counted

Each = Mapping[str, Sequence[float | None]]
"""Figure -> what it is the mean of, an entry per held-out prompt."""


@dataclass
class Best:
    """The step whose evaluation was best so far. Part of a checkpoint: a resumed run goes on comparing."""

    name: str | None = None
    """Of the figure; None keeps no best."""
    step: int | None = None
    value: float | None = None
    each: Sequence[float | None] = ()
    """What the figure was the mean of, prompt by prompt; empty of one whose prompts are not kept."""

    @classmethod
    def of(cls, state: Mapping[str, Any], name: str | None) -> Best:
        """From a checkpoint; it begins anew where another figure is meant now."""
        before = state.get("best") or {}
        return cls(**before) if before.get("name") == name else cls(name)

    def see(self, step: int, figures: Mapping[str, float], each: Each | None = None) -> bool:
        """Take an evaluation into account; whether it is better than all before. One before the first step, which no
        checkpoint is of, does not count; of equal ones the first is the best. `each`: figure -> its prompts."""
        value = figures.get(self.name) if self.name else None
        if value is None or step == 0 or not math.isfinite(value) or not self._beats(value):
            return False
        self.step, self.value = step, value
        self.each = [*(each or {}).get(self.name or "", ())]
        return True

    def against(self, step: int, figures: Mapping[str, float], each: Each) -> str | None:
        """How the best compares with the last evaluation, in words: by how much, and whether that is more than prompts
        differ by chance. None where nothing is the best, or its prompts are not kept."""
        last, value = each.get(self.name or "", ()), figures.get(self.name or "")
        if self.step is None or self.value is None or value is None or not self.each:
            return None
        if step == self.step:
            return f"best by {self.name}: {self.value:.3f} at step {step}, the last"
        said = f"best by {self.name}: {self.value:.3f} at step {self.step}; the last, step {step}, has {value:.3f}"
        if value == self.value:
            return f"{said}, the same"
        pairs = [(b, n) for b, n in zip(self.each, last, strict=False) if b is not None and n is not None]
        low, high = of_mean([b - n for b, n in pairs]) if pairs and len(last) == len(self.each) else (0.0, 0.0)
        prompts = counted(len(pairs), "prompt")
        if not math.isfinite(low) or not low < high:
            return f"{said}; {prompts} cannot say whether that is more than chance"
        beyond = "which may be chance" if low <= 0 <= high else "which is more than chance"
        return f"{said}; the difference lies between {low:.3f} and {high:.3f} (95 %, {prompts}), {beyond}"

    def _beats(self, value: float) -> bool:
        figure = lookup(self.name or "")
        falls = figure is not None and figure.better == "down"
        return self.value is None or (value < self.value if falls else value > self.value)


def problem_of(
    name: str,
    prefixes: tuple[str, ...],
    truths: tuple[str, ...] = (),
    key: str = "checkpoints.best",
    directed: bool = True,
) -> tuple[str, str] | None:
    """(code, sentence) where evaluations give no such figure, or it is none to be best by; `prefixes` are those of what
    is evaluated, `truths` the figures truth/SET/METRIC, `directed` whether one end of it must be better."""
    figure = lookup(name)
    names = [
        f"{p.name}{n}" for p in PREFIXES if p.name in prefixes for n, f in p.figures.items() if f.better != "neither"
    ]
    names = [*truths, *sorted(names)]
    prefixes = (*(f"{one}/" for one in truths), *prefixes)
    near = closest(name, names)
    hint = f" Did you mean {near!r}?" if near else f" There are, for example, {', '.join(names[:4])}."
    if not prefixes:
        return "no-effect", f"{key} needs an evaluation: held-out data (data.eval)."
    if name not in truths and not name.startswith(prefixes):
        measured = ", ".join([*truths, *(f"{prefix}..." for prefix in prefixes if prefix[:-1] not in truths)])
        return "unknown-name", f"{key}: {name!r} is no figure of this run's evaluations ({measured}).{hint}"
    if figure is None:
        return "unknown-name", f"{key}: there is no figure {name!r}.{hint}"
    if directed and figure.better == "neither":
        return "contradiction", f"{key}: {name!r} has no better direction ({figure.meaning}).{hint}"
    return None
