"""A run is a folder of plain files. Everything that is written there is written here.

config.yaml        the resolved recipe            manifest.json     versions, hashes, seed, machine facts
events.jsonl       one line per event             timings.jsonl     wall-clock values, kept apart
rollouts/          every completion, per step     checkpoints/      Hugging Face folders with trainer/ inside
eval.jsonl         held-out answers               model             link to the newest checkpoint
live.json          how the run stands now         control.json      what another process asks of it
rejected.txt       rows that were skipped, where any were
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from postlude.data import Group, completion_to_json
from postlude.errors import ConfigError, Problem
from postlude.plain_yaml import dump
from postlude.process import end_child
from postlude.runs import checkpoints
from postlude.runs.events import Checkpoint, Event, Note, Phase, Said, Stopping
from postlude.runs.history import History, read
from postlude.runs.live import CONTROL, Pulse, take
from postlude.runs.lock import acquire

Listener = Callable[[Event], None]


@dataclass(repr=False)
class Run:
    """An open run folder: writes events, rollouts and checkpoints, and knows where it stands."""

    folder: Path
    step: int = 0
    """Steps finished."""
    seconds: float = 0.0
    """Time spent in earlier parts of a resumed run."""
    listeners: list[Listener] = field(default_factory=list[Listener])
    stop: bool = False
    """Set by Ctrl-C: finish the step, save, end."""
    made_of: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What stands in every checkpoint's manifest beside its files: inputs, versions, threads, device."""
    needs: frozenset[str] = frozenset()
    """What the method needs: `scores` where it trains a reward model."""
    conclusion: str | None = None
    """What must be said at the end of a run that taught the policy nothing, or moved no weight."""
    failed: bool = False
    """Whether that is an error: the run was no short trial."""
    training: bool = False
    """Weights are being updated; what samples beside that keeps quiet."""
    _started: float = field(default_factory=time.monotonic)
    _lock: Any = None
    """The open lock file, held until `close` or the end of the process."""
    _owner: int = field(default_factory=os.getpid)
    """The process that writes here."""

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, step {self.step})"

    # ------------------------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, folder: Path, resume: bool) -> Run:
        """Create the folder, or take it up again; refuses one that another process writes to."""
        # a run that failed before its first step finished does not block its name
        used = (folder / "timings.jsonl").exists() or any(folder.glob("checkpoints/step-*"))
        if resume and not used:
            raise ConfigError(
                f"--resume: {str(folder)!r} holds no run. Leave --resume out to start one.", code="not-a-run"
            )
        if used and not resume:
            raise ConfigError(
                f"output: {str(folder)!r} already holds a run. Continue it with --resume, or choose another output.",
                code="exists-already",
            )
        try:
            (folder / "rollouts").mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints").mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"output: cannot write to {str(folder)!r}: {error.strerror}.", code="cannot-write"
            ) from error
        lock = acquire(folder)
        if not used:
            (folder / "events.jsonl").unlink(missing_ok=True)
        (folder / CONTROL).unlink(missing_ok=True)
        return cls(folder, listeners=[Pulse(folder)], _lock=lock)

    @staticmethod
    def fresh_folder(method: str, root: Path = Path("runs")) -> Path:
        """runs/METHOD-N with the first free N."""
        n = 1
        while (root / f"{method}-{n}").exists():
            n += 1
        return root / f"{method}-{n}"

    # ------------------------------------------------------------------------------------------- writing

    @property
    def elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._started

    def emit(self, event: Event) -> None:
        """Append an event and tell the listeners. No wall-clock values here: a resumed run repeats it exactly."""
        self._require_own_process()
        with (self.folder / "events.jsonl").open("a") as out:
            out.write(json.dumps(event.row(), allow_nan=False) + "\n")
        self.tell(event)

    def note(self, text: str, code: str = "note", **data: Any) -> None:
        """Emit what a user should hear of."""
        self.emit(Note(self.step, text, code, data))

    def tell(self, event: Event) -> None:
        """Tell the listeners only: what is no part of the run, for people."""
        for listener in self.listeners:
            listener(event)

    def say(self, text: str) -> None:
        """Tell the listeners a line that is no part of the run."""
        self.tell(Said(self.step, text))

    def phase(self, name: str) -> None:
        """Tell the listeners what is being done now."""
        self.tell(Phase(self.step, name))

    def obey(self) -> bool:
        """Do what another process asked for in control.json; whether a checkpoint is to be saved now."""
        asked, misread = take(self.folder)
        if misread:
            self.say(misread)
        if "stop" in asked and not self.stop:
            self.stop = True
            self.tell(Stopping(self.step))
        return "checkpoint" in asked

    def timing(self, **seconds: float) -> None:
        """Append wall-clock seconds of this step."""
        self._require_own_process()
        row = {"step": self.step, **{k: round(v, 4) for k, v in seconds.items()}}
        with (self.folder / "timings.jsonl").open("a") as out:
            out.write(json.dumps(row) + "\n")

    def write_rollouts(
        self, groups: Sequence[Group], trained: Sequence[Group], extra: Mapping[str, Sequence[Any]]
    ) -> None:
        """Every completion that was sampled in this step, and whether it was trained on: numbered like its event."""
        self._require_own_process()
        chosen = {id(c) for g in trained for c in g.completions}
        known = {id(c) for g in groups for c in g.completions}
        carried = [g for g in trained if any(id(c) not in known for c in g.completions)]
        index = 0
        with (self.folder / "rollouts" / f"step-{self.step + 1:06d}.jsonl").open("w") as out:
            for group in [*groups, *carried]:
                for completion in group.completions:
                    used = id(completion) in chosen and completion.reward is not None
                    row = _rollout_row(group, completion, used)
                    row |= {k: v[index] for k, v in extra.items() if index < len(v)}
                    out.write(json.dumps(row, default=str) + "\n")
                    index += 1

    def write_answers(self, groups: Sequence[Group]) -> None:
        """Held-out answers of one evaluation, appended to eval.jsonl."""
        self._require_own_process()
        with (self.folder / "eval.jsonl").open("a") as out:
            for group in groups:
                for completion in group.completions:
                    row = _rollout_row(group, completion, trained=False)
                    for name in ("trained", "tokens", "logprobs"):
                        del row[name]
                    out.write(json.dumps({"step": self.step, **row}, default=str) + "\n")

    def write_config(self, resolved: Mapping[str, Any], rejected: Sequence[str]) -> None:
        """The resolved recipe, and the rows that were skipped."""
        text = "# The resolved recipe: `postlude train` of this file repeats the run.\n"
        (self.folder / "config.yaml").write_text(text + dump(dict(resolved)))
        if rejected:
            (self.folder / "rejected.txt").write_text("".join(line + "\n" for line in rejected))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """What this run was made of: inputs, settings, versions, engine, settings chosen to fit."""
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

    def write_list(self, name: str, text: str) -> None:
        """A list of rows, under its path in the run folder."""
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def manifest(self) -> dict[str, Any]:
        """What `write_manifest` wrote as the run began; empty of one that was killed before, or where it is damaged."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return cast(dict[str, Any], manifest) if isinstance(manifest, dict) else {}

    # --------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return checkpoints.complete(self.folder)

    async def checkpoint(
        self, save: Callable[[Path], Awaitable[None]], state: Mapping[str, Any], keep: int, planned: bool = True
    ) -> None:
        """Save this step's state, and delete all but the newest `keep`; nothing where it was saved already.

        The event of a `planned` one comes first, so that a resumed run goes on behind it. That of one which only an
        interruption brings about comes after: a resumed run takes it back.
        """
        self._require_own_process()
        name = checkpoints.name_of(self.step)
        place = self.folder / "checkpoints" / name
        if place in checkpoints.complete(self.folder):
            return
        self.phase("save")
        if planned:
            self.emit(Checkpoint(self.step, name))
        size = (self.folder / "events.jsonl").stat().st_size
        whole = {**state, "step": self.step, "seconds": self.elapsed, "event_bytes": size}
        await checkpoints.write(place, save, whole)
        checkpoints.keep_newest(self.folder, keep)
        if not planned:
            self.emit(Checkpoint(self.step, name))

    def restore(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest complete checkpoint and its state; rewinds events to it. None where there is none."""
        there = checkpoints.complete(self.folder)
        state = checkpoints.state_of(there[-1]) if there else {"step": 0, "seconds": 0.0, "event_bytes": 0}
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        checkpoints.rewind(self.folder, self.step, int(state["event_bytes"]), any_kept=bool(there))
        return (there[-1], state) if there else None

    @property
    def model(self) -> Path:
        """The newest checkpoint, as a model folder for any tool."""
        return self.folder / "model"

    def history(self) -> History:
        """What was written so far, to look at."""
        return read(self.folder)

    def close(self) -> None:
        """Let others write to the folder."""
        self._lock.close()

    def _require_own_process(self) -> None:
        """A forked child ends here instead of writing."""
        if os.getpid() != self._owner:
            end_child(f"something in the run {self.folder}")


def _rollout_row(group: Group, completion: Any, trained: bool) -> dict[str, Any]:
    row = completion_to_json(completion)
    return {
        "prompt_id": group.prompt.id,
        "prompt": group.prompt.messages,
        "answer": group.prompt.answer,
        "completion": row.pop("text"),
        "reward": row.pop("reward"),
        "scores": row.pop("scores"),
        "correct": row.pop("correct"),
        "trained": trained,
        "stop": row.pop("stop"),
        "policy_version": row.pop("policy_version"),
        "tokens": row.pop("tokens"),
        **({"steps": row["steps"], "whole": row["whole"]} if row["steps"] else {}),
        "logprobs": None if row["logprobs"] is None else [round(x, 5) for x in row["logprobs"]],
    }


def problems_of_output(path: str) -> list[Problem]:
    """Why no run can be written there, found before anything is loaded."""
    folder = Path(path).expanduser()
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        (folder / "timings.jsonl").exists()
    except (OSError, ValueError) as error:
        return [Problem("cannot-write", f"output: cannot write to {path[:80]!r}: {error.args[-1]}.")]
    if not there.is_dir():
        return [Problem("cannot-write", f"output: cannot write to {path!r}: {str(there)!r} is a file.")]
    if not os.access(there, os.W_OK):
        return [Problem("cannot-write", f"output: cannot write to {path!r}: {str(there)!r} may not be written to.")]
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return [
            Problem(
                "cannot-write",
                f"output: {path!r} is the folder of a model. A run in it would be taken for that model by its name; "
                "give a folder of its own.",
            )
        ]
    return []
