"""postlude eval"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from postlude.cli.options import MaxTokens, Model, ServedModel, Stop, Temperature, TopK, TopP, Url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from postlude.data import Prompt
    from postlude.evaluate import Report
    from postlude.rewards.compose import Rewards


def evaluate(
    model: Model,
    data: Annotated[
        str, typer.Option(help="Held-out prompts: JSONL, CSV, Parquet, a saved data set, or hf:OWNER/NAME.")
    ],
    reward: Annotated[
        list[str],
        typer.Option(
            help="A built-in, my_rewards.py:fn or verl:my_score.py:fn; repeatable. The first says right or wrong."
        ),
    ],
    reward_args: Annotated[
        str | None,
        typer.Option(help="Arguments of the first, built-in reward as YAML, e.g. '{after: \"#\"}'."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Answers per prompt, for pass@k.")] = 1,
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
) -> None:
    """Measure a model on held-out prompts: accuracy with its interval, pass@k, reward, length. Saved as JSON.

    postlude eval runs/grpo-1 --data eval.jsonl --reward my_rewards.py:score -n 8
    postlude eval my-model --url http://localhost:8000/v1 --data eval.jsonl --reward exact
    """
    from postlude.cli.opening import about, is_recipe, mapping_of, open_sampler, policy_of, reading_of
    from postlude.errors import ConfigError
    from postlude.evaluate import measure
    from postlude.prepare import equip
    from postlude.rewards.compose import Rewards, RewardSpec
    from postlude.sources import file as rows

    flags = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "stop": stop}
    policy = policy_of(model, flags, url, served_model)
    settings = policy.sampling
    arguments = mapping_of(reward_args, "--reward-args")
    specs = [RewardSpec(r, args=arguments if i == 0 else {}) for i, r in enumerate(reward)]
    rewards = Rewards.of(specs)
    own = Path(model).expanduser()
    name = own.stem if is_recipe(model) else own.name
    target = out or (own / "eval.json" if (own / "config.yaml").exists() else Path(f"eval-{name}.json"))
    if not target.parent.is_dir():
        raise ConfigError(f"--out: the folder {str(target.parent)!r} does not exist.")
    table, reading = rows.read(data), reading_of(model, columns, chat)
    rows.recognise(table, "prompts", reading)
    problems = rewards.missing_columns(
        table.columns | {"answer"} if set(rows.ANSWERS) & table.columns else table.columns
    )
    if problems:
        raise ConfigError(problems)
    opened = open_sampler(policy)
    equip(rewards, opened.facts.tokenizer)
    prompts = opened.prompts(table, limit, reading)
    _check_rows(rewards, prompts)
    opened.check_lengths(prompts, settings)
    report = asyncio.run(measure(opened.sampler, rewards, prompts, settings, count, "eval"))
    figures = {name.removeprefix("eval/"): value for name, value in report.figures.items()}
    head = {**about(opened), "data": data, "prompts": len(prompts), "answers_per_prompt": count}
    result = {**head, "temperature": settings.temperature, "figures": figures, "answers": _answers(report)}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n")
    _print(figures, len(prompts), count, target)


def _check_rows(rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Rows that a reward refuses, such as one with a gold that it cannot read, are an error."""
    from postlude.errors import DataError
    from postlude.sources.table import MAX_SHOWN

    found = [f"{p.place}: {s}" for p, s in zip(prompts, rewards.problems_of_rows(prompts), strict=True) if s]
    if found:
        more = [f"... and {len(found) - MAX_SHOWN} more rows like these."] if len(found) > MAX_SHOWN else []
        raise DataError([*found[:MAX_SHOWN], *more])


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
    console = Console()
    console.print(f"{prompts} prompts x {count} answers", highlight=False)
    console.print(table)
    console.print(f"saved to {target}", highlight=False)
