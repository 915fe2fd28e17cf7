"""Does the comparison of bytes see it when a part of the saved state is left out?

A checkpoint in the middle of a run is changed: one part of its state is put back to what it was at the start, as if it
had not been saved, and the checkpoint is sealed again. The run that goes on from it must end
differently, or be refused.
That the next checkpoint repeats the part does not count: the difference must show in weights, figures or answers. A
family shows only what it uses, so that a part counts as caught where any of them catches it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.faults.faults import Chosen, every
from bench.faults.folder import bytes_of, differences
from bench.faults.outcome import Bench
from bench.faults.trial import RESUME, command

FIRST: Mapping[type, Any] = {bool: False, int: 0, float: 0.0, list: [], dict: {}, str: ""}
"""What a part of the state is before anything happened, by its type."""


@dataclass(frozen=True)
class Part:
    """A part of the saved state, and how to leave it out of a checkpoint's folder."""

    name: str
    file: str
    """Where in the checkpoint."""
    leave_out: Callable[[Path], None]


@dataclass(frozen=True)
class Mutation:
    """What came of leaving a part out."""

    family: str
    part: str
    caught: bool
    how: str
    """The first files that differ, or what was said."""


def parts_of(checkpoint: Path) -> Iterator[Part]:
    """Every part of a checkpoint that is something else than at the start."""
    for file in ("trainer/state.json", "trainer/optimizer.json"):
        state = json.loads((checkpoint / file).read_text())
        for path, value in _leaves(state):
            if path not in PLACE and value != _at_first(value):
                yield Part(f"{Path(file).stem}: {_title(path)}", file, _without_leaf(file, path))
    optimizer = "trainer/optimizer.safetensors"
    for name in _kinds(checkpoint / optimizer):
        yield Part(f"optimizer: {name}", optimizer, _without_tensors(optimizer, name))
    for path in sorted(checkpoint.rglob("*.safetensors")):
        file = str(path.relative_to(checkpoint))
        if file != optimizer:
            yield Part(file, file, _without_tensors(file, ""))


PLACE = {("step",), ("event_bytes",), ("seconds",)}
"""Where the run stands: the name of the checkpoint says it, too."""


def _title(path: tuple[str, ...]) -> str:
    """Without the name of the stream, which is that of the method."""
    if path[0] != "streams":
        return ".".join(path)
    return ".".join(["pretrain" if path[1] == "pretrain" else "stream", *path[2:]])


def _leaves(state: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Parts by name; tables with a key for each prompt or weight are one part."""
    for key, value in state.items():
        whole = (*path, key)
        named = isinstance(value, dict) and key not in ("history", "steps", "carried", "ahead", "waiting")
        if named and value:
            yield from _leaves(value, whole)
        else:
            yield whole, value


def _at_first(value: Any) -> Any:
    if isinstance(value, dict) and {"completions", "lists"} <= value.keys():
        return {"completions": [], "lists": [[] for _ in value["lists"]]}
    return FIRST.get(type(value))


def _without_leaf(file: str, path: tuple[str, ...]) -> Callable[[Path], None]:
    def leave_out(checkpoint: Path) -> None:
        state = inner = json.loads((checkpoint / file).read_text())
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = _at_first(inner[path[-1]])
        (checkpoint / file).write_text(json.dumps(state))

    return leave_out


def _kinds(file: Path) -> list[str]:
    """Of the optimiser's tensors: moments and master, of the policy and of a critic."""
    from safetensors.torch import load_file

    names = load_file(file) if file.exists() else {}
    return sorted({("critic" if n.startswith("critic") else "policy") + "::" + n.rpartition("::")[2] for n in names})


def _without_tensors(file: str, kind: str) -> Callable[[Path], None]:
    def leave_out(checkpoint: Path) -> None:
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file

        with safe_open(checkpoint / file, "pt") as opened:
            metadata = opened.metadata()
        tensors = load_file(checkpoint / file)
        owner, _, end = kind.partition("::")
        chosen = {
            name
            for name in tensors
            if not kind or (name.rpartition("::")[2] == end and name.startswith("critic") == (owner == "critic"))
        }
        changed = {name: t * 0 if name in chosen else t for name, t in tensors.items()}
        save_file(changed, checkpoint / file, metadata)

    return leave_out


def seal_again(checkpoint: Path) -> None:
    """Write the hashes of a changed checkpoint into its manifest."""
    manifest = checkpoint / "trainer/manifest.json"
    if not manifest.exists():
        return
    content = json.loads(manifest.read_text())
    for name, entry in content["files"].items():
        file = (checkpoint / name).read_bytes()
        entry |= {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    manifest.write_text(json.dumps(content, indent=1) + "\n")


def mutations(bench: Bench, folder: Path, step: int, chosen: Chosen = every) -> Iterator[Mutation]:
    """Each part of the checkpoint of `step`, the newest in `folder`, left out of it; then the run is resumed."""
    place = Path("checkpoints", f"step-{step:06d}")
    for number, part in enumerate(parts_of(folder / place)):
        if not chosen(number):
            continue
        bench.put(folder)
        part.leave_out(bench.run / place)
        seal_again(bench.run / place)
        ended = command(bench.place, RESUME)
        if ended.code != bench.family.code:
            yield Mutation(bench.family.name, part.name, True, ended.last)
            continue
        changed = differences(bench.whole, bytes_of(bench.run))
        works = [name for name in changed if not _repeats(name, part, place)]
        yield Mutation(bench.family.name, part.name, bool(works), ", ".join((works or changed)[:3]))


def _repeats(name: str, part: Part, place: Path) -> bool:
    """Whether a difference is in the changed checkpoint itself, or only repeats in a later one what was left out."""
    state = part.file.endswith(".json") and part.file in name
    return name.startswith(str(place)) or state or "trainer/manifest.json" in name


def cut_back(bench: Bench, step: int, target: Path) -> Path:
    """The finished run as it would be found if its newest whole checkpoint were that of `step`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bench.run, target, symlinks=True)
    for later in sorted((target / "checkpoints").iterdir()):
        if later.name > f"step-{step:06d}":
            shutil.rmtree(later)
    return target
