"""The command that goes on with a run under other settings, or begins it anew where a run cannot take them up."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from postlude.recipe.resumed import rule_of


def command(folder: Path, pairs: Sequence[str], finished: bool = False) -> str:
    """`postlude train RUN KEY=VALUE --resume`; of a finished run, or of settings that must stay, another run of the
    same recipe, which takes a folder of its own."""
    words = ["postlude", "train", str(folder), *pairs]
    rules = {rule_of(pair.partition("=")[0]) for pair in pairs}
    if not finished and not rules & {"never", "content"}:
        accepted = sorted(rules - {"free"})
        words += ["--resume", *(["--accept-changes", ",".join(accepted)] if accepted else [])]
    return " ".join(map(shlex.quote, words))
