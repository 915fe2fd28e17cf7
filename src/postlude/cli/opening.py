"""Opening a policy to sample from, loaded here or served elsewhere: shared by `sample` and `eval`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postlude.cli.data import named_columns
from postlude.cli.waiting import Waiting, tell
from postlude.data import Prompt
from postlude.engines.openai import OpenAISampler
from postlude.engines.protocol import Sampler
from postlude.engines.settings import Local, Sampling, Served
from postlude.errors import ConfigError, DataError
from postlude.models.chat import Renderer
from postlude.models.load import Facts
from postlude.models.spec import ModelSpec
from postlude.recipe import documents
from postlude.sources import file as rows
from postlude.sources.file import Reading, Table
from postlude.sources.unused import render
from postlude.words import counted


@dataclass(frozen=True)
class Policy:
    """What the command line names: a model, how it is sampled, and the server that does it, where there is one."""

    model: ModelSpec
    sampling: Sampling
    served: Served | None = None
    engine: Local = Local()


@dataclass(frozen=True)
class Opened:
    """A policy ready to answer, with its tokenizer."""

    path: str
    facts: Facts
    renderer: Renderer
    sampler: Sampler

    def prompts(self, table: Table, limit: int | None, reading: Reading | None = None) -> list[Prompt]:
        """The first `limit` prompts of a file, rendered; any bad row is an error."""
        found = list(render(rows.prompts(table, reading), table, self.renderer))
        table.require_clean("stop", None)
        tell(table.notes)
        return found[:limit]

    def check_lengths(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        """Prompts that leave no room for an answer, or that the model has no rows for, are an error."""
        empty = [p for p in prompts if not p.tokens]
        if empty:
            raise DataError("a prompt without any token cannot be answered; give some text.")
        beyond = [t for p in prompts for t in p.tokens if t >= self.facts.vocabulary]
        if beyond:
            raise DataError(
                f"a prompt holds {self.facts.tokenizer.convert_ids_to_tokens(beyond[0])!r} (id {beyond[0]}), which "
                f"is beyond the {self.facts.vocabulary} rows of the model's vocabulary."
            )
        context = self.facts.context
        if context is None:
            return
        long = [p for p in prompts if len(p.tokens) + sampling.max_tokens > context]
        if long:
            raise DataError(
                f"{len(long)} of {counted(len(prompts), 'prompt')} do not fit: {len(long[0].tokens)} tokens + "
                f"--max-tokens {sampling.max_tokens} exceed the model's context of {context}. Lower --max-tokens."
            )


def own_part(path: str, part: str) -> dict[str, Any]:
    """A part of a recipe, or of that of a run folder; empty for any other model."""
    given = Path(path).expanduser()
    recipe = given if is_recipe(path) else given / "config.yaml"
    found = documents.read(recipe).values.get(part) if recipe.exists() else {}
    return found if isinstance(found, dict) else {}


def reading_of(path: str, columns: str | None, chat: bool | None) -> Reading:
    """How a file of prompts is read; whether text becomes chat is as in the run's own data where not given."""
    named = named_columns(columns)
    return Reading(named, bool(own_part(path, "data").get("chat")) if chat is None else chat, "--columns", "--columns")


def is_recipe(path: str) -> bool:
    """Whether MODEL is a recipe file rather than a model."""
    return path.endswith((".yaml", ".yml"))


def policy_of(path: str, given: Mapping[str, Any], url: str | None = None, served_model: str | None = None) -> Policy:
    """The policy of MODEL and the flags; `given` holds the sampling flags by name, None where one was not used.

    A recipe brings its own model, sampling and server; a run folder its newest checkpoint, length and stop strings.
    """
    own = _from_recipe(path) if is_recipe(path) else _from_folder(path)
    flags = {k: v for k, v in given.items() if v is not None and v != []}
    sampling = drawn(own.sampling, {k: tuple(v) if k == "stop" else v for k, v in flags.items()})
    return replace(own, sampling=sampling, served=_served(own.served, url, served_model))


def drawn(own: Sampling, flags: Mapping[str, Any]) -> Sampling:
    """Sampling with some fields replaced. Raises ConfigError with every option that lies outside its limits."""
    try:
        return replace(own, **flags)
    except ValueError as error:
        wrong = [text.partition(" ") for text in str(error).split("; ")]
        raise ConfigError([f"--{name.replace('_', '-')} {rest}" for name, _, rest in wrong]) from error


def _from_recipe(path: str) -> Policy:
    from postlude.recipe import documents
    from postlude.recipe.resolve import frozen

    found = frozen(documents.read(Path(path).expanduser()))
    return Policy(found.model, found.sampling, found.sampler, found.engine)


def _from_folder(path: str) -> Policy:
    own = own_part(path, "sampling")
    length = {"max_tokens": own["max_tokens"]} if own.get("max_tokens") else {}
    return Policy(ModelSpec(path), Sampling(**length, stop=tuple(own.get("stop") or ())))


def _served(own: Served | None, url: str | None, model: str | None) -> Served | None:
    if url is None and own is None:
        if model is not None:
            raise ConfigError("--served-model names a model on a server; give its --url too.")
        return None
    changes: dict[str, Any] = {k: v for k, v in (("url", url), ("model", model)) if v is not None}
    try:
        return replace(own, **changes) if own else Served(**changes)
    except ValueError as error:
        raise ConfigError(f"--url: {error}") from error


def open_sampler(policy: Policy) -> Opened:
    """Load the model of a folder, hub id or run; or its tokenizer only, and find the server."""
    from postlude.models.heads import is_scorer
    from postlude.models.load import inspect
    from postlude.runs.checkpoints import latest_model, unfinished

    left = unfinished(policy.model.path)
    if left:
        tell([left])
    spec = replace(policy.model, path=latest_model(policy.model.path))
    with Waiting(f"opening {policy.model.path}"):
        facts = inspect(spec, policy.sampling.stop)
        if is_scorer(facts.config):
            raise ConfigError(
                f"{policy.model.path!r} is a reward model: it scores answers and writes none. See postlude eval."
            )
        sampler = _remote(policy.served, facts) if policy.served else _local(spec, policy.engine, facts)
    tell(facts.notes)
    return Opened(spec.path, facts, Renderer(facts.tokenizer, facts.stop_ids), sampler)


def _remote(served: Served, facts: Facts) -> Sampler:
    sampler = OpenAISampler(served, facts.tokenizer, facts.stop_ids, facts.vocabulary)
    asyncio.run(sampler.check())
    return sampler


def _local(spec: ModelSpec, held: Local, facts: Facts) -> Sampler:
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.local.memory import Work

    engine = LocalEngine.start(spec, facts, held=held, work=Work(trains=False))
    if slow := engine.describe()["slow"]:
        tell([slow])
    return engine.sampler


def about(opened: Opened) -> dict[str, Any]:
    """Which policy answered, for a report."""
    if not isinstance(opened.sampler, OpenAISampler):
        return {"model": opened.path}
    return {"model": opened.path, "served": {"url": opened.sampler.served.url, "model": opened.sampler.model}}
