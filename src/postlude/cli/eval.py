"""postlude eval"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from postlude.cli.data import OnBadRow
from postlude.cli.options import (
    MOST_ANSWERS,
    AnyModel,
    MaxTokens,
    ServedModel,
    Stop,
    Temperature,
    TopK,
    TopP,
    Url,
    require_free,
    require_read,
)
from postlude.terminal import Screen
from postlude.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from postlude.engines.settings import ScorerSpec
    from postlude.evaluate import Report

OF_ANSWERS = ("count", "max_tokens", "temperature", "top_p", "top_k", "stop", "url", "served_model")
"""Options of a policy's answers."""


def evaluate(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="Held-out prompts, or judged answers for a reward model: JSONL, CSV, Parquet, a saved data set, "
            "or hf:OWNER/NAME."
        ),
    ],
    model: AnyModel = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            help="A built-in, my_rewards.py:fn or verl:my_score.py:fn; repeatable. The first says right or wrong. "
            "Without MODEL: the reward model to measure, such as implicit."
        ),
    ] = None,
    reward_args: Annotated[
        str | None,
        typer.Option(help="Arguments of the first, built-in reward as YAML, e.g. '{after: \"#\"}'."),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, max=MOST_ANSWERS, help="Answers per prompt, for pass@k.")
    ] = 1,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    stop: Stop = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of --data as YAML, e.g. '{prompt: question, answer: gold}'.")
    ] = None,
    chat: Annotated[
        bool | None, typer.Option(help="Send text prompts as user messages. Default: as the run did, else not.")
    ] = None,
    url: Url = None,
    served_model: ServedModel = None,
    out: Annotated[Path | None, typer.Option(help="Where the JSON goes.")] = None,
    ensemble: Annotated[
        list[str] | None, typer.Option(help="A reward model: another one, to ask together; repeatable.")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow, typer.Option("--on-bad-row", help="A reward model: skip goes on without bad rows.")
    ] = OnBadRow.stop,
) -> None:
    """Measure a model on held-out prompts: accuracy with its interval, pass@k, reward, length. Saved as JSON.

    postlude eval runs/grpo-1 --data eval.jsonl --reward my_rewards.py:score -n 8
    postlude eval my-model --url http://localhost:8000/v1 --data eval.jsonl --reward exact

    Or a reward model on pairs, ranked lists, labelled answers or steps: accuracy, length, calibration.

    postlude eval runs/reward_model-1 --data held-out-pairs.jsonl --ensemble runs/reward_model-2
    postlude eval --reward implicit --reward-args '{policy: runs/dpo-1}' --data held-out-pairs.jsonl
    """
    from postlude.alarms import cut_off_in
    from postlude.check import equip
    from postlude.cli.opening import about, open_sampler, policy_of, reading_of
    from postlude.cli.scoring import require_columns, require_good_rows, rewards_of
    from postlude.cli.waiting import sampling
    from postlude.evaluate import measure
    from postlude.sources import file as rows

    if model is None or not _answers_prompts(model, reward or [], ensemble or []):
        from postlude.cli.eval_scores import Asked, evaluate_scores

        why = "a reward model scores the answers in the data, and gives none of its own"
        require_read(context, why, *OF_ANSWERS, *(["reward_args"] if model else []))
        name, specs, units = (
            _models(model, ensemble or []) if model else _of_reward(reward or [], reward_args, ensemble or [])
        )
        asked = Asked(specs, data, reading_of(model or "", columns, chat), limit, on_bad_row.value, units)
        evaluate_scores(asked, _target(name, data, out))
        return
    require_read(context, "only rows for a reward model can be skipped; mend the prompts", "on_bad_row")
    flags = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "stop": stop}
    policy = policy_of(model, flags, url, served_model)
    settings = policy.sampling
    rewards = rewards_of(reward or [], reward_args)
    target = _target(model, data, out)
    table, reading = rows.read(data), reading_of(model, columns, chat)
    rows.recognise(table, "prompts", reading)
    require_columns(rewards, table, reading)
    opened = open_sampler(policy)
    equip(rewards, opened.facts.tokenizer, opened.facts.stop_ids)
    prompts = opened.prompts(table, limit, reading)
    require_good_rows(rewards, prompts)
    opened.check_lengths(prompts, settings)
    with sampling(opened.sampler):
        report = asyncio.run(measure(opened.sampler, rewards, prompts, settings, count, "eval"))
    figures = {name.removeprefix("eval/"): value for name, value in report.figures.items()}
    head = {**about(opened), "data": data, "prompts": len(prompts), "answers_per_prompt": count}
    result = {**head, "temperature": settings.temperature, "figures": figures, "answers": _answers(report)}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n")
    cut = cut_off_in([c for g in report.groups for c in g.completions])
    for note in [*report.notes, *([cut] if cut else [])]:
        Screen(stderr=True).print(f"note: {note}", soft_wrap=True)
    _print(figures, len(prompts), count, target)


Measured = tuple[str, "Sequence[ScorerSpec]", "Sequence[tuple[float, float]]"]
"""A name, reward models, and the (shift, scale) of each where there are any."""


def _models(model: str, ensemble: list[str]) -> Measured:
    """The reward models of MODEL and --ensemble."""
    from postlude.cli.opening import own_part
    from postlude.engines.settings import ScorerSpec
    from postlude.runs.checkpoints import latest_model

    separator = own_part(model, "data").get("step_separator") or "\n"
    return model, [ScorerSpec(latest_model(m), separator=separator) for m in (model, *ensemble)], ()


def _of_reward(reward: list[str], arguments: str | None, ensemble: list[str]) -> Measured:
    """The reward models that --reward is made of."""
    from postlude.cli.scoring import rewards_of, the_model
    from postlude.errors import ConfigError
    from postlude.rewards.learned import AnswerReward

    if not reward:
        raise ConfigError("give MODEL, or a reward model to measure as --reward.")
    if ensemble:
        raise ConfigError("--ensemble goes with MODEL; in --reward give a list of paths or policies.")
    rewards = rewards_of(reward, arguments)
    function = the_model(rewards)
    units = zip(function.shift, function.scale, strict=True) if isinstance(function, AnswerReward) else ()
    return rewards.members[0].spec.label, function.specs, [*units]


def _answers_prompts(model: str, reward: list[str], ensemble: list[str]) -> bool:
    """Whether MODEL is a policy, to be sampled from under a reward, rather than a reward model."""
    from postlude.cli.scoring import holds_scorer
    from postlude.errors import ConfigError

    if not holds_scorer(model):
        if ensemble:
            raise ConfigError(f"--ensemble is for reward models; {model!r} has no scalar head.")
        if not reward:
            raise ConfigError(
                "give --reward, which says how good an answer is (only a reward model needs none). To measure the "
                f"implicit reward of a policy: postlude eval --reward implicit --reward-args '{{policy: {model}}}'."
            )
        return True
    if reward:
        raise ConfigError(f"{model!r} is a reward model, which scores answers and gives none: leave out --reward.")
    return False


def _target(model: str, data: str, out: Path | None) -> Path:
    """Where the figures go: beside the run, or here; a file for each data set."""
    from postlude.cli.opening import is_recipe

    own = Path(model).expanduser()
    name, on = own.stem if is_recipe(model) else own.name, Path(data).stem or "data"
    target = out or (own / f"eval-{on}.json" if (own / "config.yaml").exists() else Path(f"eval-{name}-{on}.json"))
    require_free(target, None, "--out")
    return target


def _answers(report: Report) -> list[dict[str, Any]]:
    """Every answer with what it was given."""
    return [
        {
            "prompt": g.prompt.messages,
            "completion": c.text,
            "reward": c.reward,
            "correct": c.correct,
            "scores": dict(c.scores),
        }
        for g in report.groups
        for c in g.completions
    ]


def _print(figures: dict[str, float], prompts: int, count: int, target: Path) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in figures.items():
        if name in ("accuracy_low", "accuracy_high"):
            continue
        interval = (
            f"  (95 % {figures['accuracy_low']:.3f} to {figures['accuracy_high']:.3f})" if name == "accuracy" else ""
        )
        table.add_row(name, f"{value:.3f}{interval}")
    console = Screen()
    console.print(f"{counted(prompts, 'prompt')} x {counted(count, 'answer')}")
    console.print(table)
    console.print(f"saved to {target}")
