"""A run is a folder of plain files. Everything that is written there is written here.

config.yaml        the resolved recipe            manifest.json     versions, hashes, seed, machine facts
events.jsonl       one line per event             timings.jsonl     wall-clock values, kept apart
rollouts/          every completion, per step     checkpoints/      Hugging Face folders with trainer/ inside
eval.jsonl         held-out answers               model             link to the newest checkpoint
sheet.jsonl        answers to the fixed sheet     rejected.txt      rows that were skipped, where any were
live.json          how the run stands now         control.json      what another process asks of it
inputs/            a hash of every row
broken/            batches whose update was left out, and why, where there were any
published.jsonl    of a run with servers: the step that each version of its weights is of (engines/servers/ledger)
served/ servers/   of the same: its newest versions as servers read them; what servers said, a log for each start
review.jsonl and suites/ are of `postlude review` and `eval`, which write them; no checkpoint seals them.
taken-back/        what came after the checkpoint that an alarm took the run back to

Lines are appended and files replaced through `durable.Disk`; what a checkpoint must fit is in `sealed`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from postlude.data import Group
from postlude.errors import ConfigError, PostludeError, visible
from postlude.plain_yaml import dump
from postlude.process import end_child
from postlude.runs import checkpoints, taken_back
from postlude.runs.checkpoints import Choice
from postlude.runs.durable import Disk, clear_left, problems_of_files
from postlude.runs.events import Checkpoint, End, Event, Note, Phase, Said, Stopping, Timed
from postlude.runs.files import SERVED, SUMS, broken_files
from postlude.runs.history import History, read
from postlude.runs.layout import BROKEN, GROWING, LISTS, inner, is_used
from postlude.runs.live import CONTROL, Pulse, asks_to_stop, take
from postlude.runs.lock import acquire
from postlude.runs.rows import answer_rows, rollout_rows
from postlude.runs.saving import Save, Saves
from postlude.runs.sealed import APPENDED, PLACE, RUN_MANIFEST, read_signed_json, signed, signed_json

Listener = Callable[[Event], None]
MOST_BROKEN = 5
"""Steps of a run whose batches are kept."""


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
    """Set by a signal (Ctrl-C, SIGTERM) or by control.json: finish the step, save, end."""
    signal: int | None = None
    """The one that asked for it."""
    made_of: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What stands in every checkpoint's manifest beside its files: inputs, versions, threads, device."""
    steps: int | None = None
    """How many it will have."""
    needs: frozenset[str] = frozenset()
    """What the method needs: `scores` where it trains a reward model."""
    conclusion: str | None = None
    """What must be said at the end of a run that taught the policy nothing, or moved no weight."""
    failed: bool = False
    """Whether that is an error: the run was no short trial."""
    halted: str | None = None
    """What an alarm says that ended the run, and how to go on."""
    training: bool = False
    """Weights are being updated; what samples beside that keeps quiet."""
    _started: float = field(default_factory=time.monotonic)
    _lock: Any = None
    """The open lock file, held until `close` or the end of the process."""
    _owner: int = field(default_factory=os.getpid)
    """The process that writes here."""
    _choice: Choice = field(default_factory=Choice)
    """What `restore` took up."""
    _at_work: bool = False
    """Whether the folder is in the state in which this process goes on: events may follow."""
    _fresh: bool = False
    """Whether the folder was made for this run, which has not begun."""
    _broken: int = 0
    """The step whose first batch that was left out is kept."""

    _timed: tuple[int, Mapping[str, float]] = (0, MappingProxyType({}))
    """Bytes of timings.jsonl before its last row, and that row."""

    def __post_init__(self) -> None:
        self._disk = Disk(self.folder, self.say)
        self._saves = Saves(self.folder, self.say)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, step {self.step})"

    # ------------------------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, folder: Path, resume: bool) -> Run:
        """Create the folder, or take it up again; refuses one that another process writes to."""
        # a run that failed before its first step finished does not block its name
        used = is_used(folder)
        if resume and not used and not (folder / "events.jsonl").exists():
            raise ConfigError(
                f"--resume: {str(folder)!r} holds no run. Leave --resume out to start one.", code="not-a-run"
            )
        if used and not resume:
            raise ConfigError(
                f"output: {str(folder)!r} already holds a run. Continue it with --resume, or choose another output.",
                code="exists-already",
            )
        fresh = not folder.exists()
        caches = [path.name for path in folder.glob("*.sqlite*")]
        problems = problems_of_files(folder, [*GROWING, *caches, *inner(folder)])
        if problems := problems + checkpoints.problems_of_foreign(folder):
            raise ConfigError(problems)
        try:
            (folder / "rollouts").mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints").mkdir(exist_ok=True)
            (folder / LISTS).mkdir(exist_ok=True)
            lock = acquire(folder)
            clear_left(folder)
            clear_left(folder / "rollouts")
            clear_left(folder / LISTS)
            checkpoints.clear_hidden(folder)
            (folder / CONTROL).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"output: cannot write to {str(folder)!r}: {error.strerror}.", code="cannot-write"
            ) from error
        run = cls(folder, _lock=lock, _fresh=fresh)
        run.listeners.append(Pulse(folder, run.say))
        unfinished = taken_back.asked(folder)
        if unfinished is not None:
            taken_back.finish(run._disk, unfinished)
        if not resume:
            run.rewind()
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

    def emit(self, event: Event) -> None:
        """Append an event and tell the listeners. No wall-clock values here: a resumed run repeats it exactly."""
        self._require_own_process()
        self._disk.append("events.jsonl", _line_of(event))
        self.tell(event)

    def begin(self, event: Event) -> None:
        """`emit` of the first event: events.jsonl then holds nothing else."""
        self._require_own_process()
        self._fresh = False
        self._disk.replace("events.jsonl", _line_of(event))
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
        self.tell(Phase(self.step, name, self.steps))

    def obey(self) -> bool:
        """Do what another process asked for in control.json; whether a checkpoint is to be saved now."""
        asked, misread = take(self.folder)
        if misread:
            self.say(misread)
        if "stop" in asked and not self.stop:
            self.stop = True
            self.tell(Stopping(self.step))
        return "checkpoint" in asked

    def is_to_stop(self) -> bool:
        """Whether it was asked to end, by a signal or in control.json: for who waits between steps."""
        self.stop = self.stop or asks_to_stop(self.folder)
        return self.stop

    def timing(self, **seconds: float) -> None:
        """Append wall-clock seconds of this step; more of the same step come into its row."""
        self._require_own_process()
        row = {"step": self.step, **{k: round(v, 4) for k, v in seconds.items()}}
        size, before = self._timed
        if before.get("step") == self.step:
            row = {**before, **row}
            self._disk.cut("timings.jsonl", size)
            self.tell(Timed(self.step, {name: value for name, value in row.items() if name != "step"}))
        file = self.folder / "timings.jsonl"
        self._timed = (file.stat().st_size if file.exists() else 0), row
        self._disk.append("timings.jsonl", json.dumps(row) + "\n")

    def write_rollouts(
        self, groups: Sequence[Group], trained: Sequence[Group], extra: Mapping[str, Sequence[Any]]
    ) -> None:
        """Every completion that was sampled in this step, and whether it was trained on: numbered like its event."""
        self._require_own_process()
        text = rollout_rows(groups, trained, extra)
        name = f"step-{self.step + 1:06d}.jsonl"
        self._disk.replace(f"rollouts/{name}", text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._disk.append(f"rollouts/{SUMS}", checkpoints.sum_line(name, digest))

    def write_answers(
        self, groups: Sequence[Group], columns: Mapping[str, Sequence[Any]] | None = None, file: str = "eval.jsonl"
    ) -> None:
        """Held-out answers of one evaluation, appended to eval.jsonl; those of the sheet to its own file."""
        self._require_own_process()
        self._disk.append(file, answer_rows(self.step, groups, columns or {}))

    def write_broken(self, tensors: Mapping[str, Any], facts: str) -> str | None:
        """A batch whose update was left out in the step under way, and what is known of the cause: the first of a step,
        and of so many steps of a run; where they are, or None."""
        from safetensors.torch import save

        self._require_own_process()
        name = f"{BROKEN}/step-{self.step + 1:06d}"
        earlier = [number for number, _ in broken_files(self.folder / BROKEN) if number <= self.step]
        if len(set(earlier)) >= MOST_BROKEN or self._broken == self.step + 1:
            return None
        self._broken = self.step + 1
        self._disk.insist(BROKEN, lambda: (self.folder / BROKEN).mkdir(exist_ok=True))
        self._disk.replace(f"{name}.safetensors", save(dict(tensors)))
        self._disk.replace(f"{name}.json", facts)
        return f"{name}.safetensors"

    def write_config(self, resolved: Mapping[str, Any], rejected: Sequence[str]) -> None:
        """The resolved recipe, and the rows that were skipped."""
        self._disk.replace("config.yaml", signed(dump(dict(resolved))))
        if rejected:
            self._disk.replace("rejected.txt", "".join(visible(line) + "\n" for line in rejected))
        else:
            self._disk.remove("rejected.txt")

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """What this run was made of: inputs, settings, versions, engine, settings chosen to fit."""
        self._disk.replace(RUN_MANIFEST, signed_json(manifest))

    def write_list(self, name: str, text: str) -> None:
        """A list of rows, in inputs/."""
        self._disk.replace(f"{LISTS}/{name}", text)

    def manifest(self) -> dict[str, Any]:
        """What `write_manifest` wrote; empty of a run that was killed before, or where the file is damaged."""
        return read_signed_json(self.folder / RUN_MANIFEST) or {}

    # --------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return checkpoints.complete(self.folder)

    async def checkpoint(
        self,
        save: Save,
        state: Mapping[str, Any],
        keep: int,
        planned: bool = True,
        best: int | None = None,
        last: bool = False,
    ) -> None:
        """Save this step's state, and take away all but the newest `keep` and that of step `best`; nothing where it is
        saved already. Raises TrainingError where the `last` save of a run is lost, or too many in a row.

        The event of a `planned` one comes first, so that a resumed run goes on behind it. That of one which only an
        interruption brings about comes after: a resumed run takes it back. Whether a save was lost is no event.
        """
        self._require_own_process()
        if self._saves.step == self.step:
            return
        self.phase("save")
        name, repeated = checkpoints.name_of(self.step), self._saves.announced == self.step
        if planned and not repeated:
            self.emit(Checkpoint(self.step, name))
        planned = planned or repeated
        why = await self._saves.write(self.step, save, state, self._frame(planned))
        if planned and not repeated:
            self._saves.announce(self.step)
        if why is not None:
            return self._saves.lose(self.step, why, last)
        self._saves.step = self.step
        self.tidy(keep, best)
        if not planned:
            self.emit(Checkpoint(self.step, name))

    async def commit(self, save: Save, state: Mapping[str, Any], keep: int, best: int | None = None) -> None:
        """Save this step's state before its weights are published, in the place of what was committed before: a run
        that goes on from it does what follows, so it is no event. Raises TrainingError where too many saves in a row
        are lost."""
        self._require_own_process()
        self.phase("save")
        why = await self._saves.write(self.step, save, state, self._frame(planned=False, commit=True))
        if why is not None:
            return self._saves.lose(self.step, why, last=False)
        self._saves.committed = self.step
        self.tidy(keep, best)

    @property
    def committed(self) -> Path | None:
        """The checkpoint of this step as it was before its weights were published; None where there is none, or where
        what follows is saved, too."""
        there = self._saves.committed == self.step != self._saves.step
        return self.folder / PLACE / checkpoints.name_of(self.step) if there else None

    def outdate_commit(self) -> None:
        """What an engine saves is no longer what was committed of this step: a checkpoint is written anew."""
        self._saves.committed = 0

    def _frame(self, planned: bool, commit: bool = False) -> dict[str, Any]:
        """What a checkpoint's manifest says beside its files."""
        kind = {"planned": planned, **({"commit": True} if commit else {})}
        return {"step": self.step, **kind, "parent": self._saves.parent, **self.made_of}

    def _mend(self) -> None:
        for line in checkpoints.mend_copies(self._disk, self._choice):
            self.say(line)

    def give_up(self, error: PostludeError) -> None:
        """Say which error ended the run: in events.jsonl, where it came so far and can be written.

        Of one that was refused (ConfigError) before it began nothing stays, where the folder was made for it.
        """
        self._end(End(self.step, "error", error.code, str(error)), isinstance(error, ConfigError))

    def leave(self) -> None:
        """Say that it was asked to end before its next step began: of one that never began nothing stays, likewise."""
        self._end(End(self.step, "interrupted"), True)

    def _end(self, end: End, goes: bool) -> None:
        if goes and self._fresh:
            self.tell(end)
            return shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(PostludeError):  # the disk may be what is wrong
            self.emit(end) if self._at_work else self.tell(end)

    def tidy(self, keep: int, best: int | None = None) -> None:
        """Let the links lead to the newest checkpoint and the best, take away what is not kept: also what a process
        that was killed had left to do of it."""
        checkpoints.tidy(self._disk, keep, best)
        self._disk.insist("checkpoints", lambda: checkpoints.clear_hidden(self.folder, up_to=self.step))

    def restore(self, accepted: frozenset[str] = frozenset()) -> tuple[Path, dict[str, Any]] | None:
        """The newest sound checkpoint and its state; None where there is none yet. Changes nothing: see `rewind`.

        Newer ones that are not as they were sealed are passed over, and that is said. What is wrong beside them is
        taken as it is where its name is `accepted` (`rollouts`, `events`, `eval`, `config`). Raises ConfigError where
        there are checkpoints, and none can be gone on from.
        """
        choice = self._choice = checkpoints.choose(self.folder, accepted)
        if choice.sealed is None:
            return None
        for line in choice.said():
            self.say(line)
        sealed = choice.sealed
        self.step = sealed.step
        self._saves.go_on(sealed)
        self.seconds = checkpoints.seconds_of(self.folder, self.step)
        return sealed.place, sealed.state

    def rewind(self) -> None:
        """Take back what was written after the checkpoint that was restored; all of it where there was none."""
        checkpoints.rewind(self._disk, self._choice.sealed)
        self._at_work = True
        self._disk.insist("checkpoints", lambda: checkpoints.set_aside(self._choice))
        self._mend()
        accepted = self._choice.accepted
        if any(flaw.accepts == "rollouts" for flaw in accepted):
            checkpoints.accept_rollouts(self._disk)
        for name in APPENDED:
            checkpoints.cut_to_lines(self._disk, name)
        if accepted:
            self.note(f"changes accepted: {'; '.join(flaw.text for flaw in accepted)}", "accepted-changes")

    def finish(self, keep: int, best: int | None = None) -> None:
        """Do what is left to do of a run whose last checkpoint was restored: links, pruning, `end`. Where nothing is,
        every byte stays."""
        end = _line_of(End(self.step, "done"))
        if checkpoints.behind(self.folder, self._choice.sealed) != end.encode():
            self.rewind()
            self._disk.append("events.jsonl", end)
        else:
            self._mend()
        self.tidy(keep, best)

    def ask_back(self, step: int, why: str) -> taken_back.Back:
        """Write down that the run goes back to the checkpoint of a step: also if this process is killed from now on."""
        self._require_own_process()
        return taken_back.ask(self._disk, step, self.step, why)

    def go_back(self, back: taken_back.Back) -> None:
        """Go back; what came after is put aside, and the folder is that of a run which was saved at that step."""
        taken_back.finish(self._disk, back)
        self.step = self._saves.step = back.step

    @property
    def model(self) -> Path:
        """The newest checkpoint, as a model folder for any tool."""
        return self.folder / "model"

    def history(self) -> History:
        """What was written so far, to look at."""
        return read(self.folder)

    def close(self) -> None:
        """Let others write to the folder. Of a run without a step, no weights for servers stay."""
        if not is_used(self.folder):
            shutil.rmtree(self.folder / SERVED, ignore_errors=True)
        self._lock.close()

    def _require_own_process(self) -> None:
        """A forked child ends here instead of writing."""
        if os.getpid() != self._owner:
            end_child(f"something in the run {self.folder}")


def _line_of(event: Event) -> str:
    return json.dumps(event.row(), allow_nan=False) + "\n"
