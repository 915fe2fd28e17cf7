"""A run is a folder of plain files. Everything that is written there is written here.

config.yaml        the resolved recipe            manifest.json     versions, hashes, seed, machine facts
events.jsonl       one line per event             timings.jsonl     wall-clock values, kept apart
rollouts/          every completion, per step     checkpoints/      Hugging Face folders with trainer/ inside
eval.jsonl         held-out answers               model             link to the newest checkpoint
rejected.txt       rows that were skipped, where any were
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postlude import __version__
from postlude.data import Group, completion_to_json
from postlude.errors import ConfigError, RunLocked, TrainingError
from postlude.plain_yaml import dump
from postlude.process import end_child
from postlude.runs.files import complete_checkpoints, is_held, rollout_files

Listener = Callable[[Mapping[str, Any]], None]


@dataclass
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

    # ------------------------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, folder: Path, resume: bool) -> Run:
        """Create the folder, or take it up again; refuses one that another process writes to."""
        # a run that failed before its first step finished does not block its name
        used = (folder / "timings.jsonl").exists() or any(folder.glob("checkpoints/step-*"))
        if resume and not used:
            raise ConfigError(f"--resume: {str(folder)!r} holds no run. Leave --resume out to start one.")
        if used and not resume:
            raise ConfigError(
                f"output: {str(folder)!r} already holds a run. Continue it with --resume, or choose another output."
            )
        try:
            (folder / "rollouts").mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints").mkdir(exist_ok=True)
            lock = (folder / "lock").open("a")
        except OSError as error:
            raise ConfigError(f"output: cannot write to {str(folder)!r}: {error.strerror}.") from error
        run = cls(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunLocked(
                f"{str(folder)!r} is being written to by another process (see {folder / 'lock'})."
            ) from error
        if not used:
            (folder / "events.jsonl").unlink(missing_ok=True)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        run._lock = lock
        return run

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

    def emit(self, kind: str, **fields: Any) -> None:
        """Append an event and tell the listeners. No wall-clock values here: a resumed run repeats it exactly."""
        self._own()
        event = {"kind": kind, "step": self.step, **fields}
        with (self.folder / "events.jsonl").open("a") as out:
            out.write(json.dumps(event, allow_nan=False) + "\n")
        self.tell(event)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tell the listeners only: progress inside a step, for people."""
        for listener in self.listeners:
            listener(event)

    def timing(self, **seconds: float) -> None:
        """Append wall-clock seconds of this step."""
        self._own()
        row = {"step": self.step, **{k: round(v, 4) for k, v in seconds.items()}}
        with (self.folder / "timings.jsonl").open("a") as out:
            out.write(json.dumps(row) + "\n")

    def write_rollouts(
        self, groups: Sequence[Group], trained: Sequence[Group], extra: Mapping[str, Sequence[Any]]
    ) -> None:
        """Every completion that was sampled in this step, and whether it was trained on: numbered like its event."""
        self._own()
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
        self._own()
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

    def write_manifest(
        self, seed: int, data: Mapping[str, str | None], engine: Mapping[str, Any], chosen: Mapping[str, Any]
    ) -> None:
        """What this run was made of: versions, hashes of config and data, seed, engine, settings chosen to fit."""
        import torch
        import transformers

        config = (self.folder / "config.yaml").read_bytes()
        manifest = {
            "postlude": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "platform": platform.platform(),
            "seed": seed,
            "config_sha256": hashlib.sha256(config).hexdigest(),
            "data_sha256": {name: _file_hash(path) for name, path in data.items() if path},
            "engine": dict(engine),
            "chosen": dict(chosen),
        }
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

    def chosen(self) -> dict[str, Any]:
        """Settings that were chosen when the run began, since its recipe left them open."""
        return json.loads((self.folder / "manifest.json").read_text()).get("chosen", {})

    # --------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return complete_checkpoints(self.folder)

    def checkpoint(self, save: Callable[[Path], None], state: Mapping[str, Any], keep: int) -> Path:
        """Save under a temporary name, rename, then delete all but the newest `keep`."""
        self._own()
        final = self.folder / "checkpoints" / f"step-{self.step:06d}"
        if final.exists() and final in self.checkpoints:
            return final
        temporary = final.with_name("." + final.name)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            save(temporary)
            whole = {**state, "step": self.step, "seconds": self.elapsed, "event_bytes": self._event_bytes()}
            (temporary / "trainer" / "state.json").write_text(json.dumps(whole, allow_nan=False))
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        except OSError as error:
            raise TrainingError(f"cannot save a checkpoint to {final}: {error.strerror or error}") from error
        self._point_to(final)
        for old in self.checkpoints[:-keep]:
            shutil.rmtree(old)
        return final

    def _point_to(self, newest: Path) -> None:
        """`model` in the run folder is a link to the newest checkpoint, for every tool that takes a model folder."""
        link, fresh = self.folder / "model", self.folder / ".model"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("checkpoints") / newest.name)
        fresh.replace(link)

    def _event_bytes(self) -> int:
        return (self.folder / "events.jsonl").stat().st_size

    def restore(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest complete checkpoint and its state; rewinds events to it. None where there is none."""
        newest, state = None, {"step": 0, "seconds": 0.0, "event_bytes": 0}
        if self.checkpoints:
            newest = self.checkpoints[-1]
            state = json.loads((newest / "trainer" / "state.json").read_text())
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._rewind(int(state["event_bytes"]))
        for name in ("timings.jsonl", "eval.jsonl"):
            _keep_steps(self.folder / name, self.step if newest else -1)
        _count_from_one(self.folder / "rollouts")
        for number, path in rollout_files(self.folder / "rollouts"):
            if number > self.step:
                path.unlink()
        return (newest, state) if newest else None

    def close(self) -> None:
        """Let others write to the folder."""
        self._lock.close()

    def _own(self) -> None:
        """A forked child ends here instead of writing."""
        if os.getpid() != self._owner:
            end_child(f"something in the run {self.folder}")

    def _rewind(self, size: int) -> None:
        path = self.folder / "events.jsonl"
        if path.exists():
            with path.open("r+b") as out:
                out.truncate(size)


def _count_from_one(folder: Path) -> None:
    """Runs of 0.1 numbered these files from 0, one less than their step: such a folder is renamed, the last first."""
    found = rollout_files(folder)
    if found and found[0][0] == 0:
        for number, path in reversed(found):
            path.rename(folder / f"step-{number + 1:06d}.jsonl")


TAIL = 1 << 16
"""Bytes at the end of events.jsonl that hold its last line."""


def unfinished(path: str | Path) -> str | None:
    """What is to be known of a run that nothing ended as it should; None of one that ended, still goes on, or is none.

    Every run that ends, by an error too, says so last: one that does not was killed, or its process left otherwise.
    """
    folder = Path(path).expanduser()
    events = folder / "events.jsonl"
    if not (events.is_file() and (folder / "checkpoints").is_dir()) or is_held(folder / "lock"):
        return None
    with events.open("rb") as file:
        file.seek(max(events.stat().st_size - TAIL, 0))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    if b'"kind": "end"' in last:
        return None
    return (
        f"{str(folder)!r} was left in the middle of its work: its process was killed, or something in it (a reward, "
        "say) ended it. What came after its newest checkpoint is lost."
    )


def _keep_steps(path: Path, last: int) -> None:
    """Drop the lines of later steps: a resumed run writes them again."""
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = [line for line in file if json.loads(line)["step"] <= last]
        path.write_text("".join(lines))


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


def _file_hash(path: str) -> str | None:
    file = Path(path).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def problems_of_output(path: str) -> list[str]:
    """Why no run can be written there, found before anything is loaded."""
    folder = Path(path).expanduser()
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        (folder / "timings.jsonl").exists()
    except (OSError, ValueError) as error:
        return [f"output: cannot write to {path[:80]!r}: {error.args[-1]}."]
    if not there.is_dir():
        return [f"output: cannot write to {path!r}: {str(there)!r} is a file."]
    if not os.access(there, os.W_OK):
        return [f"output: cannot write to {path!r}: {str(there)!r} may not be written to."]
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return [
            f"output: {path!r} is the folder of a model. A run in it would be taken for that model by its name; give a "
            "folder of its own."
        ]
    return []


def latest_model(path: str) -> str:
    """A run folder's newest checkpoint; any other path is returned as it is."""
    folder = Path(path).expanduser()
    if (folder / "events.jsonl").exists() and (folder / "checkpoints").is_dir():
        found = Run(folder).checkpoints
        if not found:
            raise ConfigError(f"{path!r} is a run without a finished checkpoint.")
        return str(found[-1])
    return path
