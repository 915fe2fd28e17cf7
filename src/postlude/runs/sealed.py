"""What makes a checkpoint whole: `trainer/manifest.json`, written last, says what every file of it holds, and what the
run's other files held when it was sealed. Nothing here tells the time, but for the
seconds that a budget counts: without one a run that is repeated seals the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from postlude import plain_json
from postlude.runs.durable import flush, flush_tree
from postlude.runs.files import SUMS, regular

SCHEMA = 1
"""Of the manifest; a reader refuses later ones."""
STATE, MANIFEST = Path("trainer", "state.json"), Path("trainer", "manifest.json")
"""Of a checkpoint: where the run stood; what every file holds."""
PLACE = "checkpoints"
"""Where they are in a run's folder, each under the name of its step."""
OPENED = ("*config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "chat_template.*")
"""Files that are read where they stand beside a model's."""
COPIES = Path("trainer", "run")
"""Of a checkpoint: the run's whole files as they were."""
APPENDED = {"events.jsonl": "events", "eval.jsonl": "eval", "sheet.jsonl": "sheet", f"rollouts/{SUMS}": "rollouts"}
"""Files of a run that grow, each with the name under which `--accept-changes` takes one that is another."""
CONFIG = "config.yaml"
RUN_MANIFEST = "manifest.json"
WHOLE = (CONFIG, RUN_MANIFEST, "rejected.txt")
"""Files of a run that are replaced."""
HEAD = "# The resolved recipe: `postlude train` of this file repeats the run. SHA-256 of what follows: "
"""What config.yaml begins with."""


@dataclass(frozen=True)
class Flaw:
    """Something that is not as it was when a checkpoint was sealed."""

    text: str
    accepts: str | None = None
    """What `--accept-changes` must name to go on all the same; None where nothing helps."""


class Hashes:
    """SHA-256 of files, each read once."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Path, int], str] = {}

    def of(self, file: Path) -> str:
        """Of a whole file. Raises OSError where it cannot be read."""
        state = regular(file).stat()
        return _digest(file.absolute(), state.st_size, state.st_mtime_ns)

    def of_start(self, file: Path, size: int) -> str | None:
        """Of the first so many bytes; None where there are fewer."""
        if (file, size) not in self._begun:
            self.read_starts(file, [size])
        return self._begun.get((file, size))

    def read_starts(self, file: Path, sizes: Collection[int]) -> None:
        """`of_start` of several sizes, in one pass; of a file that cannot be read there is no start."""
        with suppress(OSError), regular(file).open("rb") as source:
            total, running = 0, hashlib.sha256()
            for size in sorted(sizes):
                while total < size and (piece := source.read(min(size - total, 1 << 20))):
                    running.update(piece)
                    total += len(piece)
                if total < size:
                    return
                self._begun[file, size] = running.hexdigest()


@lru_cache(65_536)
def _digest(file: Path, size: int, modified: int) -> str:
    """SHA-256 of a file as it is at that size and time: whoever asks again for the same does not wait again."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------------- sealing


def seal(temporary: Path, run: Path, frame: Mapping[str, Any]) -> None:
    """Finish a checkpoint that lies under a temporary name: copies, manifest, all of it on the disk. Raises OSError.

    `frame` is what the manifest says beside files: step, parent, whether it was planned, what the run is made of.
    """
    hashes = Hashes()
    copies = temporary / COPIES
    copies.mkdir(parents=True, exist_ok=True)
    for name in WHOLE:
        if (run / name).is_file():
            shutil.copyfile(run / name, copies / name)
    beside = {name: _entry(run / name, hashes) for name in (*APPENDED, *WHOLE) if (run / name).is_file()}
    files = {str(p.relative_to(temporary).as_posix()): _entry(p, hashes) for p in files_of(temporary)}
    content = {"schema": SCHEMA, **frame, "files": files, "beside": beside}
    (temporary / MANIFEST).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for name in APPENDED:
        if (run / name).is_file():
            flush(run / name)
    flush_tree(temporary)


def files_of(checkpoint: Path) -> list[Path]:
    """Every file of a checkpoint but its manifest, in order."""
    return sorted(p for p in checkpoint.rglob("*") if p.is_file() and p != checkpoint / MANIFEST)


def _entry(file: Path, hashes: Hashes) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": hashes.of(file)}


# ----------------------------------------------------------------------------------------------------- verifying


@dataclass
class Sealed:
    """A checkpoint as it is found, and what its manifest says."""

    place: Path
    manifest: dict[str, Any] = field(default_factory=dict[str, Any])
    """Empty where there is none, or none that can be read."""
    flaws: list[Flaw] = field(default_factory=list[Flaw])
    """What is wrong with the manifest itself."""

    @classmethod
    def at(cls, place: Path) -> Sealed:
        """Read the manifest of a checkpoint."""
        try:
            text = regular(place / MANIFEST).read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(place, flaws=_other_step(place, _earlier(place), STATE))
        except (OSError, ValueError) as error:
            return cls(place, flaws=[Flaw(f"{MANIFEST} cannot be read ({error})")])
        content = _parsed(text)
        if content is None:
            return cls(place, flaws=[Flaw(f"{MANIFEST} is damaged")])
        if content["schema"] > SCHEMA:
            said = f"{MANIFEST} has schema {content['schema']}, and this postlude reads up to {SCHEMA}: update it"
            return cls(place, flaws=[Flaw(said)])
        return cls(place, content, _other_step(place, content, MANIFEST))

    @property
    def step(self) -> int:
        return int(self.place.name.removeprefix("step-"))

    @property
    def planned(self) -> bool:
        """Whether every run of the recipe saves it, not only one that was interrupted."""
        return bool(self.manifest.get("planned", True))

    @property
    def commit(self) -> bool:
        """Whether it was saved in the middle of a step, before its weights were published: what follows that, the
        evaluation above all, is still to be done."""
        return bool(self.manifest.get("commit", False))

    @property
    def state(self) -> dict[str, Any]:
        """Where the run stood."""
        return json.loads((self.place / STATE).read_text(encoding="utf-8"))

    def beside(self, name: str) -> int | None:
        """Bytes that a file of the run had; None where there was none, or nothing says."""
        entry = self.manifest.get("beside", {}).get(name)
        return None if entry is None else int(entry["bytes"])

    def changed(self, run: Path) -> list[str]:
        """Whole files of the run that are not what they were, or gone."""
        entries: Mapping[str, Mapping[str, Any]] = self.manifest.get("beside", {})
        whole = [name for name in entries if name not in APPENDED]
        return [name for name in whole if _differs(run / name, name, entries[name], Hashes())]

    def torn(self, hashes: Hashes, inside: str = "") -> list[Flaw]:
        """What is wrong with its own files, of those whose path does not begin with `inside` where that is given."""
        if self.flaws:
            return self.flaws
        wanted: Mapping[str, Mapping[str, Any]] = self.manifest.get("files", {})
        names = [name for name in wanted if not (inside and name.startswith(inside))]
        texts = [_differs(self.place / name, name, wanted[name], hashes) for name in names]
        return [Flaw(text) for text in texts if text] + (_intruders(self.place, wanted) if self.manifest else [])

    def misfits(self, run: Path, hashes: Hashes) -> list[Flaw]:
        """What of the run's other files is not as it was: their beginnings, and every rollout that was written."""
        flaws: list[Flaw] = []
        for name, accepts in APPENDED.items():
            entry = self.manifest.get("beside", {}).get(name)
            if entry is None:
                continue
            begun = hashes.of_start(run / name, int(entry["bytes"]))
            if begun != entry["sha256"]:
                gone = "is not what it was" if begun else "is cut off" if (run / name).is_file() else "is gone"
                flaws.append(Flaw(f"{name} {gone}", accepts))
            elif accepts == "rollouts":
                flaws += _rollout_flaws(run, int(entry["bytes"]), hashes)
        return flaws


def unsound(folder: Path, inside: str = f"{MANIFEST.parts[0]}/") -> str | None:
    """What is wrong with the files of a checkpoint whose path does not begin with `inside`: those of the model, unless
    it says otherwise. None of a sound one, and of a folder that nothing sealed."""
    if not (folder / MANIFEST).is_file() and not (folder / STATE).is_file():
        return None
    flaws = Sealed.at(folder).torn(Hashes(), inside)
    return some(flaws) if flaws else None


def some(flaws: Sequence[Flaw], most: int = 3) -> str:
    """Flaws in one line."""
    more = f", and {len(flaws) - most} more" if len(flaws) > most else ""
    return ", ".join(flaw.text for flaw in flaws[:most]) + more


def _parsed(text: str) -> dict[str, Any] | None:
    """A manifest; None of what is none."""
    try:
        content = plain_json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    manifest = cast(dict[str, Any], content)
    shaped = type(manifest.get("schema")) is int and type(manifest.get("step")) is int
    shaped = shaped and isinstance(manifest.get("planned", True), bool)
    shaped = shaped and all(_holds_tables(manifest.get(name, {})) for name in ("inputs", "versions"))
    return manifest if shaped and _is_table(manifest.get("files")) and _is_table(manifest.get("beside")) else None


def _holds_tables(value: Any) -> bool:
    """Whether that is name -> text, or name -> name -> a table, as what a run is made of is written."""
    if not isinstance(value, dict):
        return False
    inner = cast(dict[str, Any], value).values()
    tables = [cast(dict[str, Any], one) for one in inner if isinstance(one, dict)]
    return all(isinstance(one, dict | str) for one in inner) and all(
        isinstance(print_, dict) for one in tables for print_ in one.values()
    )


def _is_table(value: Any) -> bool:
    """Whether that is file -> bytes and sha256."""
    if not isinstance(value, dict):
        return False
    entries = cast(dict[str, Any], value)
    tables = [cast(dict[str, Any], entry) for entry in entries.values() if isinstance(entry, dict)]
    sized = all(type(one.get("bytes")) is int and one["bytes"] >= 0 and "sha256" in one for one in tables)
    return sized and len(tables) == len(entries) and all(map(_is_inside, entries))


def _is_inside(name: str) -> bool:
    """Whether that is a path below a folder, as a disk can hold it."""
    path = Path(name)
    return name.isprintable() and not path.is_absolute() and ".." not in path.parts


def _earlier(place: Path) -> dict[str, Any] | None:
    """The state of a checkpoint that a version which sealed none wrote: it holds what the manifest does today."""
    try:
        state = plain_json.read(regular(place / STATE))
    except (OSError, ValueError):
        return None
    if not isinstance(state, dict):
        return None
    values = cast(dict[str, Any], state)
    counts = [values.get(name) for name in ("step", "event_bytes")]
    return values if all(type(count) is int for count in counts) and isinstance(values.get("streams"), dict) else None


def _other_step(place: Path, content: Mapping[str, Any] | None, source: Path) -> list[Flaw]:
    """That nothing says what a checkpoint holds, or that a run's folder has the name of another step than it does."""
    if content is None:
        return [Flaw(f"{MANIFEST} is gone")]
    name = re.fullmatch(r"step-(\d{6,})", place.name)
    if name is None or place.parent.name != PLACE or int(name[1]) == content["step"]:
        return []  # a copy elsewhere has the name that its user chose
    return [Flaw(f"{place.name} holds step {content['step']} by its {source.name}")]


def _intruders(place: Path, listed: Collection[str]) -> list[Flaw]:
    """Files beside those of a checkpoint's model that would change how it is opened."""
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    return [
        Flaw(f"{name} is none of its files")
        for name in names
        if name not in listed and any(fnmatchcase(name, pattern) for pattern in OPENED)
    ]


def _differs(file: Path, name: str, entry: Mapping[str, Any], hashes: Hashes) -> str | None:
    try:
        size = file.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, and {entry['bytes']} by its manifest"
        if hashes.of(file) != entry["sha256"]:
            return f"{name} has another SHA-256 than its manifest says"
    except FileNotFoundError:
        return f"{name} is gone"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def _rollout_flaws(run: Path, size: int, hashes: Hashes) -> list[Flaw]:
    """Of the files that the first so many bytes of rollouts/SHA256SUMS list."""
    with (run / "rollouts" / SUMS).open("rb") as file:
        lines = file.read(size).decode().splitlines()
    flaws: list[Flaw] = []
    for digest, _, name in (line.partition("  ") for line in lines):
        try:
            same = hashes.of(run / "rollouts" / name) == digest
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            text = "is gone" if gone else f"cannot be read ({error.strerror})"
            flaws.append(Flaw(f"rollouts/{name} {text}", "rollouts"))
            continue
        if not same:
            flaws.append(Flaw(f"rollouts/{name} is not what was written", "rollouts"))
    return flaws


def signed(text: str) -> str:
    """The text of config.yaml, which says its own SHA-256: a damaged one is told from one of other settings."""
    return f"{HEAD}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def signed_json(values: Mapping[str, Any]) -> str:
    """The text of the run's manifest.json, which says the SHA-256 of its values last."""
    digest = hashlib.sha256(json.dumps(values, allow_nan=False).encode()).hexdigest()
    return json.dumps({**values, "sha256": digest}, indent=2, allow_nan=False) + "\n"


def read_signed_json(place: Path) -> dict[str, Any] | None:
    """The values of such a file; None of one that is gone, or not as a run wrote it."""
    try:
        values = plain_json.read(regular(place))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or "sha256" not in values:
        return None
    content = cast(dict[str, Any], values)
    digest = content.pop("sha256")
    return content if digest == hashlib.sha256(json.dumps(content).encode()).hexdigest() else None


def is_signed(content: str) -> bool:
    """Whether config.yaml is as a run wrote it."""
    head, _, text = content.partition("\n")
    return f"{head}\n{text}" == signed(text)
