"""postlude label"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from postlude.cli import options as opt
from postlude.cli.data import list_left_out, list_problems, sums, write_rows
from postlude.cli.options import require_free
from postlude.errors import ConfigError
from postlude.terminal import Screen, colored

if TYPE_CHECKING:
    from postlude.feedback.labelled import Labelled, Unlabelled
    from postlude.judge.questions import Compared
    from postlude.rewards.judge import JudgeReward
    from postlude.rewards.rewards import Rewards
    from postlude.sources.table import Table

AT_A_TIME = 32
"""Rows asked about between two signs of life."""


Source = Annotated[
    str,
    typer.Argument(metavar="IN", help="Rows with prompt and completions, pairs, ranked lists, or a run's rollouts."),
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="The JSONL file of pairs to write.")]
Judge = Annotated[
    str, typer.Option("--judge", help="The judge: a folder, run or hub id; with --url its name on the server.")
]
Url = Annotated[str | None, typer.Option(help="An OpenAI-compatible server, e.g. http://localhost:8000/v1.")]
JudgeArgs = Annotated[
    str | None,
    typer.Option(help="More of the reward `judge`'s arguments, as YAML: rubric, principles, template, think, ..."),
]
RewardUse = Annotated[
    str | None, typer.Option(help="A reward model instead of a judge: model, pair_model or implicit.")
]
RewardArgs = Annotated[str | None, typer.Option(help="Its arguments as YAML, e.g. '{path: runs/reward_model-1}'.")]
Hard = Annotated[bool, typer.Option("--hard", help="Leave out `probability`: labels as if they were certain.")]


def label(
    source: Source,
    target: Target,
    judge: Judge = "",
    url: Url = None,
    read: opt.Reads = "likelihood",
    judge_args: JudgeArgs = None,
    reward: RewardUse = None,
    reward_args: RewardArgs = None,
    threshold: opt.Threshold = 0.0,
    hard: Hard = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    columns: opt.Columns = None,
    split: opt.Split = "train",
    on_bad_row: opt.Bad = opt.OnBadRow.stop,
    force: opt.Force = False,
) -> None:
    """Let a judge or a reward model say which answers are better: pairs with the chance that the chosen one is.

    postlude label answers.jsonl pairs.jsonl --judge Qwen/Qwen3-4B
    postlude label pairs.jsonl judged.jsonl --judge my-judge --url http://localhost:8000/v1 --read reply
    postlude label answers.jsonl pairs.jsonl --reward implicit --reward-args '{policy: runs/dpo-1}'

    Every pair is shown to a judge in both orders and the two verdicts are averaged. Where the rows say what people
    preferred, the agreement with them is reported. What a judge answered is kept beside OUT: after an interruption the
    same command goes on where it stopped.
    """
    from postlude.cli.session import Named, Session
    from postlude.cli.waiting import tell
    from postlude.feedback.labelled import READ, SPOKEN_FOR, Labelled, unlabelled

    if reward is not None and (judge or url or judge_args):
        raise ConfigError("give --reward or a judge (--judge, --url, --judge-args), not both.", code="contradiction")
    asked = lambda: _reward(reward, reward_args) if reward else _judge(judge, url, read, judge_args, target)
    named = Named(source, rewards=asked, columns=columns, split=split)
    session = Session.of(named, lambda: require_free(target, force))
    table = session.table
    items = unlabelled(table, session.reading)
    table.require_clean(on_bad_row.value, "--on-bad-row skip")
    tell(table.notes)
    result = Labelled(threshold, hard)
    asyncio.run(_label(session.rewards, items[:limit], result))
    write_rows(target, result.rows)
    _print(source, table, session.rewards, result, len(items))
    list_left_out(table.columns & (SPOKEN_FOR - READ), "another judgement than the judge's")
    Screen().print(f"saved to {target}", soft_wrap=True)
    if not result.rows:
        raise typer.Exit(1)


def _judge(model: str, url: str | None, read: str, more: str | None, target: Path) -> Rewards:
    """The judge of the command line; what it answers is kept beside the file of pairs."""
    from postlude.check import equip, require_writer
    from postlude.cli.scoring import mapping
    from postlude.cli.waiting import tell
    from postlude.rewards.rewards import Rewards
    from postlude.rewards.spec import RewardSpec

    if not model and not url:
        raise ConfigError(
            "give --judge (a folder, run or hub id), --url of a server, or --reward.", code="missing-option"
        )
    fixed: dict[str, Any] = {"model": model, "url": url, "read": read, "mode": "pairs"}
    args = mapping("--judge-args", more)
    if wrong := sorted({*fixed} & {*args}):
        raise ConfigError(
            f"--judge-args: {', '.join(wrong)} cannot be set there: `label` compares pairs; see its options.",
            code="no-effect",
        )
    cache = str(target.with_name(target.name + ".judge-cache.sqlite"))
    rewards = Rewards.of([RewardSpec("judge", args={**fixed, "cache": cache, **args})])
    equip(rewards, None)
    if url is None:
        tell(require_writer(model).notes)
    return rewards


def _judge_of(rewards: Rewards) -> JudgeReward | None:
    """The judge, where it is one that is asked."""
    from postlude.rewards.judge import JudgeReward

    function = rewards.members[0].function
    return function if isinstance(function, JudgeReward) else None


def _reward(use: str, arguments: str | None) -> Rewards:
    """The reward model of the command line: one that scores whole answers, or compares two."""
    from postlude.check import equip
    from postlude.cli.scoring import rewards_of, the_model

    rewards = rewards_of([use], arguments)
    the_model(rewards)
    if rewards.members[0].stepwise:
        raise ConfigError(
            f"--reward: {use} rewards the parts of an answer; `label` compares whole answers.", code="reward-kind"
        )
    equip(rewards, None)
    return rewards


async def _label(rewards: Rewards, items: Sequence[Unlabelled], result: Labelled) -> None:
    """Ask about all pairs, some rows at a time."""
    from postlude.cli.waiting import Waiting

    judge = _judge_of(rewards)
    with Waiting("judging" if judge else "scoring") as waiting:
        for start in range(0, len(items), AT_A_TIME):
            waiting.count(start, len(items), "rows")
            part = items[start : start + AT_A_TIME]
            verdicts = iter(await (_judged(judge, part) if judge else _scored(rewards, part)))
            for item in part:
                result.add(item, item.pairs, [next(verdicts) for _ in item.pairs])


async def _judged(judge: JudgeReward, part: Sequence[Unlabelled]) -> Sequence[Compared | None]:
    """A judge's verdict on every pair of some rows."""
    from postlude.judge.questions import Question
    from postlude.rewards.functions import text_of

    asked = []
    for item, i, j in [(row, i, j) for row in part for i, j in row.pairs]:
        reference = item.row.get(judge.reference) if judge.reference else None
        question = Question(item.said.prompt, item.row, reference)
        asked.append((question, text_of(item.said.answers[i]), text_of(item.said.answers[j])))
    return await judge.judging.compare(asked)


async def _scored(rewards: Rewards, part: Sequence[Unlabelled]) -> Sequence[Compared | None]:
    """A reward model's chance that the first of two answers is better: sigmoid of the difference of their scores."""
    from postlude.data import Completion, Group, Prompt
    from postlude.judge.questions import Compared
    from postlude.rewards.functions import text_of
    from postlude.rewards.learned import PairReward
    from postlude.rewards.numbers import sigmoid

    texts = [[text_of(a) for a in item.said.answers] for item in part]
    function = rewards.members[0].function
    if isinstance(function, PairReward):
        (scorer,) = function.scorers
        pairs = [(item.said.prompt, (t[i], t[j])) for item, t in zip(part, texts, strict=True) for i, j in item.pairs]
        logits = scorer.prefer([p for p, _ in pairs], [both for _, both in pairs])
        return [Compared(sigmoid(forth), 1 - sigmoid(back)) for forth, back in logits]
    groups = [
        Group(Prompt(item.where, item.said.prompt, columns=item.row), tuple(Completion((), x) for x in t))
        for item, t in zip(part, texts, strict=True)
    ]
    verdicts: list[Compared | None] = []
    for item, group in zip(part, (await rewards.score(groups)).groups, strict=True):
        scores = [c.reward for c in group.completions]
        for i, j in item.pairs:
            a, b = scores[i], scores[j]
            verdicts.append(None if a is None or b is None else Compared(p := sigmoid(a - b), p))
    return verdicts


def _print(source: str, table: Table, rewards: Rewards, result: Labelled, lists: int) -> None:
    console, judge = Screen(), _judge_of(rewards)
    who = f"judge {judge.note}" if judge else f"reward {rewards.members[0].spec.label}"
    console.print(f"{source}: {table.form or 'answers'}; {who}", soft_wrap=True)
    rows = {"rows read": table.read, "good": len(table.rows), "bad": table.read - len(table.rows)}
    used = {
        "prompts": lists,
        "asked about": result.prompts - result.alone,
        "without two different answers": result.alone,
        "beyond --limit": lists - result.prompts,
    }
    pairs = {"pairs asked about": result.asked, "pairs written": len(result.rows), **result.dropped}
    spent = judge.asker.spent if judge else None
    calls = (
        {
            "requests and known answers": spent.calls + spent.cached,
            "requests": spent.calls,
            "known, or equal": spent.cached,
        }
        if spent
        else {}
    )
    console.print(sums([b for b in (rows, used, pairs, calls) if b]))
    print_verdicts(console, result, both_orders=spent is not None)
    for what, reason in spent.reasons.items() if spent else ():
        console.print(f"{what}, for instance: {reason}", soft_wrap=True)
    if not result.rows:
        console.print(colored("no pair was written: no verdict prefers an answer; see the counts above", "yellow"))
    list_problems(console, table.problems)


def print_verdicts(console: Console, result: Labelled, both_orders: bool = True) -> None:
    """How far the verdicts go by the answers: order (where they were shown in both), place, people."""
    figures = result.figures
    if "flip rate" in figures and both_orders:
        flips, place = figures["flip rate"], figures["place bias"]
        console.print(f"verdict changed with the order: {flips:.1%}; first place preferred by {place:+.3f}")
    if flips_too_much(figures):
        console.print(colored("more than one verdict in five goes with the place, not with the answer", "yellow"))
    if "agreement" in figures:
        low, high = figures["agreement low"], figures["agreement high"]
        console.print(
            f"agreement with the labels that were there: {figures['agreement']:.1%} of {len(result.agreements)} pairs "
            f"(95 % {low:.1%} to {high:.1%})",
            soft_wrap=True,
        )


def flips_too_much(figures: dict[str, float]) -> bool:
    """Whether the judge goes by the place of an answer more often than a reader should accept."""
    from postlude.rewards.judge import FLIPS

    return figures.get("flip rate", 0.0) > FLIPS
