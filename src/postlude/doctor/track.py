"""A run as rules see it: its figures by step up to now, its method and its settings; nothing of clocks or machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, Literal, cast

from postlude.doctor.windows import Change, Window, smoothed
from postlude.errors import ConfigError
from postlude.runs.history import History, numbers
from postlude.shapes import is_number

Kind = Literal["sampled", "judged", "written"]
"""What a run trains on: answers that its policy samples, compared or labelled answers, written ones."""

HIGHEST_RATE = 1.0
"""That a recipe takes (`bounds.Rate`)."""


class Column:
    """A figure so far: its values, and the step that each is of. It grows with the run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[int] = []
        self.values: list[float] = []
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, step: int, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def newest(self) -> float:
        return self.values[-1]

    def first(self, count: int) -> Window:
        """The first so many values, or as many as there are."""
        return Window(self.name, tuple(self.steps[:count]), tuple(self.values[:count]))

    def last(self, count: int) -> Window:
        """The newest so many values, or as many as there are."""
        return Window(self.name, tuple(self.steps[-count:]), tuple(self.values[-count:]))

    def lasting(self, count: int) -> Window | None:
        """The newest so many values; None where there are fewer."""
        return self.last(count) if len(self) >= count else None

    def change(self, start: int, now: int, after: int = 0) -> Change | None:
        """The newest `now` values against the first `start` behind the first `after`; None where they would overlap."""
        if len(self) < after + start + now:
            return None
        steps, values = tuple(self.steps[after : after + start]), tuple(self.values[after : after + start])
        return Change(Window(self.name, steps, values), self.last(now))

    def smoothed(self, over: int) -> float:
        """Exponential moving average over about so many values."""
        return smoothed(self.values[-5 * over :], over)


class Track:
    """The figures of a run up to `step`.

    `track["reward/mean"]` is a `Column`; `figure in track` says whether there is one. Figures of steps and of
    evaluations stand side by side, as in `runs.History`.
    """

    def __init__(self, method: str = "", steps: int = 0, recipe: Mapping[str, Any] | None = None) -> None:
        self.method = method
        self.steps = steps
        """That are planned; 0 where nobody says."""
        self.recipe: Mapping[str, Any] = recipe or {}
        """The resolved recipe; empty where there is none."""
        self.rows = 0
        """Of the file that is trained on; 0 where nobody says."""
        self.step = 0
        """The newest."""
        self.columns: dict[str, Column] = {}

    # ------------------------------------------------------------------------------------------------- figures

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step, or of the evaluation after it."""
        self.step = max(self.step, step)
        for name, value in figures.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = Column(name)
            column.add(step, value)

    def __getitem__(self, name: str) -> Column:
        """Raises KeyError: a rule reads what it says it reads."""
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def get(self, name: str) -> Column:
        """The column of a figure that may not be there: an empty one then."""
        return self.columns.get(name) or Column(name)

    def first_of(self, names: str) -> Column:
        """The first there is of names that `|` parts; an empty one of the first else."""
        listed = names.split("|")
        return next((self.columns[name] for name in listed if name in self.columns), Column(listed[0]))

    def matching(self, pattern: str) -> list[Column]:
        """Those whose names match `truth/*/*/divergence`, in the order in which they came."""
        return [column for name, column in self.columns.items() if fnmatchcase(name, pattern)]

    @property
    def kind(self) -> Kind:
        """By its figures, so that methods of a user's own are known, too."""
        if "samples" in self or "completion_length/mean" in self:
            return "sampled"
        return "judged" if "rewards/accuracy" in self else "written"

    # ------------------------------------------------------------------------------------------------ settings

    def setting(self, key: str) -> Any:
        """What the resolved recipe says of a dotted key; None where it does not."""
        value: Any = self.recipe
        for part in key.split("."):
            if not isinstance(value, Mapping):
                return None
            value = cast("Mapping[str, Any]", value).get(part)
        return value

    def number(self, key: str) -> float | None:
        """A setting that is a number."""
        value = self.setting(key)
        return float(value) if is_number(value) else None

    def times(self, key: str, factor: float, least: float | None = None, usual: float | None = None) -> str | None:
        """`KEY=VALUE` with a setting so many times as large, whole numbers rounded; `usual` stands for one that is not
        known or 0, and None is the answer where there is none either, or where `least` holds already."""
        now = self.setting(key)
        if not is_number(now) or now == 0:
            return None if usual is None else f"{key}={usual:g}"
        changed = now * factor if least is None else max(now * factor, least)
        if key.endswith(".lr"):
            changed = min(changed, HIGHEST_RATE)
        text = str(round(changed)) if isinstance(now, int) else f"{changed:g}"
        return f"{key}={text}" if float(text) != now else None


# ------------------------------------------------------------------------------------------------ of a folder


def track_of(history: History) -> Track:
    """An empty track of a run that was read: its method, planned steps and recipe (none where it is damaged). Figures
    come from `rows_of`."""
    start = history.start or {}
    try:
        recipe = history.recipe
    except ConfigError:
        recipe = dict[str, Any]()
    method = start.get("method", recipe.get("method"))
    track = Track(str(method or ""), history.planned or 0, recipe)
    counts = cast("Mapping[str, Any]", start.get("counts") or {})
    path = str(track.setting("data.path"))  # counts name it as the user did
    rows = next((n for key, n in counts.items() if key.endswith(" used") and path.endswith(key[:-5])), 0)
    track.rows = rows if isinstance(rows, int) else 0
    return track


def rows_of(history: History) -> Iterable[tuple[int, dict[str, float]]]:
    """Step by step, in order: figures of the step with those of the evaluation after it."""
    events = sorted((*history.of("step"), *history.of("eval")), key=lambda row: int(row["step"]))
    for step, rows in groupby(events, key=lambda row: int(row["step"])):
        yield step, dict(pair for row in rows for pair in numbers(row))


def seconds_of(history: History) -> dict[int, dict[str, float]]:
    """Step -> what it took, as `seconds/NAME`, of a run with servers. A run that goes on never sees them: it would not
    have the same alarms again."""
    rows = [row for row in history.timings if "publish" in row and isinstance(row.get("step"), int)]
    return {
        int(row["step"]): {f"seconds/{name}": value for name, value in numbers(row) if name != "total"} for row in rows
    }
