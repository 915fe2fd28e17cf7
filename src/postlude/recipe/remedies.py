"""The command that goes on with a run under other settings, or begins it anew where a run cannot take them up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from postlude.plain_yaml import parse
from postlude.recipe.resumed import rule_of


def command(folder: Path, pairs: Sequence[str], finished: bool = False) -> str:
    """`postlude train RUN KEY=VALUE --resume`; of a finished run, or of settings that must stay, another run of the
    same recipe, in a folder beside it that is free: `postlude train RUN KEY=VALUE output=RUN-again`."""
    words = ["postlude", "train", str(folder), *pairs]
    rules = {rule_of(pair.partition("=")[0]) for pair in pairs}
    if finished or rules & {"never", "content"}:
        words.append(f"output={_as_value(str(free_beside(folder)))}")
    else:
        accepted = sorted(rules - {"free"})
        words += ["--resume", *(["--accept-changes", ",".join(accepted)] if accepted else [])]
    return " ".join(map(shlex.quote, words))


def free_beside(folder: Path) -> Path:
    """The first of RUN-again, RUN-again-2, ... that is not there."""
    place = folder if folder.name not in ("", "..") else folder.resolve()
    number, free = 1, place.with_name(f"{place.name}-again")
    while free.exists() or free.is_symlink():
        number += 1
        free = place.with_name(f"{place.name}-again-{number}")
    return free


def _as_value(text: str) -> str:
    """A text as a value of the command line, which is YAML: in quotes where it would be read as something else."""
    parsed = parse(text)
    return text if not parsed.is_yaml or parsed.values == text else json.dumps(text, ensure_ascii=False)
