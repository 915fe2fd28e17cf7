"""The best checkpoint of a run, by a held-out figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postlude.runs.figures import PREFIXES, lookup
from postlude.words import closest


@dataclass
class Best:
    """The step whose evaluation was best so far. Part of a checkpoint: a resumed run goes on comparing."""

    name: str | None = None
    """Of the figure; None keeps no best."""
    step: int | None = None
    value: float | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any], name: str | None) -> Best:
        """From a checkpoint; it begins anew where another figure is meant now."""
        before = state.get("best") or {}
        return cls(**before) if before.get("name") == name else cls(name)

    def see(self, step: int, figures: Mapping[str, float]) -> bool:
        """Take an evaluation into account; whether it is better than all before. One before the first step, which no
        checkpoint is of, does not count; of equal ones the first is the best."""
        value = figures.get(self.name) if self.name else None
        if value is None or step == 0 or not math.isfinite(value) or not self._beats(value):
            return False
        self.step, self.value = step, value
        return True

    def _beats(self, value: float) -> bool:
        figure = lookup(self.name or "")
        falls = figure is not None and figure.better == "down"
        return self.value is None or (value < self.value if falls else value > self.value)


def problem_of(name: str, prefixes: tuple[str, ...]) -> tuple[str, str] | None:
    """(code, sentence) where a figure is none to be best by; `prefixes` are those of what is evaluated."""
    figure = lookup(name)
    names = [
        f"{p.name}{n}" for p in PREFIXES if p.name in prefixes for n, f in p.figures.items() if f.better != "neither"
    ]
    near = closest(name, names)
    hint = f" Did you mean {near!r}?" if near else f" There are, for example, {', '.join(sorted(names)[:4])}."
    if not prefixes:
        return "no-effect", "checkpoints.best needs an evaluation: held-out data (data.eval)."
    if not name.startswith(prefixes):
        measured = ", ".join(f"{prefix}..." for prefix in prefixes)
        return "unknown-name", f"checkpoints.best: {name!r} is no figure of this run's evaluations ({measured}).{hint}"
    if figure is None:
        return "unknown-name", f"checkpoints.best: there is no figure {name!r}.{hint}"
    if figure.better == "neither":
        return "contradiction", f"checkpoints.best: {name!r} has no better direction ({figure.meaning}).{hint}"
    return None
