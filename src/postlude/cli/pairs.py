"""postlude pairs"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from postlude.cli import options as opt
from postlude.cli.data import list_left_out, sums
from postlude.cli.options import SamplingOptions, require_free, require_read
from postlude.terminal import Screen, colored

if TYPE_CHECKING:
    from postlude.cli.session import Session
    from postlude.data import Completion, Group, Prompt
    from postlude.feedback.sampled import Choosing, Paired

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


RewardUses = Annotated[
    list[str] | None, typer.Option(help="A built-in (`model` is a reward model) or my_rewards.py:fn; repeatable.")
]
GivenSide = Annotated[
    Side | None,
    typer.Option("--given", help="The data hold this side of each pair; the model's answers are the other."),
]


def pairs(
    context: typer.Context,
    model: opt.Model,
    data: opt.Data,
    out: Annotated[Path, typer.Option(help="The JSONL file of pairs.")],
    reward: RewardUses = None,
    reward_args: opt.RewardArgs = None,
    count: opt.Count = 8,
    which: Annotated[Which, typer.Option("--pairs", help="Which answers are paired.")] = Which.best_worst,
    margin: Annotated[float, typer.Option(help="Least difference of rewards for a pair.")] = 0.0,
    given_side: GivenSide = None,
    drop_truncated: Annotated[
        bool, typer.Option("--drop-truncated", help="Leave out answers the length limit cut.")
    ] = False,
    max_tokens: opt.MaxTokens = None,
    temperature: opt.Temperature = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    stop: opt.Stop = None,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    columns: opt.Columns = None,
    chat: opt.Chat = None,
    url: opt.Url = None,
    served_model: opt.ServedModel = None,
    servers: opt.Servers = None,
    servers_python: opt.ServersPython = None,
    force: opt.Force = False,
) -> None:
    """Make preference pairs of a model's own answers: sample, score, pair the better with the worse.

    postlude pairs runs/sft-1 --data prompts.jsonl --reward model --reward-args '{path: runs/rm}' --out pairs.jsonl
    postlude pairs runs/sft-1 --data written.jsonl --given chosen --columns '{chosen: answer}' --out pairs.jsonl
    """
    from postlude.cli.scoring import rewards_of
    from postlude.cli.session import Named, Session
    from postlude.feedback.sampled import DROPPED, Choosing

    if not reward:
        require_read(context, "there is no --reward", "reward_args")
    side = given_side.value if given_side else None
    options = SamplingOptions(max_tokens, temperature, top_p, top_k, stop, url, served_model, servers, servers_python)
    named = Named(data, model, options, lambda: rewards_of(reward or [], reward_args), columns, chat, limit=limit)
    choose = lambda: Choosing(which.value, margin, side, bool(reward), drop_truncated)
    session = Session.of(named, lambda: require_free(out, force, "--out"), choose)
    if side is None:
        _require_different(count, session.sampling.temperature)
    prompts = session.answerable(session.prompts(_check_of_side(side)))
    paired = asyncio.run(_make(Task(session, choose(), count, seed), prompts, out))
    _print(paired, out, bool(reward))
    list_left_out(session.table.columns & DROPPED, "other answers than the new pairs'")
    if not paired.rows:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Task:
    """What is sampled, scored and paired."""

    session: Session
    choosing: Choosing
    count: int
    seed: int


def _require_different(count: int, temperature: float) -> None:
    """Two answers that may differ, where both sides of a pair are the model's own."""
    from postlude.errors import ConfigError

    if count < 2:
        raise ConfigError(
            f"-n is {count}, and a pair takes two answers; use at least 2 (8 is the default).", code="out-of-range"
        )
    if temperature == 0:
        raise ConfigError(
            "--temperature is 0: every answer to a prompt would be the same, and make no pair; use 1.",
            code="answers-all-the-same",
        )


def _check_of_side(side: Literal["chosen", "rejected"] | None) -> Callable[[Prompt], object]:
    """Raises DataError for a prompt whose given side has not its form."""
    from postlude.feedback.sampled import given_text

    if side is None:
        return lambda prompt: None
    return lambda prompt: given_text(prompt.columns.get(side), prompt.messages, side)


async def _make(task: Task, prompts: list[Prompt], out: Path) -> Paired:
    """Sample, score and pair, part by part; the file is put in place at the end."""
    from postlude.feedback.sampled import Paired

    paired, part = Paired(), out.with_name(out.name + ".part")
    with part.open("w", encoding="utf-8") as file, task.session.progress() as waiting:
        for start in range(0, len(prompts), AT_A_TIME):
            end = min(start + AT_A_TIME, len(prompts))
            waiting.doing = f"prompts {start + 1} to {end} of {len(prompts)}"
            for group, written in await _scored(task, prompts[start:end]):
                for row in paired.add(group, task.choosing, written):
                    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    part.replace(out)
    return paired


async def _scored(task: Task, prompts: list[Prompt]) -> list[tuple[Group, Completion | None]]:
    """The answers to some prompts with their rewards, and the given answer of each where there is one."""
    from postlude.data import Completion
    from postlude.feedback.sampled import given_text

    session, side = task.session, task.choosing.given
    groups = await session.answers(prompts, task.count, task.seed, "pairs")
    if side is not None:
        for i, group in enumerate(groups):
            text = given_text(group.prompt.columns[side], group.prompt.messages, side)
            answer = session.opened.renderer.completion(group.prompt, group.prompt.columns[side])
            written = Completion(answer.tokens, text, answer.sampled)
            groups[i] = replace(group, completions=(*group.completions, written))
    if task.choosing.rewarded:
        groups = (await session.rewards.score(groups)).groups
    if side is None:
        return [(group, None) for group in groups]
    return [(replace(g, completions=g.completions[:-1]), g.completions[-1]) for g in groups]


def _print(paired: Paired, out: Path, rewarded: bool) -> None:
    console = Screen()
    blocks = [
        {"prompts": paired.prompts, "with pairs": paired.paired, "without": paired.prompts - paired.paired},
        {"answers": paired.answers, "usable": paired.usable, **paired.unused},
        {"comparisons": paired.compared, "pairs written": len(paired.rows), **paired.dropped},
    ]
    console.print(sums(blocks))
    scores = [row["chosen_score"] - row["rejected_score"] for row in paired.rows if "rejected_score" in row]
    if rewarded and scores:
        console.print(f"mean difference of rewards {sum(scores) / len(scores):.3f}")
    if not paired.rows:
        console.print(colored("no pair: no two answers to a prompt differ enough under this reward", "yellow"))
    console.print(f"saved to {out}", soft_wrap=True)
