"""postlude eval"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from postlude.cli import options as opt
from postlude.cli.options import SamplingOptions, is_typed, require_free, require_read
from postlude.errors import ConfigError
from postlude.terminal import Screen
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.cli.eval_scores import Measured
    from postlude.cli.session import Named
    from postlude.evaluate import Report

OF_ANSWERS = ("count", "max_tokens", "temperature", "top_p", "top_k", "stop", *opt.OF_SERVERS)
"""Options of a policy's answers."""


OF_DATA = ("data", "reward", "reward_args", "columns", "ensemble", "on_bad_row", "force")
"""Options that a suite's file stands for."""
OF_SUITES = (*OF_DATA, *OF_ANSWERS, "limit", "chat", "against", "out")


Suites = Annotated[
    list[str] | None, typer.Option("--suite", help="A suite by name or file (.yaml) instead of --data; repeatable.")
]
ListsSuites = Annotated[bool, typer.Option("--suites", help="List the suites that come with postlude.")]
Against = Annotated[
    Path | None,
    typer.Option(help="With --suite: another run, or a folder of results, to compare with prompt by prompt."),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="Held-out prompts, or judged answers for a reward model: JSONL, CSV, Parquet, a saved data set, "
        "or hf:OWNER/NAME. Default, of a run: what it holds out itself, by its own rewards and metrics."
    ),
]
RewardUses = Annotated[
    list[str] | None,
    typer.Option(
        help="A built-in, my_rewards.py:fn or verl:my_score.py:fn; repeatable. The first says right or wrong. "
        "Without MODEL: the reward model to measure, such as implicit."
    ),
]
Counts = Annotated[
    int, typer.Option("-n", "--count", min=1, max=opt.MOST_ANSWERS, help="Answers per prompt, for pass@k.")
]
Ensemble = Annotated[list[str] | None, typer.Option(help="A reward model: another one, to ask together; repeatable.")]
SkipsRows = Annotated[opt.OnBadRow, typer.Option("--on-bad-row", help="A reward model: skip goes on without bad rows.")]


def evaluate(
    context: typer.Context,
    model: opt.AnyModel = None,
    data: Data = None,
    suite: Suites = None,
    suites: ListsSuites = False,
    against: Against = None,
    reward: RewardUses = None,
    reward_args: opt.RewardArgs = None,
    count: Counts = 1,
    max_tokens: opt.MaxTokens = None,
    temperature: opt.Temperature = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    stop: opt.Stop = None,
    limit: opt.Limit = None,
    columns: opt.Columns = None,
    chat: opt.Chat = None,
    url: opt.Url = None,
    served_model: opt.ServedModel = None,
    servers: opt.Servers = None,
    servers_python: opt.ServersPython = None,
    out: Annotated[Path | None, typer.Option(help="Where the JSON goes.")] = None,
    ensemble: Ensemble = None,
    on_bad_row: SkipsRows = opt.OnBadRow.stop,
    force: opt.Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --suite, --suites: for programs.")] = False,
) -> None:
    """Measure a model on held-out prompts: accuracy with its interval, pass@k, reward, length. Saved as JSON.

    postlude eval runs/grpo-1
    postlude eval runs/grpo-1 --data eval.jsonl --reward my_rewards.py:score -n 8
    postlude eval my-model --url http://localhost:8000/v1 --data eval.jsonl --reward exact

    Or a reward model on pairs, ranked lists, labelled answers or steps: accuracy, length, calibration.

    postlude eval runs/reward_model-1 --data held-out-pairs.jsonl --ensemble runs/reward_model-2
    postlude eval --reward implicit --reward-args '{policy: runs/dpo-1}' --data held-out-pairs.jsonl

    Or a policy by suites (--suites lists those that are here), compared with its last time, or with another run.

    postlude eval runs/grpo-1 --suite carry --suite my-suite.yaml --against runs/sft-1
    """
    from postlude.cli.scoring import rewards_of
    from postlude.cli.session import Named

    options = SamplingOptions(max_tokens, temperature, top_p, top_k, stop, url, served_model, servers, servers_python)
    if suite or suites:
        _measure_suites(context, suite or [], suites, (model, options, limit, chat, against, out, as_json))
        return
    require_read(context, "it goes with --suite", "against", "as_json")
    if data is None:
        return _measure_run(context, model, out, None if out is None else force, limit, options)
    named = Named(data, model, options, lambda: rewards_of(reward or [], reward_args), columns, chat, limit=limit)
    if model is not None and _answers_prompts(model, reward or [], ensemble or []):
        require_read(context, "only rows for a reward model can be skipped; mend the prompts", "on_bad_row")
        _measure(named, count, _target(model, data, out), None if out is None else force)
        return
    measured = _reward_models(context, model, reward or [], reward_args, ensemble or [])
    _measure_scores(named, measured, on_bad_row, _target(measured.name, data, out), None if out is None else force)


def _reward_models(
    context: typer.Context, model: str | None, uses: list[str], arguments: str | None, others: list[str]
) -> Measured:
    """The reward models that a command line names."""
    from postlude.cli.eval_scores import models_of, models_of_reward

    why = "a reward model scores the answers in the data, and gives none of its own"
    require_read(context, why, *OF_ANSWERS, *(["reward_args"] if model else []))
    return models_of(model, others) if model else models_of_reward(uses, arguments, others)


def _measure_run(
    context: typer.Context,
    model: str | None,
    out: Path | None,
    force: bool | None,
    limit: int | None,
    options: SamplingOptions,
) -> None:
    """A run by what its own recipe holds out."""
    from postlude.cli.eval_run import evaluate_run, is_run

    if model is None or not is_run(model):
        raise ConfigError(
            "give --data, the held-out rows, or --suite (see --suites); only a run of postlude train says itself "
            "what it holds out.",
            code="missing-option",
            key="--data",
        )
    why = "without --data a run is measured as its recipe says"
    answers = [name for name in OF_ANSWERS if name not in ("servers", "servers_python")]
    require_read(context, why, *answers, "reward", "reward_args", "ensemble", "columns", "chat", "on_bad_row")
    evaluate_run(model, out, force, limit, options)


def _measure_suites(
    context: typer.Context,
    names: list[str],
    listed: bool,
    how: tuple[str | None, SamplingOptions, int | None, bool | None, Path | None, Path | None, bool],
) -> None:
    """A policy by suites; or what suites there are."""
    from postlude.cli.eval_suites import Wanted, evaluate_suites, list_suites

    model, options, limit, chat, against, out, as_json = how
    if listed:
        require_read(context, "--suites only lists", *OF_SUITES, "suite", "model")
        list_suites(as_json)
        return
    require_read(context, "a suite says it (--suite)", *OF_DATA)
    if model is None:
        raise ConfigError("give MODEL: a run, a model folder or a recipe.", code="missing-option")
    typed = context.params["count"] if is_typed(context, "count") else None
    evaluate_suites(Wanted(model, names, options, typed, limit, chat, against, out, as_json))


def _measure(named: Named, count: int, target: Path, force: bool | None) -> None:
    """A policy under its rewards."""
    from postlude.cli.session import Session, notes_of_cut
    from postlude.cli.waiting import tell
    from postlude.evaluate import measure

    session = Session.of(named, lambda: require_free(target, force, "--out"))
    prompts = session.answerable(session.prompts())
    with session.progress():
        report = asyncio.run(measure(session.opened.sampler, session.rewards, prompts, session.sampling, count, "eval"))
    figures = {name.removeprefix("eval/"): value for name, value in report.figures.items()}
    head = {**session.opened.about(), "data": named.data, "prompts": len(prompts), "answers_per_prompt": count}
    result = {**head, "temperature": session.sampling.temperature, "figures": figures, "answers": _answers(report)}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n")
    tell([*report.notes, *notes_of_cut(report.groups)])
    _print(figures, len(prompts), count, target)


def _measure_scores(
    named: Named, measured: Measured, on_bad_row: opt.OnBadRow, target: Path, force: bool | None
) -> None:
    """Reward models by what the data say of the answers there."""
    from postlude.cli.eval_scores import evaluate_scores
    from postlude.cli.opening import reads_chat
    from postlude.cli.session import Named, Session

    chat = reads_chat(named.model) if named.chat is None else named.chat
    of_data = Named(named.data, columns=named.columns, chat=chat, limit=named.limit)
    session = Session.of(of_data, lambda: require_free(target, force, "--out"))
    evaluate_scores(session, measured, on_bad_row.value, target)


def _answers_prompts(model: str, reward: list[str], ensemble: list[str]) -> bool:
    """Whether MODEL is a policy, to be sampled from under a reward, rather than a reward model."""
    from postlude.cli.scoring import holds_scorer

    if not holds_scorer(model):
        if ensemble:
            raise ConfigError(
                f"--ensemble is for reward models; {model!r} has no scalar head.", code="not-a-reward-model"
            )
        if not reward:
            raise ConfigError(
                "give --reward, which says how good an answer is (only a reward model needs none). To measure the "
                f"implicit reward of a policy: postlude eval --reward implicit --reward-args '{{policy: {model}}}'.",
                code="missing-option",
            )
        return True
    if reward:
        raise ConfigError(
            f"{model!r} is a reward model, which scores answers and gives none: leave out --reward.",
            code="reward-model-cannot-write",
        )
    return False


def _target(name: str, data: str, out: Path | None) -> Path:
    """Where the figures go: beside the run, or here; a file for each data set."""
    from postlude.cli.opening import is_recipe

    run, on = Path(name).expanduser(), Path(data).stem or "data"
    here = Path(f"eval-{run.stem if is_recipe(name) else run.name}-{on}.json")
    return out or (run / f"eval-{on}.json" if (run / "config.yaml").exists() else here)


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
