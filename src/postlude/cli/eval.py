"""postlude eval"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from postlude.evaluate import Report


def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, hub id, or run folder (its newest checkpoint).")],
    data: Annotated[
        str, typer.Option(help="Held-out prompts: JSONL, CSV, Parquet, a saved data set, or hf:OWNER/NAME.")
    ],
    reward: Annotated[
        list[str],
        typer.Option(help="A built-in or my_rewards.py:fn; can be given several times. The first says right or wrong."),
    ],
    reward_args: Annotated[
        str | None,
        typer.Option(help="Arguments of the first, built-in reward as YAML, e.g. '{after: \"#\"}'."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Answers per prompt, for pass@k.")] = 1,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer in tokens. Default: the run's own, else 256.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the most likely token.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Sample from this much probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Sample from this many tokens; 0 is all.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the answer.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of --data as YAML, e.g. '{prompt: question, answer: gold}'.")
    ] = None,
    chat: Annotated[
        bool | None, typer.Option(help="Send text prompts as user messages. Default: as the run did, else not.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the JSON goes.")] = None,
) -> None:
    """Measure a model on held-out prompts: accuracy with its interval, pass@k, reward, length. Saved as JSON.

    postlude eval runs/grpo-1 --data eval.jsonl --reward my_rewards.py:score -n 8
    """
    import yaml

    from postlude.cli.opening import open_sampler, reading_of, sampling_of
    from postlude.errors import ConfigError
    from postlude.evaluate import measure
    from postlude.rewards.compose import Rewards, RewardSpec
    from postlude.sources import file as rows

    settings = sampling_of(model, temperature, top_p, top_k, max_tokens, stop)
    try:
        arguments = yaml.safe_load(reward_args) if reward_args else {}
    except yaml.YAMLError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ConfigError(f"--reward-args must be a mapping such as '{{after: \"#\"}}', found {reward_args!r}.")
    specs = [RewardSpec(r, args=arguments if i == 0 else {}) for i, r in enumerate(reward)]
    rewards = Rewards.of(specs)
    own = Path(model).expanduser()
    target = out or (own / "eval.json" if (own / "config.yaml").exists() else Path(f"eval-{own.name}.json"))
    if not target.parent.is_dir():
        raise ConfigError(f"--out: the folder {str(target.parent)!r} does not exist.")
    table, reading = rows.read(data), reading_of(model, columns, chat)
    rows.recognise(table, "prompts", reading)
    problems = rewards.missing_columns(
        table.columns | {"answer"} if set(rows.ANSWERS) & table.columns else table.columns
    )
    if problems:
        raise ConfigError(problems)
    opened = open_sampler(model, settings)
    prompts = opened.prompts(table, limit, reading)
    opened.check_lengths(prompts, settings)
    report = asyncio.run(measure(opened.sampler, rewards, prompts, settings, count, "eval"))
    figures = {name.removeprefix("eval/"): value for name, value in report.figures.items()}
    about = {"model": opened.path, "data": data, "prompts": len(prompts), "answers_per_prompt": count}
    result = {**about, "temperature": temperature, "figures": figures, "answers": _answers(report)}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n")
    _print(figures, len(prompts), count, target)


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
