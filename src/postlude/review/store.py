"""Verdicts in RUN/review.jsonl: a line for each thing a reviewer does, added at once, none ever changed.

No checkpoint seals the file and no resume cuts it: a run goes on as it would without it. A verdict names its answer by
place and digest, so one on an answer that a resume took back counts no more, and counts again where the same answer
comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

from postlude.errors import ConfigError, RunLocked, TrainingError
from postlude.review.answers import Place
from postlude.review.queue import KINDS, Kind, Queued
from postlude.runs.durable import Disk, flush
from postlude.runs.files import Row, whole_rows
from postlude.runs.lock import acquire

SCHEMA = 1
FILE, LOCK = "review.jsonl", "review.lock"
Verdict = Literal["good", "bad", "skip"]
UNDONE = "undone"
"""In the place of a verdict: the one before it, of this answer in this queue, is taken back."""


@dataclass(frozen=True)
class Judged:
    """What a reviewer said of an answer."""

    place: Place
    verdict: Verdict
    reason: str | None = None
    queue: Kind = "random"
    why: str = ""
    reward: float | None = None
    """As it was then."""
    by: str | None = None
    """The reviewer."""
    window: tuple[int, int | None] = (0, None)
    """The steps that the queue was drawn from; None: to the last."""
    seed: int = 0
    """Of the queue."""
    reward_shown: bool = False
    """Before the verdict: by --show-reward, or since an earlier verdict was taken back."""
    again: bool = False
    """Whether it was given when another queue had shown the answer."""
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return self.verdict == "good"


Verdicts = dict[tuple[Place, Kind], Judged]
"""What stands, the last of each answer in each queue."""


def read(folder: Path) -> Verdicts:
    """The verdicts of a run; none where nobody reviewed it. Raises ConfigError where the file is damaged."""
    path = folder / FILE
    try:
        rows, _ = whole_rows(path)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{error}. The file is damaged; a review has one JSON object in each line.", code="damaged-run"
        ) from None
    standing: Verdicts = {}
    notes: dict[Place, tuple[str, ...]] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path} line {number}"
        place, kind = _place(row, where), _kind(row, where)
        if row.get("note"):
            notes[place] = (*notes.get(place, ()), str(row["note"]))
        if row.get("verdict") == UNDONE:
            standing.pop((place, kind), None)
        elif row.get("verdict") is not None:
            standing[place, kind] = _judged(row, place, kind, where)
    return {key: replace(one, notes=notes.get(key[0], ())) for key, one in standing.items()}


def _place(row: Row, where: str) -> Place:
    step, prompt, index, digest = (row.get(name) for name in ("step", "prompt_id", "index", "digest"))
    if row.get("schema") != SCHEMA:
        raise ConfigError(
            f"{where} has schema {row.get('schema')!r}; this postlude reads {SCHEMA}.", code="later-version"
        )
    if type(step) is not int or type(index) is not int or not isinstance(prompt, str) or not isinstance(digest, str):
        raise ConfigError(
            f"{where} names no answer (step, prompt_id, index, digest): the file is damaged.", code="damaged-run"
        )
    return Place(step, prompt, index, digest)


def _kind(row: Row, where: str) -> Kind:
    kind = row.get("queue")
    if kind not in KINDS:
        raise ConfigError(f"{where}: queue is {kind!r}, and none of {', '.join(KINDS)}.", code="damaged-run")
    return kind


def _judged(row: Row, place: Place, kind: Kind, where: str) -> Judged:
    verdict = row["verdict"]
    if verdict not in get_args(Verdict):
        raise ConfigError(f"{where}: verdict is {verdict!r}, and none of good, bad, skip.", code="damaged-run")
    return Judged(
        place,
        verdict,
        row.get("reason"),
        kind,
        str(row.get("why", "")),
        row.get("reward"),
        row.get("by"),
        _window(row.get("steps"), where),
        reward_shown=row.get("reward_shown") is True,
        again=row.get("again") is True,
    )


def _window(steps: Any, where: str) -> tuple[int, int | None]:
    match steps:
        case [int(first), int() | None as last]:
            return first, last
        case _:
            raise ConfigError(f"{where}: steps is {steps!r}, and no [first, last].", code="damaged-run")


@dataclass
class Reviewer:
    """Who reviews a run now: one at a time. Raises RunLocked where somebody does already."""

    folder: Path
    name: str | None = None
    window: tuple[int, int | None] = (0, None)
    seed: int = 0
    reward_shown: bool = False
    _done: list[Judged] = field(default_factory=list[Judged])
    """The verdicts of this sitting, the last one last."""
    _seen: set[Place] = field(default_factory=set[Place])
    """Answers whose reward the reviewer saw behind a verdict that was taken back."""

    def __enter__(self) -> Reviewer:
        self._lock = _locked(self.folder)
        self._disk = Disk(self.folder, patient=False)
        whole = sum(len(line) for line in _whole_lines(self.folder / FILE))
        self._insist(lambda: self._disk.cut(FILE, whole))
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    @property
    def done(self) -> Sequence[Judged]:
        """What was judged in this sitting, and not undone."""
        return self._done

    def judge(self, queued: Queued, verdict: Verdict, reason: str | None = None) -> Judged:
        """Keep a verdict: it is on the disk when this returns."""
        judged = self._of(queued, verdict, reason)
        self._write(judged, verdict)
        self._done.append(judged)
        return judged

    def repeat(self, queued: Queued, earlier: Judged) -> None:
        """Keep that the random sample holds an answer which another queue had shown before."""
        repeated = self._of(queued, earlier.verdict, earlier.reason)
        self._write(replace(repeated, by=earlier.by, reward_shown=earlier.reward_shown, again=True), earlier.verdict)

    def note(self, queued: Queued, text: str) -> None:
        """Keep a note on an answer, whatever its verdict becomes."""
        self._write(self._of(queued, "skip"), None, text)

    def undo(self) -> Judged | None:
        """Take back the last verdict of this sitting; None where there is none."""
        if not self._done:
            return None
        last = self._done.pop()
        self._write(last, UNDONE)
        self._seen.add(last.place)
        return last

    def _of(self, queued: Queued, verdict: Verdict, reason: str | None = None) -> Judged:
        place = queued.answer.place
        return Judged(
            place,
            verdict,
            reason,
            queued.kind,
            queued.why,
            queued.answer.reward,
            self.name,
            self.window,
            self.seed,
            self.reward_shown or place in self._seen,
        )

    def _write(self, judged: Judged, verdict: str | None, note: str | None = None) -> None:
        row = _row(judged, verdict, note)
        self._insist(lambda: self._disk.append(FILE, json.dumps(row) + "\n"))
        flush(self.folder / FILE)

    def _insist(self, write: Callable[[], None]) -> None:
        try:
            write()
        except TrainingError as error:
            raise TrainingError(
                f"{self.folder / FILE}: the last verdict could not be saved ({error.problems[0].split(': ', 1)[-1]}). "
                "Those before it are.",
                code="cannot-write",
            ) from error


def _row(judged: Judged, verdict: str | None, note: str | None) -> Mapping[str, Any]:
    values = asdict(judged)
    place = judged.place
    for name in ("place", "verdict", "notes", "window"):
        del values[name]
    return {
        "schema": SCHEMA, "step": place.step, "prompt_id": place.prompt, "index": place.index, "digest": place.digest,
        "verdict": verdict, "note": note, "steps": [*judged.window], **values,
    }  # fmt: skip


def _locked(folder: Path) -> IO[str]:
    try:
        return acquire(folder, LOCK)
    except RunLocked as error:
        raise RunLocked(
            f"somebody is reviewing {str(folder)!r} already (see {folder / LOCK}): two would judge the same answers.",
            code="run-locked",
        ) from error


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end: one that was torn by a power failure is no verdict."""
    return (
        [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.is_file() else []
    )
