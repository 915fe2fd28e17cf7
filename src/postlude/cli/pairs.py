"""postlude pairs"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postlude.cli.data import Columns, Force, list_left_out, sums
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
    require_free,
    require_read,
)
from postlude.terminal import Screen, colored

if TYPE_CHECKING:
    from postlude.cli.opening import Opened
    from postlude.data import Completion, Group, Prompt
    from postlude.engines.settings import Sampling
    from postlude.feedback.sampled import Choosing, Paired
    from postlude.rewards.rewards import Rewards
    from postlude.sources.file import Table

AT_A_TIME = 64
"""Prompts answered and scored before their pairs are written."""


class Which(StrEnum):
    """Which answers are paired."""

    best_worst = "best-worst"
    all = "all"


class Side(StrEnum):
    """A side of a pair."""

    chosen = "chosen"
    rejected = "rejected"


@dataclass(frozen=True)
class Task:
    """What is sampled, scored and paired."""

    opened: Opened
    sampling: Sampling
    rewards: Rewards
    choosing: Choosing
    count: int
    seed: int


def pairs(
    context: typer.Context,
    model: Model,
    data: Annotated[str, typer.Option(help="Prompts: JSONL, CSV, Parquet, a saved data set, or hf:OWNER/NAME.")],
    out: Annotated[Path, typer.Option(help="The JSONL file of pairs.")],
    reward: Annotated[
        list[str] | None,
        typer.Option(help="A built-in (`model` is a reward model) or my_rewards.py:fn; repeatable."),
    ] = None,
    reward_args: Annotated[
        str | None, typer.Option(help="Arguments of the first, built-in reward as YAML, e.g. '{path: runs/rm}'.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=MOST_ANSWERS, help="Answers per prompt.")] = 8,
    which: Annotated[Which, typer.Option("--pairs", help="Which answers are paired.")] = Which.best_worst,
    margin: Annotated[float, typer.Option(help="Least difference of rewards for a pair.")] = 0.0,
    given: Annotated[
        Side | None, typer.Option(help="The data hold this side of each pair; the model's answers are the other.")
    ] = None,
    drop_truncated: Annotated[
        bool, typer.Option("--drop-truncated", help="Leave out answers the length limit cut.")
    ] = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    stop: Stop = None,
    seed: Annotated[int, typer.Option(help="Same seed, same answers.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts.")] = None,
    columns: Columns = None,
    chat: Annotated[
        bool | None, typer.Option(help="Send text prompts as user messages. Default: as the run did, else not.")
    ] = None,
    url: Url = None,
    served_model: ServedModel = None,
    force: Force = False,
) -> None:
    """Make preference pairs of a model's own answers: sample, score, pair the better with the worse.

    postlude pairs runs/sft-1 --data prompts.jsonl --reward model --reward-args '{path: runs/rm}' --out pairs.jsonl
    postlude pairs runs/sft-1 --data written.jsonl --given chosen --columns '{chosen: answer}' --out pairs.jsonl
    """
    from postlude.check import equip
    from postlude.cli.opening import open_sampler, policy_of, reading_of
    from postlude.cli.scoring import require_columns, rewards_of
    from postlude.feedback.sampled import DROPPED, Choosing
    from postlude.sources import file as rows

    require_free(out, force, "--out")
    if not reward:
        require_read(context, "there is no --reward", "reward_args")
    side = given.value if given else None
    choosing = Choosing(which.value, margin, side, bool(reward), drop_truncated)
    flags = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "stop": stop}
    policy = policy_of(model, flags, url, served_model)
    if side is None:
        _require_different(count, policy.sampling.temperature)
    rewards = rewards_of(reward or [], reward_args)
    table, reading = rows.read(data), reading_of(model, columns, chat)
    rows.recognise(table, "prompts", reading)
    require_columns(rewards, table, reading)
    opened = open_sampler(policy)
    equip(rewards, opened.facts.tokenizer, opened.facts.stop_ids)
    prompts = _prompts(opened, table, limit, reading, choosing)
    opened.check_lengths(prompts, policy.sampling)
    found = asyncio.run(_make(Task(opened, policy.sampling, rewards, choosing, count, seed), prompts, out))
    _print(found, out, bool(reward))
    list_left_out(table.columns & DROPPED, "other answers than the new pairs'")
    if not found.rows:
        raise typer.Exit(1)


def _require_different(count: int, temperature: float) -> None:
    """Two answers that may differ, where both sides of a pair are the model's own."""
    from postlude.errors import ConfigError

    if count < 2:
        raise ConfigError(f"-n is {count}, and a pair takes two answers; use at least 2 (8 is the default).")
    if temperature == 0:
        raise ConfigError("--temperature is 0: every answer to a prompt would be the same, and make no pair; use 1.")


def _prompts(opened: Opened, table: Table, limit: int | None, reading: Any, choosing: Choosing) -> list[Prompt]:
    """The prompts; a given side must have the form of its prompt."""
    from postlude.errors import DataError
    from postlude.feedback.sampled import given_text

    prompts = opened.prompts(table, limit, reading)
    side = choosing.given
    if side is None:
        return prompts
    result = []
    for prompt in prompts:
        try:
            given_text(prompt.columns.get(side), prompt.messages, side)
            result.append(prompt)
        except DataError as error:
            table.reject(prompt.place, str(error))
    if table.problems:
        kept = {p.place for p in result}
        table.rows = [row for row in table.rows if row.where in kept]
        table.require_clean("stop", None)
    return result


async def _make(task: Task, prompts: list[Prompt], out: Path) -> Paired:
    """Sample, score and pair, part by part; the file is put in place at the end."""
    from postlude.cli.waiting import sampling
    from postlude.feedback.sampled import Paired

    found, part = Paired(), out.with_name(out.name + ".part")
    with part.open("w", encoding="utf-8") as file, sampling(task.opened.sampler) as waiting:
        for start in range(0, len(prompts), AT_A_TIME):
            end = min(start + AT_A_TIME, len(prompts))
            waiting.doing = f"prompts {start + 1} to {end} of {len(prompts)}"
            for group, given in await _scored(task, prompts[start:end]):
                for row in found.add(group, task.choosing, given):
                    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    part.replace(out)
    return found


async def _scored(task: Task, prompts: list[Prompt]) -> list[tuple[Group, Completion | None]]:
    """The answers to some prompts with their rewards, and the given answer of each where there is one."""
    from postlude.data import Completion
    from postlude.feedback.sampled import given_text
    from postlude.rollouts.rollout import answer

    groups = await answer(task.opened.sampler, prompts, task.count, task.sampling, task.seed, "pairs")
    side = task.choosing.given
    if side is not None:
        for i, group in enumerate(groups):
            said = given_text(group.prompt.columns[side], group.prompt.messages, side)
            written = task.opened.renderer.completion(group.prompt, group.prompt.columns[side])
            given = Completion(written.tokens, said, written.sampled)
            groups[i] = replace(group, completions=(*group.completions, given))
    if task.choosing.rewarded:
        groups = (await task.rewards.score(groups)).groups
    if side is None:
        return [(group, None) for group in groups]
    return [(replace(g, completions=g.completions[:-1]), g.completions[-1]) for g in groups]


def _print(found: Paired, out: Path, rewarded: bool) -> None:
    console = Screen()
    blocks = [
        {"prompts": found.prompts, "with pairs": found.paired, "without": found.prompts - found.paired},
        {"answers": found.answers, "usable": found.usable, **found.unused},
        {"comparisons": found.compared, "pairs written": len(found.rows), **found.dropped},
    ]
    console.print(sums(blocks))
    scores = [row["chosen_score"] - row["rejected_score"] for row in found.rows if "rejected_score" in row]
    if rewarded and scores:
        console.print(f"mean difference of rewards {sum(scores) / len(scores):.3f}")
    if not found.rows:
        console.print(colored("no pair: no two answers to a prompt differ enough under this reward", "yellow"))
    console.print(f"saved to {out}", soft_wrap=True)
