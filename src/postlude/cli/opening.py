"""Opening a model to sample from: shared by `sample` and `eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from postlude.data import Prompt
from postlude.engines.protocol import Sampler, Sampling
from postlude.errors import ConfigError, DataError
from postlude.models.chat import Renderer
from postlude.models.load import Facts
from postlude.prepare import render
from postlude.sources import file as rows
from postlude.sources.file import Reading, Table


@dataclass(frozen=True)
class Opened:
    """A loaded model with its tokenizer."""

    path: str
    facts: Facts
    renderer: Renderer
    sampler: Sampler

    def prompts(self, table: Table, limit: int | None, reading: Reading | None = None) -> list[Prompt]:
        """The first `limit` prompts of a file, rendered; any bad row is an error."""
        found = list(render(rows.prompts(table, reading), table, self.renderer))
        table.require_clean("stop")
        return found[:limit]

    def check_lengths(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        """Prompts that leave no room for an answer are an error."""
        empty = [p for p in prompts if not p.tokens]
        if empty:
            raise DataError("a prompt without any token cannot be answered; give some text.")
        context = self.facts.context
        if context is None:
            return
        long = [p for p in prompts if len(p.tokens) + sampling.max_tokens > context]
        if long:
            raise DataError(
                f"{len(long)} of {len(prompts)} prompts do not fit: {len(long[0].tokens)} tokens + --max-tokens "
                f"{sampling.max_tokens} exceed the model's context of {context}. Lower --max-tokens."
            )


def _own(path: str, part: str) -> dict[str, Any]:
    """A part of the recipe of a run folder; empty for any other model."""
    recipe = Path(path).expanduser() / "config.yaml"
    return (yaml.safe_load(recipe.read_text()).get(part) or {}) if recipe.exists() else {}


def reading_of(path: str, columns: str | None, chat: bool | None) -> Reading:
    """How a file of prompts is read; whether text becomes chat is as in the run's own data where not given."""
    try:
        named = yaml.safe_load(columns) if columns else {}
    except yaml.YAMLError:
        named = None
    if not isinstance(named, dict) or not all(isinstance(x, str) for pair in named.items() for x in pair):
        raise ConfigError(f"--columns must be a mapping such as '{{prompt: question}}', found {columns!r}.")
    return Reading(named, bool(_own(path, "data").get("chat")) if chat is None else chat, "--columns", "--columns")


def sampling_of(
    path: str, temperature: float, top_p: float, top_k: int, max_tokens: int | None, stop: Sequence[str] | None
) -> Sampling:
    """Sampling settings from the command line; length and stop strings of a run folder are its own where not given."""
    own = _own(path, "sampling")
    length = max_tokens if max_tokens is not None else own.get("max_tokens", 256)
    ends = tuple(stop) if stop else tuple(own.get("stop") or ())
    try:
        return Sampling(temperature, top_p, top_k, length, ends)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise ConfigError(f"--{name.replace('_', '-')} {rest}") from error


def open_sampler(path: str, sampling: Sampling) -> Opened:
    """Load the model of a folder, hub id or run for sampling."""
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.local.trainer import Optimizer
    from postlude.models.load import ModelSpec, inspect
    from postlude.run import latest_model

    model = latest_model(path)
    spec = ModelSpec(model)
    facts = inspect(spec, sampling.stop)
    engine = LocalEngine.start(spec, facts, Optimizer(), 16384, keep_reference=False)
    return Opened(model, facts, Renderer(facts.tokenizer, facts.stop_ids), engine.sampler)
