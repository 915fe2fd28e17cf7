"""Checkpoints of a run folder: written under a temporary name, verified, chosen to go on from, kept or taken away."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, Problem
from postlude.runs.durable import Disk, flush, os_errors, remove
from postlude.runs.files import SUMS, broken_files, regular, rollout_files
from postlude.runs.lock import is_held
from postlude.runs.sealed import (
    APPENDED,
    CONFIG,
    COPIES,
    MANIFEST,
    PLACE,
    RUN_MANIFEST,
    STATE,
    Flaw,
    Hashes,
    Sealed,
    files_of,
    is_signed,
    read_signed_json,
    seal,
    some,
    unsound,
)

TAIL = 1 << 16
"""Bytes at the end of events.jsonl that hold its last line."""
_NAME = re.compile(r"step-\d{6,}")
_HIDDEN = re.compile(r"\.step-\d{6,}(\.old|\.passed)?")
"""Of ours: being written, being taken away, passed over."""
_OURS = (MANIFEST, STATE, "config.json", "adapter_config.json")
"""What a checkpoint has, or one of which something is gone."""


def name_of(step: int) -> str:
    """The folder of a step's checkpoint in checkpoints/."""
    return f"step-{step:06d}"


def all_of(folder: Path) -> list[Path]:
    """The folders of a run that have the name of a checkpoint, oldest first."""
    place = folder / PLACE
    named = [p for p in place.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()] if place.is_dir() else []
    return sorted(named, key=lambda p: int(p.name.removeprefix("step-")))


def complete(folder: Path) -> list[Path]:
    """The checkpoints of a run that were written to their end, oldest first; what they hold is not verified."""
    return [p for p in all_of(folder) if (p / MANIFEST).exists() or (p / STATE).exists()]


def is_foreign(place: Path) -> bool:
    """Whether something that no run wrote has the name of a checkpoint."""
    return place.exists() and not any((place / file).exists() for file in _OURS)


def problems_of_foreign(folder: Path) -> list[Problem]:
    """One for each such thing in a run's folder: it would be in the way, and is never taken away."""
    place = folder / PLACE
    named = sorted(path for path in place.iterdir() if _NAME.fullmatch(path.name)) if place.is_dir() else []
    said = "has the name of a checkpoint, but nothing of one. Move it away."
    return [Problem("damaged-run", f"output: {str(path)!r} {said}") for path in named if is_foreign(path)]


# ------------------------------------------------------------------------------------------------------- writing


async def write(
    run: Path, name: str, save: Callable[[Path], Awaitable[None]], state: Mapping[str, Any], frame: Mapping[str, Any]
) -> None:
    """`save` to a temporary name, add the state, seal it, rename. Raises OSError, and leaves nothing then.

    What has that name already is hidden before, and taken away after: `clear_hidden` finishes what a kill cut short.
    """
    place = run / PLACE / name
    temporary, old = place.with_name("." + name), place.with_name(f".{name}.old")
    try:
        remove(temporary)
        with os_errors():
            await save(temporary)
        (temporary / STATE).write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        seal(temporary, run, frame)  # at once: nobody may write an event in between
        if is_foreign(place):
            raise FileExistsError(errno.EEXIST, f"{place} is in its place, and no checkpoint of a run")
        remove(old)
        if place.exists():
            place.rename(old)
        temporary.rename(place)
        flush(place.parent)
        remove(old)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not place.exists():
            old.rename(place)
        raise


def link_files(checkpoint: Path, folder: Path) -> None:
    """What a checkpoint holds but for its state and seal, again in another folder: the same bytes, under two names
    where the file system can. Raises OSError."""
    (folder / STATE).parent.mkdir(parents=True)
    for file in files_of(checkpoint):
        name = file.relative_to(checkpoint)
        if name == STATE or name.is_relative_to(COPIES):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (folder / name).hardlink_to(file)
        except OSError:
            shutil.copy2(file, folder / name)


def _take_away(place: Path) -> None:
    """Remove a checkpoint: by a rename first, so that no half of one is taken for a whole one."""
    if place.exists():
        old = place.with_name(f".{place.name}.old")
        remove(old)
        place.rename(old)
        remove(old)


def tidy(disk: Disk, last: int, best: int | None) -> None:
    """Keep the newest `last` planned checkpoints, that of step `best`, and of those behind them, which an interruption
    or a request brought about, the newest `last`; of what was committed only what is the newest of all. Let `model`
    lead to that and `best` to the best, for every tool that takes a model folder."""
    there = [Sealed.at(place) for place in all_of(disk.root) if not is_foreign(place)]
    chosen = ([one for one in there if one.step == best] or _linked(disk.root / "best", there)) if best else []
    planned = [one for one in there if one.planned and one not in chosen]
    newest = max((one.step for one in there if one.planned), default=0)
    asked = [one for one in there if one.step > newest and not one.commit]
    if there:
        disk.link("model", f"{PLACE}/{there[-1].place.name}")
    for one in chosen:
        disk.link("best", f"{PLACE}/{one.place.name}")
    staying = {one.place for one in [*planned[-last:], *asked[-last:], *chosen, *there[-1:]]}
    for one in there:
        if one.place not in staying:
            disk.insist(f"{PLACE}/{one.place.name}", partial(_take_away, one.place))


def _linked(link: Path, there: Sequence[Sealed]) -> list[Sealed]:
    """Where a link leads: the best so far, if the save of a better one was lost."""
    target = link.readlink().name if link.is_symlink() else None
    return [one for one in there if one.place.name == target]


def clear_hidden(folder: Path, up_to: int | None = None) -> None:
    """Take away what was being written or removed as its process ended; with `up_to`, what was passed over, of these
    steps. One that was to take the place of another, which is hidden, was sealed before: it does. Raises OSError."""
    for old in (folder / PLACE).glob(".step-*.old"):
        place = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
        if not place.exists() and (ready := place.with_name("." + place.name)).exists():
            ready.rename(place)
    for place in (folder / PLACE).iterdir():
        name = place.name
        if not _HIDDEN.fullmatch(name):
            continue
        passed = name.endswith(".passed")
        if not passed or (up_to is not None and int(name.removesuffix(".passed").removeprefix(".step-")) <= up_to):
            remove(place)


# ---------------------------------------------------------------------------------------------------- going on


@dataclass
class Choice:
    """Where a run goes on."""

    sealed: Sealed | None = None
    """None is the beginning."""
    passed: list[tuple[Sealed, list[Flaw]]] = field(default_factory=list[tuple[Sealed, list[Flaw]]])
    """Newer ones, and what is wrong with them."""
    spoilt: list[tuple[Sealed, list[Flaw]]] = field(default_factory=list[tuple[Sealed, list[Flaw]]])
    """Older ones to which nobody could go back, and why."""
    accepted: list[Flaw] = field(default_factory=list[Flaw])
    """What is wrong, and was accepted."""

    def said(self) -> list[str]:
        """What the user must hear of it."""
        if self.sealed is None:
            return []
        name = self.sealed.place.name
        lines = [
            f"checkpoint {one.place.name} is passed over: {some(flaws)}; going on from {name}"
            for one, flaws in self.passed
        ]
        lines += [
            f"checkpoint {one.place.name} is damaged: {some(flaws)}; nothing could go on from it"
            for one, flaws in self.spoilt
        ]
        if not self.sealed.manifest:
            lines.append(f"{name} has no manifest (an earlier postlude wrote it): what it holds cannot be verified")
        return lines


def choose(folder: Path, accepted: Collection[str] = ()) -> Choice:
    """The newest checkpoint that is as it was sealed, with everything of the run that it relies on; older ones are
    looked at, too, so that their damage is told. Raises ConfigError where there are checkpoints, and none is sound."""
    there = [Sealed.at(place) for place in reversed(all_of(folder))]
    hashes, choice = Hashes(), Choice()
    for name in APPENDED:
        hashes.read_starts(folder / name, [size for one in there if (size := one.beside(name)) is not None])
    for number, one in enumerate(there, 1):
        flaws = one.torn(hashes) or one.misfits(folder, hashes)
        if all(flaw.accepts in accepted for flaw in flaws):
            flaws += _config_flaws(folder, one, accepted)
            choice.sealed, choice.accepted = one, flaws
            choice.spoilt = [(old, torn) for old in there[number:] if (torn := old.torn(hashes))]
            return choice
        choice.passed.append((one, flaws))
    if there:
        raise ConfigError(_nothing_sound(folder, choice.passed, hashes), code="damaged-run")
    if (folder / "model").is_symlink():  # made with the first that is saved: an event alone may be of one that was lost
        raise ConfigError(
            f"the run {str(folder)!r} had saved checkpoints, and none is there: {folder / PLACE} was emptied. Put them "
            "back; or start anew with another output=FOLDER. What is there is left as it is.",
            code="damaged-run",
        )
    return choice


def _config_flaws(folder: Path, sealed: Sealed, accepted: Collection[str]) -> list[Flaw]:
    """That config.yaml is not as any run wrote it. Raises ConfigError where that is not accepted: an older checkpoint
    would not help, and nobody but the user knows whether the file was edited or damaged."""
    if CONFIG not in sealed.changed(folder):
        return []
    file = folder / CONFIG
    if file.is_file() and is_signed(file.read_bytes().decode(errors="replace")):
        return []  # of a resume with other settings, say
    if "config" not in accepted:
        raise ConfigError(
            f"{file} was edited, damaged or removed since {sealed.place.name} was saved. Settings are changed on the "
            f"command line (KEY=VALUE); as it was, it is in {sealed.place / COPIES / CONFIG}. Copy that back, or go on "
            "with what it says now: --accept-changes config.",
            code="damaged-run",
        )
    return [Flaw(f"{CONFIG} is not as a run wrote it", "config")]


def _nothing_sound(folder: Path, passed: list[tuple[Sealed, list[Flaw]]], hashes: Hashes) -> str:
    """Why a run cannot go on, and what can be done."""
    said = "; ".join(f"{one.place.name}: {some(flaws)}" for one, flaws in passed)
    start = f"the run {str(folder)!r} cannot go on as it was: {said}."
    for one, flaws in passed:
        names = sorted({flaw.accepts for flaw in flaws if flaw.accepts})
        if names and all(flaw.accepts for flaw in flaws):
            return (
                f"{start} Put back what is missing or changed; or go on from {one.place.name} all the same with "
                f"--accept-changes {','.join(names)}."
            )
    whole = [one for one, _ in passed if one.manifest and not one.torn(hashes, inside="trainer/")]
    if whole:
        return f"{start} The weights of one are whole: start another run with model={whole[0].place} output=FOLDER."
    return f"{start} Start it anew, with output=FOLDER."


def set_aside(choice: Choice) -> None:
    """Hide the checkpoints that were passed over: the run writes them again as it reaches their steps. Raises
    OSError."""
    for one, _ in choice.passed:
        aside = one.place.with_name(f".{one.place.name}.passed")
        remove(aside)
        one.place.rename(aside)


def rewind(disk: Disk, sealed: Sealed | None) -> None:
    """Take back everything a run wrote after a checkpoint, or all but its first event: it will be written again."""
    folder, step = disk.root, sealed.step if sealed else 0
    sizes = {name: (sealed.beside(name) or 0) if sealed else 0 for name in APPENDED}
    if sealed is None:  # with which the run begins again, also where it is killed before it has
        sizes["events.jsonl"] = len("".join(_lines(folder / "events.jsonl")[:1]).encode())
    if sealed and not sealed.manifest:
        sizes["events.jsonl"] = int(sealed.state["event_bytes"])
        sizes["eval.jsonl"] = _bytes_of_steps(folder / "eval.jsonl", step)
    for name, size in sizes.items():
        disk.cut(name, size) if size else disk.remove(name)
    timings = folder / "timings.jsonl"
    if timings.exists():
        disk.replace(timings.name, "".join(line for line in _lines(timings) if _step_of(line) in range(1, step + 1)))
    disk.insist("rollouts", lambda: _count_from_one(folder / "rollouts"))
    for number, path in rollout_files(folder / "rollouts"):
        if number > step:
            disk.remove(f"rollouts/{path.name}")
    for number, path in broken_files(folder / "broken"):
        if number > step:
            disk.remove(f"broken/{path.name}")


def parent_of(folder: Path, sealed: Sealed) -> tuple[int, str | None]:
    """Of a run that goes on at `sealed`: the step of its newest planned checkpoint (0 where it is not this one), and
    SHA-256 of events.jsonl as it was at that."""
    beside = sealed.manifest.get("beside", {})
    if not sealed.planned:
        return 0, sealed.manifest.get("parent")
    return sealed.step, beside["events.jsonl"]["sha256"] if "events.jsonl" in beside else None


def behind(folder: Path, sealed: Sealed | None) -> bytes:
    """What events.jsonl holds behind a checkpoint; nothing where it is gone, and that was accepted."""
    try:
        with (folder / "events.jsonl").open("rb") as file:
            file.seek((sealed.beside("events.jsonl") or 0) if sealed else 0)
            return file.read()
    except FileNotFoundError:
        return b""


def mend_copies(disk: Disk, choice: Choice) -> list[str]:
    """Put back whole files of the run that are not as they were sealed; a sentence for each. Other settings in
    config.yaml and manifest.json are no damage."""
    if choice.sealed is None or not choice.sealed.manifest:
        return []
    where, lines = choice.sealed.place, list[str]()
    for name in choice.sealed.changed(disk.root):
        if name != CONFIG and not (name == RUN_MANIFEST and read_signed_json(disk.root / name)):
            disk.replace(name, (where / COPIES / name).read_text(encoding="utf-8"))
            lines.append(f"{name} was gone or damaged: it is put back as it was in {where.name}")
    return lines


def cut_to_lines(disk: Disk, name: str) -> None:
    """Let a file end in a whole line."""
    disk.cut(name, sum(len(line.encode(errors="surrogateescape")) for line in _lines(disk.root / name)))


def accept_rollouts(disk: Disk) -> None:
    """Let rollouts/SHA256SUMS say what is there now."""
    hashes = Hashes()
    files = [path for _, path in rollout_files(disk.root / "rollouts")]
    disk.replace(f"rollouts/{SUMS}", "".join(sum_line(path.name, hashes.of(path)) for path in files))


def sum_line(name: str, digest: str) -> str:
    """The line of a file in rollouts/SHA256SUMS."""
    return f"{digest}  {name}\n"


def seconds_of(folder: Path, step: int) -> float:
    """How long a run took up to a step: from timings.jsonl, which may be torn, or gone."""
    total = 0.0
    for line in _lines(folder / "timings.jsonl"):
        if _step_of(line) in range(1, step + 1):
            with suppress(TypeError, ValueError):
                total = float(json.loads(line).get("total", total))
    return total


def _lines(path: Path) -> list[str]:
    """The whole lines of a file, with their ends; none where there is no file."""
    try:
        text = regular(path).read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return []
    return [line + "\n" for line in text.split("\n")[:-1]]


def _step_of(line: str) -> int:
    """The step of a row; -1 of what is none."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return -1
    return step if isinstance(step, int) else -1


def _bytes_of_steps(path: Path, last: int) -> int:
    """Bytes of the rows at the beginning of a file that are of these steps."""
    size = 0
    for line in _lines(path):
        if _step_of(line) not in range(last + 1):
            break
        size += len(line.encode(errors="surrogateescape"))
    return size


def _count_from_one(folder: Path) -> None:
    """Runs of 0.1 numbered these files from 0, one less than their step: such a folder is renamed, the last first."""
    files = rollout_files(folder)
    if files and files[0][0] == 0:
        for number, path in reversed(files):
            path.rename(folder / f"step-{number + 1:06d}.jsonl")


# ----------------------------------------------------------------------------------------------------- as a model


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "events.jsonl").exists() and (folder / PLACE).is_dir()


def latest_model(path: str, tell: Callable[[str], None] | None = None) -> str:
    """A run folder's newest checkpoint; any other path is returned as it is.

    One whose model is not what was saved is passed over for the one before it where there is someone to `tell`.
    Raises ConfigError else, and where none is sound.
    """
    folder = Path(path).expanduser()
    if not is_run(folder):
        return path
    there = complete(folder)
    if not there:
        raise ConfigError(f"{path!r} is a run without a finished checkpoint.", code="no-checkpoint")
    newest = there[-1]
    why = unsound(newest)
    if why is None:
        return str(newest)
    said = f"{newest} is not what was saved: {why}"
    sound = next((place for place in reversed(there[:-1]) if unsound(place) is None), None)
    if sound is None:
        raise ConfigError(f"{said}. The run has no other checkpoint that is whole.", code="damaged-weights")
    if tell is None:
        raise ConfigError(f"{said}. The one before it is whole: {sound}", code="damaged-weights")
    tell(f"{said}; taken instead: {sound}")
    return str(sound)


def unfinished(path: str | Path) -> str | None:
    """What is to be known of a run that nothing ended as it should; None of one that ended, still goes on, or is none.

    Every run that ends, by an error too, says so last: one that does not was killed, or its process left otherwise.
    """
    folder = Path(path).expanduser()
    events = folder / "events.jsonl"
    if not (events.is_file() and (folder / PLACE).is_dir()) or is_held(folder / "lock"):
        return None
    with events.open("rb") as file:
        file.seek(max(events.stat().st_size - TAIL, 0))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    if b'"kind": "end"' in last:
        return None
    return (
        f"{str(folder)!r} was left in the middle of its work: its process was killed, or something in it (a reward, "
        "say) ended it. What came after its newest checkpoint is made again by --resume."
    )
