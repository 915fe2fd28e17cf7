"""Opening a policy to sample from, loaded here or served elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from postlude.cli.closing import at_end
from postlude.cli.options import SamplingOptions
from postlude.cli.waiting import Waiting, tell
from postlude.data import Prompt
from postlude.engines.openai import OpenAISampler
from postlude.engines.protocol import Sampler
from postlude.engines.settings import Local, Sampling, Served, Servers
from postlude.errors import ConfigError, DataError, Problem
from postlude.models.chat import Renderer
from postlude.models.load import Facts
from postlude.models.spec import ModelSpec
from postlude.process import ended_like_by_ctrl_c
from postlude.recipe import documents, serving
from postlude.recipe.foreign.conversions import VLLM_PYTHON
from postlude.sources.table import MAX_RECORD
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

    def check_lengths(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        """Prompts that leave no room for an answer, or that the model has no rows for, are an error."""
        empty = [p for p in prompts if not p.tokens]
        if empty:
            raise DataError("a prompt without any token cannot be answered; give some text.", code="empty-field")
        beyond = [t for p in prompts for t in p.tokens if t >= self.facts.vocabulary]
        if beyond:
            raise DataError(
                f"a prompt holds {self.facts.tokenizer.convert_ids_to_tokens(beyond[0])!r} (id {beyond[0]}), which "
                f"is beyond the {self.facts.vocabulary} rows of the model's vocabulary.",
                code="token-beyond-vocabulary",
            )
        context = self.facts.context
        if context is None:
            return
        long = [p for p in prompts if len(p.tokens) + sampling.max_tokens > context]
        if long:
            raise DataError(
                f"{len(long)} of {counted(len(prompts), 'prompt')} do not fit: {len(long[0].tokens)} tokens + "
                f"--max-tokens {sampling.max_tokens} exceed the model's context of {context}. Lower --max-tokens.",
                code="too-long",
            )

    def about(self) -> dict[str, Any]:
        """Which policy answered, for a report."""
        from postlude.engines.servers.frozen import FrozenServers

        if isinstance(self.sampler, OpenAISampler):
            return {"model": self.path, "served": {"url": self.sampler.served.url, "model": self.sampler.model}}
        return {"model": self.path} | (self.sampler.about() if isinstance(self.sampler, FrozenServers) else {})


# ------------------------------------------------------------------------------------------------------- naming it


def is_recipe(path: str) -> bool:
    """Whether MODEL is a recipe file rather than a model."""
    return path.endswith((".yaml", ".yml"))


def recipe_part(path: str, part: str) -> dict[str, Any]:
    """A part of a recipe, or of that of a run folder; empty for any other model."""
    place = Path(path).expanduser()
    recipe = place if is_recipe(path) else place / "config.yaml"
    values = documents.read(recipe).values.get(part) if recipe.exists() else {}
    return values if isinstance(values, dict) else {}


def reads_chat(path: str | None) -> bool:
    """Whether a recipe, or that of a run folder, makes chat of the text in its data."""
    return bool(path and recipe_part(path, "data").get("chat"))


def form_of_prompts(path: str) -> Literal["text", "messages"] | None:
    """What the prompts of a run's training were, or of a recipe's; None where neither settings nor a row tell.

    Rows are looked for in what the run wrote, and in its data where those are JSON lines on this machine.
    """
    if reads_chat(path):
        return "messages"
    folder, data = Path(path).expanduser(), recipe_part(path, "data")
    columns = data.get("columns") or {}
    places = [*sorted(folder.glob("rollouts/*.jsonl"))[:1], folder / "eval.jsonl", Path(str(data.get("path")))]
    for place in places:
        row = _first_row(place)
        prompt = row.get("prompt", row.get(columns.get("prompt", "prompt")))
        if isinstance(prompt, list) or {"messages", "conversations"} & {*row}:
            return "messages"
        if isinstance(prompt, str):
            return "text"
    return None


def _first_row(place: Path) -> dict[str, Any]:
    """Of a file of JSON lines; empty for anything else."""
    if place.suffix != ".jsonl" or not place.is_file():
        return {}
    try:
        with place.open(encoding="utf-8-sig") as file:
            row = json.loads(file.readline(MAX_RECORD))
    except (OSError, ValueError):  # who reads it whole says what is wrong
        return {}
    return row if isinstance(row, dict) else {}


def policy_of(path: str, options: SamplingOptions) -> Policy:
    """The policy of MODEL and the options.

    A recipe brings its own model, sampling and server; a run folder its newest checkpoint, length and stop strings.
    """
    policy = _from_recipe(path) if is_recipe(path) else _from_folder(path)
    sampling = sampling_of(policy.sampling, options.sampling)
    served = _served(policy.served, options.url, options.served_model)
    engine = replace(policy.engine, servers=_servers(policy.engine.servers, options))
    if wrong := serving.both(engine, served):
        raise ConfigError(wrong, code="contradiction")
    return replace(policy, sampling=sampling, served=served, engine=engine)


def sampling_of(base: Sampling, flags: Mapping[str, Any]) -> Sampling:
    """Sampling with some fields replaced. Raises ConfigError with every option that lies outside its limits."""
    try:
        return replace(base, **flags)
    except ValueError as error:
        wrong = [text.partition(" ") for text in str(error).split("; ")]
        options = [(f"--{name.replace('_', '-')}", rest) for name, _, rest in wrong]
        raise ConfigError([Problem("out-of-range", f"{name} {rest}", key=name) for name, rest in options]) from error


def _from_recipe(path: str) -> Policy:
    from postlude.recipe import frozen

    recipe = frozen(documents.read(Path(path).expanduser()))
    return Policy(recipe.model, recipe.sampling, recipe.sampler, recipe.engine)


def _from_folder(path: str) -> Policy:
    run = recipe_part(path, "sampling")
    length = {"max_tokens": run["max_tokens"]} if run.get("max_tokens") else {}
    return Policy(ModelSpec(path), Sampling(**length, stop=tuple(run.get("stop") or ())))


def _served(base: Served | None, url: str | None, model: str | None) -> Served | None:
    if url is None and base is None:
        if model is not None:
            raise ConfigError("--served-model names a model on a server; give its --url too.", code="missing-option")
        return None
    changes: dict[str, Any] = {k: v for k, v in (("url", url), ("model", model)) if v is not None}
    try:
        return replace(base, **changes) if base else Served(**changes)
    except ValueError as error:
        raise ConfigError(f"--url: {error}", code="wrong-type") from error


def _servers(base: Servers | None, options: SamplingOptions) -> Servers | None:
    """Those that are started for this; the options go over a recipe's."""
    if options.servers is None and options.servers_python is not None and base is None:
        raise ConfigError(
            "--servers-python is what servers run under; say how many: --servers 1.", code="missing-option"
        )
    base = base or (Servers(options.servers, python=VLLM_PYTHON) if options.servers else None)
    if base is None:
        return None
    if base.urls:
        raise ConfigError(
            "engine.servers.urls are servers that a run gives its weights to, and this command has none to give. Let "
            "one of them answer with the weights that it has (--url, or sampler.url), or start servers on this model "
            "(--servers 1, or engine.servers.count).",
            code="contradiction",
            key="engine.servers.urls",
        )
    return replace(base, count=options.servers or base.count, python=options.servers_python or base.python)


# ------------------------------------------------------------------------------------------------------ opening it


def open_sampler(policy: Policy) -> Opened:
    """Load the model of a folder, hub id or run; or its tokenizer only, and find the server."""
    from postlude.models.heads import is_scorer
    from postlude.models.load import inspect
    from postlude.runs.checkpoints import latest_model, unfinished

    left = unfinished(policy.model.path)
    if left:
        tell([left])
    spec = replace(policy.model, path=latest_model(policy.model.path, lambda text: tell([text])))
    with Waiting(f"opening {policy.model.path}"):
        facts = inspect(spec, policy.sampling.stop)
        if is_scorer(facts.config):
            raise ConfigError(
                f"{policy.model.path!r} is a reward model: it scores answers and writes none. See postlude eval.",
                code="reward-model-cannot-write",
            )
        sampler = _sampler(policy, spec, facts)
    tell(facts.notes)
    return Opened(spec.path, facts, Renderer(facts.tokenizer, facts.stop_ids), sampler)


def _sampler(policy: Policy, spec: ModelSpec, facts: Facts) -> Sampler:
    if policy.served:
        return _remote(policy.served, facts)
    return _started(spec, policy.engine, facts) if policy.engine.servers else _local(spec, policy.engine, facts)


def _started(spec: ModelSpec, held: Local, facts: Facts) -> Sampler:
    """vLLM servers on the model's folder, from the first question on until the command ends."""
    from postlude.engines.servers.frozen import FrozenServers

    sampler = FrozenServers.of(spec.path, held, facts, lambda text: tell([text]))
    signals = ExitStack()
    signals.enter_context(ended_like_by_ctrl_c())
    at_end(signals.close)
    at_end(sampler.close)
    return sampler


def _remote(served: Served, facts: Facts) -> Sampler:
    sampler = OpenAISampler(served, facts.tokenizer, facts.stop_ids, facts.vocabulary)
    asyncio.run(sampler.check())
    return sampler


def _local(spec: ModelSpec, held: Local, facts: Facts) -> Sampler:
    from postlude.engines.local.engine import LocalEngine
    from postlude.sizing.work import Work

    engine = LocalEngine.start(spec, facts, held=held, work=Work(trains=False))
    if slow := engine.describe()["slow"]:
        tell([slow])
    return engine.sampler
