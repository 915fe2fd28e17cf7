"""postlude export"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.cli.waiting import tell
from postlude.errors import ConfigError, EngineError
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.models.merging import Merged


def export(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint, or the folder of a LoRA adapter.")],
    folder: Annotated[Path, typer.Argument(help="Where the whole model goes; must not exist.")],
) -> None:
    """Write a whole model that needs no adapter: the adapter is merged, and the result compared before it counts.

    postlude export runs/grpo-1 my-model
    """
    from postlude.models.adapters import is_adapter
    from postlude.models.load import problems_of_path
    from postlude.runs.checkpoints import latest_model

    source = latest_model(model, lambda text: tell([text]))
    if problems := problems_of_path(source):
        raise ConfigError(problems)
    if folder.exists():
        raise ConfigError(f"{str(folder)!r} exists already; choose another folder.", code="exists-already")
    if not is_adapter(source):
        raise ConfigError(
            f"{model!r} holds no LoRA adapter: {source} is a whole model already. Copy that folder.",
            code="bad-adapter",
        )
    merged = _merge(source, folder)
    lines = [
        f"{folder}: a whole model in float32{_was(source)}; its log-probs (or scores) differ from the adapter's by at "
        f"most {merged.difference:.1e}"
    ]
    if merged.untied:
        lines.append("input and output layers shared a matrix; the adapter changed one of them, so they are two now")
    for line in lines:
        Screen().print(line, soft_wrap=True)


def _merge(source: str, folder: Path) -> Merged:
    """Write the merged model. It was compared with the adapter, and what is on disk is compared with it."""
    from transformers import AutoTokenizer

    from postlude.models import adapters, opening, saved
    from postlude.models.load import inspect, inspect_files, name_stops, quiet
    from postlude.models.spec import ModelSpec

    scalar = adapters.makes_scorer(source)
    with quiet():
        inspect_files(source, scalar=scalar)
        merged = opening.merged(source)
        if not scalar:
            name_stops(merged.net, inspect(ModelSpec(source)).stop_ids)
        try:
            saved.save(merged.net, folder)
        except EngineError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(folder)
    return merged


def _was(source: str) -> str:
    """What kind of numbers the model under an adapter is saved in, where that is another."""
    from postlude.models import files
    from postlude.models.adapters import base_path

    base = Path(base_path(source)).expanduser()
    kinds = {one.dtype for one in files.whole(base).values()} - {"F32"} if base.is_dir() else set[str]()
    return f" (the one under the adapter holds {', '.join(sorted(kinds))} numbers)" if kinds else ""
