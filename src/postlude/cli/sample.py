"""postlude sample"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postlude.cli.options import (
    MOST_ANSWERS,
    MaxTokens,
    Model,
    ServedModel,
    Stop,
    Temperature,
    TopK,
    TopP,
    Url,
    require_read,
)
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError
from postlude.terminal import Screen, bold, dim, joined
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.cli.waiting import Waiting
    from postlude.rewards.rewards import Rewards


def sample(
    context: typer.Context,
    model: Model,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A prompt; can be given several times.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A file of prompts instead (JSONL, CSV, Parquet).")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of --data as YAML, e.g. '{prompt: question}'.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=MOST_ANSWERS, help="Answers per prompt.")] = 1,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    stop: Stop = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            help="Send text as a user message. Default: --prompt where there is a template, --data as the run did."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same answers.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts of --data.")] = None,
    url: Url = None,
    served_model: ServedModel = None,
    best_by: Annotated[
        str | None,
        typer.Option(help="Best of n: only the answer with the highest reward of each prompt (a built-in or path)."),
    ] = None,
    reward_args: Annotated[str | None, typer.Option(help="Arguments of a built-in --best-by, as YAML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per answer.")] = False,
) -> None:
    """Let a model answer prompts.

    postlude sample runs/grpo-1 --prompt '123412=' -n 4
    postlude sample my-model --data prompts.jsonl --limit 5 --temperature 0 --json
    postlude sample runs/sft-1 --data prompts.jsonl -n 16 --best-by model --reward-args '{path: runs/reward_model-1}'
    postlude sample my-model --url http://localhost:8000/v1 --data prompts.jsonl -n 8 --json
    """
    from postlude.alarms import cut_off_in
    from postlude.cli.opening import open_sampler, policy_of, reading_of
    from postlude.cli.waiting import sampling
    from postlude.rollouts.rollout import answer
    from postlude.sources import file as rows

    if bool(prompt) == bool(data):
        raise ConfigError("give either --prompt (once or more) or --data FILE.")
    if not data:
        require_read(context, "there is no --data", "columns", "limit")
    if not best_by:
        require_read(context, "there is no --best-by", "reward_args")
    flags = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "stop": stop}
    policy = policy_of(model, flags, url, served_model)
    settings = policy.sampling
    reading = reading_of(model, columns, chat)
    opened = open_sampler(policy)
    if data:
        prompts = opened.prompts(rows.read(data), limit, reading)
    else:
        as_chat = bool(opened.facts.tokenizer.chat_template) if chat is None else chat
        wrap: Any = lambda p: [{"role": "user", "content": p}] if as_chat else p
        prompts = [opened.renderer.with_tokens(Prompt(str(i), wrap(p))) for i, p in enumerate(prompt or [])]
    opened.check_lengths(prompts, settings)
    rewards = _judge(best_by, reward_args, opened.facts.tokenizer, prompts) if best_by else None
    with sampling(opened.sampler) as waiting:
        inbox = InOrder(lambda group: _show(group, as_json, waiting))
        hear = inbox.add if rewards is None else _quietly
        groups = asyncio.run(answer(opened.sampler, prompts, count, settings, seed, "sample", hear))
    for group in _best(groups, rewards) if rewards else ():
        _print(group, as_json)
    note = cut_off_in([c for g in groups for c in g.completions])
    if note and not as_json:  # there every row says why it stopped
        Screen(stderr=True).print(f"note: {note}", soft_wrap=True)


@dataclass
class InOrder:
    """Passes groups on in the order of their prompts, each as soon as those before it are there."""

    take: Callable[[Group], None]
    waiting: dict[int, Group] = field(default_factory=dict[int, Group])
    next: int = 0

    def add(self, place: int, group: Group) -> None:
        self.waiting[place] = group
        while self.next in self.waiting:
            self.take(self.waiting.pop(self.next))
            self.next += 1


def _quietly(place: int, group: Group) -> None:
    """The best answer is known only once all are there."""


def _show(group: Group, as_json: bool, waiting: Waiting) -> None:
    with waiting.aside():
        _print(group, as_json)


def _judge(use: str, given: str | None, tokenizer: Any, prompts: list[Prompt]) -> Rewards:
    """The reward that picks; the columns it needs are there."""
    from postlude.check import equip
    from postlude.cli.scoring import rewards_of

    rewards = rewards_of([use], given)
    problems = rewards.missing_columns({name for p in prompts for name in p.columns})
    if problems:
        raise ConfigError(problems)
    equip(rewards, tokenizer)
    return rewards


def _best(groups: list[Group], rewards: Rewards) -> list[Group]:
    """The first of the best answers of each prompt; prompts whose answers were all unscorable keep none."""
    scored = asyncio.run(rewards.score(groups)).groups
    found = [max(g.scored, key=lambda c: c.reward or 0.0) for g in scored if g.scored]
    lost = len(scored) - len(found)
    if lost:
        Screen(stderr=True).print(f"{lost} of {counted(len(scored), 'prompt')}: no answer could be scored")
    return [replace(g, completions=(c,)) for g, c in zip([g for g in scored if g.scored], found, strict=True)]


def _print(group: Group, as_json: bool) -> None:
    for completion in group.completions:
        _print_answer(group, completion, as_json)


def _print_answer(group: Group, completion: Completion, as_json: bool) -> None:
    if as_json:
        row = {"prompt": group.prompt.messages, "completion": completion.text}
        row |= {"reward": completion.reward} if completion.reward is not None else {}
        print(json.dumps({**row, "stop": completion.stop, "tokens": completion.length}), flush=True)
        return
    console = Screen()
    console.print(joined(dim(group.prompt.text), " "), end="", soft_wrap=True)
    score = f", reward {completion.reward:g}" if completion.reward is not None else ""
    how = dim(f"{completion.stop}, {counted(completion.length, 'token')}{score}")
    console.print(joined(bold(completion.text), "  ", how), soft_wrap=True)
