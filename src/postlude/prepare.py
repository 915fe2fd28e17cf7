"""From a recipe to what a run needs: data, rewards and tokenizer checked, then engine and streams built.

The only place where concrete engines and sources are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postlude.config import Document
from postlude.data import Group, Prompt
from postlude.engines.protocol import Engine
from postlude.errors import ConfigError, DataError
from postlude.models.chat import Renderer
from postlude.models.load import Facts, inspect, problems_of_path
from postlude.recipe import Recipe, in_order, resolve_with_problems
from postlude.rewards.compose import Rewards
from postlude.sources import file as rows
from postlude.sources.file import Cursor, FileSource
from postlude.sources.rollout import RolloutSource
from postlude.train import Stream


@dataclass
class Prepared:
    """Everything a run needs except the weights, already checked."""

    recipe: Recipe
    facts: Facts = None  # type: ignore[assignment]  # the three are set by `prepare`, or it reports why not
    renderer: Renderer = None  # type: ignore[assignment]
    rewards: Rewards = None  # type: ignore[assignment]
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    items: list[Group] = field(default_factory=list[Group])
    held_out: list[Prompt] = field(default_factory=list[Prompt])
    rejected: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])


def check(document: Document) -> Prepared:
    """Recipe, data, rewards, tokenizer and model config: everything wrong with any of them is raised at once.

    No weights are read. A hub id is only looked up when nothing else is wrong.
    """
    recipe, problems = resolve_with_problems(document)
    if recipe is None:
        raise ConfigError(in_order(problems))
    prepared = Prepared(recipe)
    local = Path(recipe.model.path).expanduser().exists()
    problems += prepare(prepared, look_up=local or not problems)
    if problems:
        raise ConfigError(in_order(problems))
    return prepared


def prepare(prepared: Prepared, look_up: bool = True) -> list[str]:
    """Fill `prepared` from its recipe: rewards, tokenizer and config, data. Returns every problem found."""
    recipe = prepared.recipe
    problems: list[str] = []

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except (ConfigError, DataError) as error:
            problems.extend(error.problems)
            return None

    prepared.rewards = attempt(lambda: Rewards.of(recipe.reward))
    if look_up and recipe.model.path:
        prepared.facts = attempt(lambda: inspect(recipe.model, recipe.sampling.stop))
    elif recipe.model.path:
        problems += problems_of_path(recipe.model.path)
    if prepared.facts:
        prepared.renderer = Renderer(prepared.facts.tokenizer, prepared.facts.stop_ids)
    if recipe.data.path:
        attempt(lambda: _read_train(prepared, rows.read(recipe.data.path, recipe.data.split)))
    if recipe.data.eval:
        held_out = attempt(
            lambda: _read_prompts(
                prepared, rows.read(recipe.data.eval or "", recipe.data.eval_split or recipe.data.split)
            )
        )
        prepared.held_out = held_out or []
    if prepared.rewards is not None:
        for found in (prepared.prompts, prepared.held_out):
            if found:
                problems += prepared.rewards.missing_columns(set.union(*({*p.columns} for p in found)))
    return problems + _shared(prepared)


def _read_train(prepared: Prepared, table: rows.Table) -> None:
    recipe = prepared.recipe
    if recipe.algorithm.source == "rollout":
        prepared.prompts = _read_prompts(prepared, table)
        return
    if prepared.renderer is None:
        rows.detect(table)
        return
    prepared.items = rows.groups(table, prepared.renderer, prepared.facts.context, prepared.facts.vocabulary)
    _settle(prepared, table)


def _read_prompts(prepared: Prepared, table: rows.Table) -> list[Prompt]:
    found = rows.prompts(table)
    if prepared.renderer is not None:
        context, answer = prepared.facts.context, prepared.recipe.sampling.max_tokens
        if context is not None and answer >= context:
            raise DataError(
                f"sampling.max_tokens is {answer}, so prompt and answer exceed the model's context of {context}. "
                "Lower it."
            )
        _need_template(prepared, found, table.path)
        found = [p for p in render(found, table, prepared.renderer) if _fits(p, prepared, table)]
    _settle(prepared, table, len(found))
    return found


def render(found: list[Prompt], table: rows.Table, renderer: Renderer) -> Iterator[Prompt]:
    """The prompts with their ids; one that cannot be rendered is rejected by its row."""
    for prompt in found:
        try:
            yield renderer.with_tokens(prompt)
        except DataError as error:
            table.reject(prompt.place, str(error))


def _need_template(prepared: Prepared, found: list[Prompt], path: str) -> None:
    chat = any(not isinstance(p.messages, str) for p in found)
    if chat and not prepared.facts.tokenizer.chat_template:
        raise DataError(
            f"{path}: prompts are chat messages, but the tokenizer of {prepared.recipe.model.path!r} has no chat "
            "template. Use plain text prompts, or give model.chat_template (a Jinja file)."
        )


def _fits(prompt: Prompt, prepared: Prepared, table: rows.Table) -> bool:
    where = prompt.place
    context, answer = prepared.facts.context, prepared.recipe.sampling.max_tokens
    if not prompt.tokens:
        table.reject(where, "the prompt has no token")
        return False
    beyond = [t for t in prompt.tokens if t >= prepared.facts.vocabulary]
    if beyond:
        table.reject(where, f"token id {beyond[0]} is beyond the model's vocabulary of {prepared.facts.vocabulary}")
        return False
    if context is None or len(prompt.tokens) + answer <= context:
        return True
    table.reject(
        where,
        f"prompt of {len(prompt.tokens)} tokens + sampling.max_tokens {answer} exceed the model's context of "
        f"{context}; shorten the prompt or lower sampling.max_tokens",
    )
    return False


def _settle(prepared: Prepared, table: rows.Table, used: int | None = None) -> None:
    """Refuse or count bad rows: rows used + rejected = rows read."""
    used = len(table.rows) if used is None else used
    if used == 0 and not table.problems:
        raise DataError(f"{table.path}: 0 rows.")
    table.require_clean(prepared.recipe.data.on_bad_row)
    if used == 0:
        raise DataError([*table.problems[: rows.MAX_SHOWN], f"{table.path}: no usable row is left of {table.read}."])
    prepared.rejected += table.problems
    prepared.counts |= {
        f"{table.path} read": table.read,
        f"{table.path} used": used,
        f"{table.path} rejected": table.read - used,
    }


def _shared(prepared: Prepared) -> list[str]:
    """Held-out prompts that are also trained on."""
    trained = {p.text for p in prepared.prompts} | {g.prompt.text for g in prepared.items}
    both = [p for p in prepared.held_out if p.text in trained]
    if not both:
        return []
    return [
        f"data.eval: {len(both)} of {len(prepared.held_out)} held-out prompts are also in data.path, so they would "
        f"measure memory: first {both[0].text[:60]!r}. Remove them from one of the files."
    ]


def build_engine(prepared: Prepared, weights: str | None = None, reference: bool | None = None) -> Engine:
    """The local engine with the recipe's model. `weights`: a checkpoint to continue from."""
    import torch

    from postlude.engines.local.engine import LocalEngine

    recipe = prepared.recipe
    torch.manual_seed(recipe.seed)  # a fresh adapter's weights
    needed = "reference" in recipe.objective.needs if reference is None else reference
    return LocalEngine.start(
        recipe.model,
        prepared.facts,
        recipe.optimizer,
        recipe.token_budget,
        keep_reference=needed,
        dropout=recipe.algorithm.source == "file",
        threads=recipe.threads,
        cache_gib=recipe.cache_gib,
        checkpoint=weights,
    )


def build_streams(prepared: Prepared, engine: Engine, on_phase: Callable[[str], None]) -> list[Stream]:
    """The streams of a recipe: one source with its objective."""
    recipe = prepared.recipe
    size = recipe.prompts_per_step
    source: FileSource | RolloutSource
    if recipe.algorithm.source == "file":
        source = FileSource(prepared.items, size, Cursor(len(prepared.items), recipe.seed))
    else:
        source = RolloutSource(
            prepared.prompts,
            engine.sampler,
            prepared.rewards,
            recipe.sampling,
            size,
            recipe.group_size,
            Cursor(len(prepared.prompts), recipe.seed),
            recipe.seed,
            recipe.keep,
            recipe.shaping,
            on_phase,
        )
    temperature = recipe.sampling.temperature if recipe.algorithm.source == "rollout" else 1.0
    return [Stream(recipe.method, source, recipe.objective, recipe.updates, recipe.epochs, temperature)]
