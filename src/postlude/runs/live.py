"""Watching and steering a run from another process: live.json says how it stands, control.json what is asked of it.

Both are replaced as a whole, so that nobody reads half of one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from postlude import plain_json
from postlude.errors import ConfigError
from postlude.runs.durable import replace
from postlude.runs.events import Alive, End, Event, Opened, Phase, Progress, Said, Step, Waiting
from postlude.runs.files import regular
from postlude.runs.lock import is_held

LIVE, CONTROL = "live.json", "control.json"
EVERY = 1.0
"""Seconds between writes of live.json, unless the phase changes."""
STALE = 60.0
"""Seconds without a heartbeat after which a run counts as silent."""


@dataclass(frozen=True)
class Live:
    """How a run stands."""

    phase: str = "load"
    """compare, load, servers (which start), sample, score, train, publish (to servers), evaluate, save; then done,
    interrupted or error."""
    step: int = 0
    steps: int | None = None
    done: int | None = None
    """Of the phase under way: answers or tokens so far, out of `total`."""
    total: int | None = None
    pid: int = 0
    waiting: str | None = None
    """Who is waited for, where that has lasted some seconds."""
    error: str | None = None
    """What the error said that ended it, with its code."""
    heartbeat: float = 0.0
    """Unix time at which the run last said anything. That it waits is nothing it does, unless the wait has a limit."""
    running: bool = False
    """Whether its process holds the run's lock; known to whoever reads, not written."""

    @property
    def silent(self) -> bool:
        """Whether a running run has said nothing for a minute: it loads something large, or hangs."""
        return self.running and time.time() - self.heartbeat > STALE


class Pulse:
    """A listener that keeps live.json up to date."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._file, self._tell = folder / LIVE, tell
        self._state: dict[str, Any] = asdict(Live(pid=os.getpid()))
        del self._state["running"]
        self._written = 0.0
        self._failed = False
        """Whether the last write did: that is said once."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Waiting):
            self._state["waiting"] = event.text
            self._write()
        if isinstance(event, Alive):
            self._written = self._state["heartbeat"] = time.time()
            self._write()
        if isinstance(event, Alive | Waiting | Said):  # that it waits is no sign of life
            return
        before = self._state["phase"]
        self._state |= {"step": event.step, "waiting": None}
        if isinstance(event, Opened):
            self._state["steps"] = event.start.steps
        elif isinstance(event, Phase):
            self._state |= {"phase": event.phase, "done": None, "total": None}
            self._state["steps"] = event.steps or self._state["steps"]
        elif isinstance(event, Progress):
            self._state |= {"done": event.done, "total": event.total}
        elif isinstance(event, End):
            self._state |= {"phase": event.reason, "done": None, "total": None, "error": said_of(event)}
        if self._state["phase"] != before or isinstance(event, Step) or time.time() - self._written > EVERY:
            self._written = self._state["heartbeat"] = time.time()
            self._write()

    def _write(self) -> None:
        try:
            replace(self._file, json.dumps(self._state) + "\n", flushed=False)
        except OSError as error:  # the run matters more
            if not self._failed:
                self._failed = True
                self._tell(f"{LIVE} cannot be written ({error.strerror}): it does not say how the run stands")
        else:
            self._failed = False


def said_of(end: End) -> str | None:
    """The error that an end tells of."""
    return None if end.text is None else f"{end.text} [{end.code}]"


def status(folder: str | Path) -> Live:
    """How the run in a folder stands. Raises ConfigError where there is none."""
    place = Path(folder).expanduser()
    try:
        known: Any = plain_json.read(regular(place / LIVE))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{str(folder)!r} holds no run that says how it stands (it has no {LIVE}).", code="not-a-run"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {place / LIVE}: {error.strerror}.", code="cannot-read") from error
    except ValueError as error:
        raise ConfigError(
            f"{place / LIVE} is damaged: {error}. A run that is at work writes it anew.", code="damaged-run"
        ) from error
    if not _is_live(known):
        raise ConfigError(
            f"{place / LIVE} is damaged: it does not say phase, step, pid and heartbeat. A run that is at work writes "
            "it anew.",
            code="damaged-run",
        )
    names = set(Live.__dataclass_fields__)
    return Live(**{k: v for k, v in known.items() if k in names}, running=is_held(place / "lock"))


def _is_live(known: Any) -> bool:
    """Whether that is what a run wrote."""
    if not isinstance(known, dict):
        return False
    state = cast(dict[str, Any], known)
    kinds = {"phase": str, "step": int, "pid": int, "heartbeat": float | int}
    optional = {
        "steps": int | None,
        "done": int | None,
        "total": int | None,
        "waiting": str | None,
        "error": str | None,
    }
    return all(isinstance(state.get(k), kind) for k, kind in {**kinds, **optional}.items())


def stop(folder: str | Path) -> None:
    """Ask the run in a folder to finish its step, save and end, as Ctrl-C does. Raises ConfigError where none runs."""
    _ask(Path(folder).expanduser(), "stop")


def checkpoint(folder: str | Path) -> None:
    """Ask the run in a folder to save a checkpoint after this step. Raises ConfigError where none runs."""
    _ask(Path(folder).expanduser(), "checkpoint")


def _ask(folder: Path, what: str) -> None:
    if not status(folder).running:
        raise ConfigError(
            f"no process is at work on the run {str(folder)!r}: there is nothing to {what}.", code="not-running"
        )
    try:
        replace(folder / CONTROL, json.dumps(_asked(folder / CONTROL) | {what: True}) + "\n", flushed=False)
    except OSError as error:
        raise ConfigError(f"cannot write {folder / CONTROL}: {error.strerror}.", code="cannot-write") from error


def _asked(file: Path) -> dict[str, Any]:
    try:
        wanted = plain_json.read(regular(file))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], wanted) if isinstance(wanted, dict) else {}


def asks_to_stop(folder: Path) -> bool:
    """Whether that is asked for now; it stays there to be taken."""
    return (folder / CONTROL).is_file() and _asked(folder / CONTROL).get("stop") is True


def take(folder: Path) -> tuple[set[str], str | None]:
    """(what was asked, a sentence about what was not understood): read by the run after each step, and removed."""
    ours = folder / f".{CONTROL}.taken"
    try:
        (folder / CONTROL).replace(ours)  # first, so that what is asked from now on is not removed unread
    except FileNotFoundError:
        return set(), None
    except OSError as error:
        return set(), f"{CONTROL} cannot be taken ({error.strerror}), and is not obeyed"
    wanted = _asked(ours)
    with suppress(OSError):  # the next one takes its place
        ours.unlink()
    known = {name for name in ("stop", "checkpoint") if wanted.get(name) is True}
    if known:
        return known, None
    return known, f'{CONTROL} was not understood and is removed: it may say {{"stop": true}} or {{"checkpoint": true}}'
