"""postlude eval RUN, without data of its own: a run measured as it measures itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from postlude.check import check
from postlude.cli.opening import open_sampler, policy_of
from postlude.cli.options import SamplingOptions, require_free
from postlude.cli.session import notes_of_cut
from postlude.cli.waiting import sampling, tell
from postlude.errors import ConfigError
from postlude.evaluate import Report
from postlude.objects import imports_put_back
from postlude.prepared import Prepared
from postlude.recipe.opening import document_of
from postlude.runs.checkpoints import complete
from postlude.runs.sealed import Sealed
from postlude.statistics import BEST_OF
from postlude.streaming import evaluation_of
from postlude.terminal import Screen
from postlude.truth.meter import REWARD, First
from postlude.words import counted

WHOLE = ("accuracy", "reward", "length", "truncated_frac")
"""Figures of all sets together that are printed; the file has all of them."""


HERE = ["engine.servers=null"]
"""Servers that a run had are not asked for: whoever measures it says who answers."""


def is_run(path: str) -> bool:
    """Whether a run's folder is meant, which says itself what it holds out."""
    return (Path(path).expanduser() / "config.yaml").is_file()


def evaluate_run(
    name: str,
    out: Path | None,
    force: bool | None,
    limit: int | None = None,
    options: SamplingOptions | None = None,
) -> None:
    """The newest checkpoint of a run on the held-out sets of its recipe, by its rewards and metrics; what came since
    its first evaluation is told as in the run itself. `limit`: of each set at most so many prompts, the first ones.
    It answers in this process, unless the options name servers."""
    run = Path(name).expanduser()
    target = out or run / "eval-held-out.json"
    require_free(target, force, "--out")
    sealed = _newest(run)
    with imports_put_back(), TemporaryDirectory() as caches:
        prepared = _limited(check(document_of(run, HERE)), limit)
        if not prepared.asked:
            raise ConfigError(
                f"the run {name!r} answers no held-out prompts: its recipe has no data.eval, or nothing to score "
                "answers by. Give --data and --reward.",
                code="missing-option",
            )
        for rewards in (prepared.rewards, prepared.metrics):
            rewards.keep_in(Path(caches))
        opened = open_sampler(policy_of(name, options or SamplingOptions()))
        evaluation = evaluation_of(prepared, First.of(sealed.state))
        with sampling(opened.sampler):
            report = asyncio.run(evaluation.take(opened.sampler))
    step = {"run": str(run), "step": sealed.step}
    result = {**step, "samples": evaluation.samples, "figures": report.figures, "answers": _answers(report)}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n")
    tell([*report.notes, *notes_of_cut(report.groups)])
    _show(prepared, report.figures, f"{run}, step {sealed.step}")
    Screen().print(f"saved to {target}", soft_wrap=True)


def _limited(prepared: Prepared, limit: int | None) -> Prepared:
    """With at most so many prompts of each held-out set."""
    if limit is None:
        return prepared
    recipe = prepared.recipe
    fewer = replace(recipe.evaluate, prompts=min(limit, recipe.evaluate.prompts))
    return replace(prepared, recipe=replace(recipe, evaluate=fewer))


def _newest(run: Path) -> Sealed:
    checkpoints = complete(run)
    if not checkpoints:
        raise ConfigError(f"the run {str(run)!r} has no checkpoint yet.", code="no-checkpoint")
    return Sealed.at(checkpoints[-1])


def _answers(report: Report) -> list[dict[str, Any]]:
    rows = [
        {"prompt": g.prompt.messages, "completion": c.text, "reward": c.reward, "correct": c.correct}
        for g in report.groups
        for c in g.completions
    ]
    return [{**row, **{name: some[i] for name, some in report.columns.items()}} for i, row in enumerate(rows)]


# --------------------------------------------------------------------------------------------------------- view


def _show(prepared: Prepared, figures: Mapping[str, float], title: str) -> None:
    screen, samples = Screen(), prepared.recipe.evaluate.samples
    sizes = ", ".join(f"{name} {counted(len(some), 'prompt')}" for name, some in prepared.asked.items())
    screen.print(f"{title}: {sizes}, each 1 greedy + {samples} sampled", soft_wrap=True)
    labels = [m.spec.label for m in prepared.metrics.members] + ([REWARD] if prepared.rewards.members else [])
    names = [(one, label) for one in prepared.asked for label in labels if f"truth/{one}/{label}" in figures]
    if names:
        screen.print(_truths(names, figures, samples))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("all sets" if len(prepared.asked) > 1 else "", "greedy", "sampled"):
        table.add_column(heading)
    for name in WHOLE:
        pair = [figures.get(f"{how}/{name}") for how in ("greedy", "sampled")]
        if any(value is not None for value in pair):
            table.add_row(name, *("" if value is None else f"{value:.3f}" for value in pair))
    screen.print(table)


def _truths(names: list[tuple[str, str]], figures: Mapping[str, float], samples: int) -> Table:
    """A row for each metric and set."""
    most = max((k for k in BEST_OF if k <= samples), default=0)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("set", "by", f"avg@{samples}", "95 %", *([f"pass@{most}"] if most else []), "greedy"):
        table.add_column(heading)
    table.add_column("divergence")
    for one, label in names:
        base = f"truth/{one}/{label}"
        best = [_number(figures, f"{base}/pass@{most}")] if most else []
        cells = [_number(figures, base), _interval(figures, base), *best, _number(figures, f"{base}/greedy")]
        table.add_row(one, label, *cells, _divergence(figures, f"{base}/divergence"))
    return table


def _divergence(figures: Mapping[str, float], name: str) -> str:
    ends = [figures.get(f"{name}/{end}") for end in ("low", "high")]
    interval = "" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    return f"{figures[name]:.2f}{interval}" if name in figures else ""


def _number(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.3f}" if name in figures else ""


def _interval(figures: Mapping[str, float], name: str) -> str:
    ends = [_number(figures, f"{name}/{end}") for end in ("low", "high")]
    return f"{ends[0]} to {ends[1]}" if all(ends) else ""
