"""One reader for a run's folder: `postlude.runs.read("runs/grpo-1")`. Everything that looks at a run stands on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard, cast

from postlude import plain_json, plain_yaml
from postlude.errors import ConfigError, reason
from postlude.runs.checkpoints import complete
from postlude.runs.events import FRAME, SCHEMA
from postlude.runs.figures import Figure, lookup
from postlude.runs.files import PUBLISHED, Row, regular, rollout_files, rows_before_damage, whole_rows
from postlude.runs.lock import is_held
from postlude.shapes import is_number


@dataclass(frozen=True)
class Column:
    """A figure over a run: its values, and the step that each is of."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter(zip(self.steps, self.values, strict=True))

    @property
    def first(self) -> float:
        return self.values[0]

    @property
    def last(self) -> float:
        return self.values[-1]

    @property
    def figure(self) -> Figure | None:
        """What the table says of it; None of one that a reward logged under a name of its own."""
        return lookup(self.name)


class Rollouts(Mapping[int, "list[Row]"]):
    """Step -> the answers that were sampled in it. A file is read when its step is asked for."""

    def __init__(self, folder: Path) -> None:
        files = rollout_files(folder)
        before = 1 if files and files[0][0] == 0 else 0  # runs of 0.1 counted from 0
        self._paths = {number + before: path for number, path in files}

    def __getitem__(self, step: int) -> list[Row]:
        if step not in self._paths:
            there = f"steps {min(self._paths)} to {max(self._paths)} are there" if self._paths else "there are none"
            raise KeyError(f"no answers of step {step}: {there}")
        return _rows(self._paths[step])[0]

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def all(self) -> list[Row]:
        """The answers of all steps, in order."""
        return [row for step in self for row in self[step]]


def numbers(row: Row) -> Iterator[tuple[str, float]]:
    """The figures of a row of events.jsonl."""
    for name, value in row.items():
        if name not in FRAME and is_number(value):
            yield name, float(value)


@dataclass(frozen=True)
class History:
    """A run as it stood when it was read.

    `history["reward/mean"]` is a `Column`; `history.rollouts[3]` are the answers of step 3, read when asked for.
    """

    folder: Path
    events: tuple[Row, ...]
    """The rows of events.jsonl in order."""
    running: bool
    """Whether a process was writing to it."""
    warnings: tuple[str, ...] = ()
    """What was left out, in sentences."""
    damaged: bool = False
    """Whether events were left out behind one that cannot be read: nothing is known of how the run ended."""

    # ------------------------------------------------------------------------------------------------- figures

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Every figure of steps and evaluations, in the order in which they first came."""
        points: dict[str, list[tuple[int, float]]] = {}
        for row in (*self.of("step"), *self.of("eval")):
            for name, value in numbers(row):
                points.setdefault(name, []).append((int(row["step"]), value))
        return {name: Column(name, *_parted(pairs)) for name, pairs in points.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The figures there are."""
        return tuple(self.columns)

    def __getitem__(self, name: str) -> Column:
        """The column of a figure. Raises KeyError, with the names that come close."""
        if name in self.columns:
            return self.columns[name]
        close = get_close_matches(name, self.columns, 3, 0.6)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "`names` lists those there are."
        raise KeyError(f"the run {str(self.folder)!r} has no figure {name!r}. {hint}")

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    # -------------------------------------------------------------------------------------------------- events

    def of(self, kind: str) -> tuple[Row, ...]:
        """The events of a kind, as they were written."""
        return tuple(row for row in self.events if row["kind"] == kind)

    @property
    def evals(self) -> tuple[Row, ...]:
        return self.of("eval")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted, in words; `of("note")` has steps and codes too."""
        return tuple(str(row["text"]) for row in self.of("note"))

    @property
    def start(self) -> Row | None:
        """How the run began; None before it did."""
        return next(iter(self.of("start")), None)

    @property
    def end(self) -> Row | None:
        """How it ended; None of one that goes on, or was killed."""
        last = self.events[-1] if self.events else None
        return last if last and last["kind"] == "end" else None

    @property
    def steps(self) -> int:
        """Steps finished."""
        return max((int(row["step"]) for row in self.of("step")), default=0)

    @property
    def planned(self) -> int | None:
        """The steps that are planned: by the recipe, which a run that goes on may have changed, else by its start."""
        try:
            steps = self.recipe.get("steps")
        except ConfigError:
            steps = None
        steps = steps if _is_count(steps) else (self.start or {}).get("steps")
        return int(steps) if _is_count(steps) else None

    @property
    def finished(self) -> bool:
        """Whether it came to its end: all steps done, or its goal reached."""
        return self.end is not None and self.end.get("reason") == "done"

    # --------------------------------------------------------------------------------------------- other files

    @cached_property
    def rollouts(self) -> Rollouts:
        return Rollouts(self.folder / "rollouts")

    @cached_property
    def answers(self) -> list[Row]:
        """Held-out answers of all evaluations, each with the step it was measured after."""
        return _rows(self.folder / "eval.jsonl")[0]

    @cached_property
    def sheet(self) -> list[Row]:
        """Answers to the fixed sheet of prompts, each with the step after which it was given."""
        return _rows(self.folder / "sheet.jsonl")[0]

    @cached_property
    def timings(self) -> list[Row]:
        """Seconds of each step: `draw`, `train`, and `total` since the run began; with servers also what it waited for
        answers in all (`wait`), and what `commit` and `publish` took."""
        return _rows(self.folder / "timings.jsonl")[0]

    @cached_property
    def published(self) -> dict[int, int]:
        """Version of the weights -> the step that it is of: those that servers were given, also by parts of the run
        that were made again. Empty of a run that sampled in its own process."""
        rows = _rows(self.folder / PUBLISHED)[0]
        return {int(row["version"]): int(row["step"]) for row in rows}

    @property
    def checkpoints(self) -> list[Path]:
        """Folders of those that are complete, oldest first."""
        return complete(self.folder)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        return _values(self.folder / "config.yaml", lambda path: plain_yaml.load(path.read_text(encoding="utf-8")))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, hashes, engine, chosen settings; empty before the run has begun."""
        return _values(self.folder / "manifest.json", plain_json.read)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _values(path: Path, values_of: Callable[[Path], Any]) -> dict[str, Any]:
    """What a file says by name; nothing where there is none. Raises ConfigError where it is damaged."""
    if not path.exists():
        return {}
    try:
        values: Any = values_of(regular(path))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {reason(error)}. The file is damaged.", code="damaged-run"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds no names with values: the file is damaged, or no run wrote it.", code="damaged-run"
        )
    return cast("dict[str, Any]", values)


def read(folder: str | Path, past_damage: bool = False) -> History:
    """A run from its folder, also while it goes on: whole lines only, and `warnings` says what was left out.
    `past_damage`: of a damaged events.jsonl what stands before the damage, where that is anything.

    Raises ConfigError for a folder that holds no run, a damaged file, or a run of a later postlude.
    """
    place = Path(folder).expanduser()
    if not (place / "events.jsonl").is_file():
        missing = "it has no events.jsonl" if place.is_dir() else _no_folder(place)
        raise ConfigError(
            f"{str(folder)!r} is no run: {missing}. `postlude train` writes its runs to runs/.", code="not-a-run"
        )
    running = is_held(place / "lock")
    try:
        events, warning = _rows(place / "events.jsonl")
        _check(place, events)
    except ConfigError as error:
        events = _sound_events(place / "events.jsonl")
        if not past_damage or not events or error.code != "damaged-run":
            raise
        steps = max(row["step"] for row in events)
        warning = f"{error} What stands before it, up to step {steps}, is looked at; the rest is left out"
        return History(place, tuple(events), running, (warning,), damaged=True)
    after = next((i for i, row in enumerate(events, 1) if row["kind"] == "end"), len(events))
    late = f"events.jsonl: {len(events) - after} lines follow the end of the run" if after < len(events) else None
    return History(place, tuple(events), running, tuple(text for text in (warning, late) if text))


def _rows(path: Path) -> tuple[list[Row], str | None]:
    """The whole rows of a file, and what to say of a torn last line. Raises ConfigError where it is damaged."""
    try:
        rows, rest = whole_rows(path)
    except ValueError as error:
        raise ConfigError(
            f"{error}. The file is damaged; what a run writes has one JSON object in each line.", code="damaged-run"
        ) from None
    if not rest:
        return rows, None
    return rows, f"{path.name}: the last line is not whole and was left out ({rest} bytes)"


def _no_folder(place: Path) -> str:
    return "it is a file, and a run is a folder" if place.exists() else "there is no such folder"


def _sound_events(path: Path) -> list[Row]:
    """The events before the first line that holds none."""
    sound: list[Row] = []
    for row in rows_before_damage(path):
        if not isinstance(row.get("kind"), str) or type(row.get("step")) is not int:
            break
        sound.append(row)
    return sound


def _check(folder: Path, events: Sequence[Row]) -> None:
    """Whether every event can be read here."""
    for number, row in enumerate(events, 1):
        if not isinstance(row.get("kind"), str):
            raise ConfigError(
                f"{folder / 'events.jsonl'} line {number} has no `kind`: it is no event of a run.", code="damaged-run"
            )
        if type(row.get("step")) is not int:
            raise ConfigError(
                f"{folder / 'events.jsonl'} line {number} has step {row.get('step')!r}, which is no number of a step.",
                code="damaged-run",
            )
        schema = row.get("schema", SCHEMA)  # runs of 0.1 did not say
        if not isinstance(schema, int) or schema > SCHEMA:
            raise ConfigError(
                f"{folder / 'events.jsonl'} line {number} has schema {schema!r}; this postlude reads up to {SCHEMA}. "
                "The run was written by a later version: read it with that one.",
                code="later-version",
            )


def _parted(pairs: Sequence[tuple[int, float]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(step for step, _ in pairs), tuple(value for _, value in pairs)
