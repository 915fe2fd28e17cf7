"""postlude eval --suite: a policy by suites, kept beside the run and held against earlier evaluations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from postlude.cli.cells import interval
from postlude.cli.opening import is_recipe, sampling_of
from postlude.cli.options import SamplingOptions
from postlude.cli.scoring import require_good_rows
from postlude.cli.session import Named, Session, notes_of_cut, together
from postlude.cli.waiting import tell
from postlude.data import Group, Prompt
from postlude.engines.settings import Sampling
from postlude.errors import ConfigError
from postlude.evaluate import EVAL_SEED
from postlude.rewards.rewards import Rewards
from postlude.runs import history as runs
from postlude.runs.durable import problems_of_files
from postlude.suites import results
from postlude.suites.leaks import Leaks, leaks
from postlude.suites.results import CORRECT, Change, Result
from postlude.suites.rows import ask
from postlude.suites.spec import Suite, open_suite, packaged
from postlude.terminal import Screen, bold, colored, dim, joined
from postlude.truth.evaluation import measured
from postlude.words import counted


@dataclass(frozen=True)
class Wanted:
    """What a command line asks for."""

    model: str
    suites: Sequence[str]
    options: SamplingOptions
    count: int | None
    """Answers per prompt; None: as each suite says."""
    limit: int | None
    chat: bool | None
    against: Path | None
    out: Path | None
    as_json: bool


def list_suites(as_json: bool) -> None:
    """The package's own suites."""
    ours = packaged()
    if as_json:
        keys = ("name", "about", "source", "licence", "samples")
        typer.echo(json.dumps([{key: asdict(suite)[key] for key in keys} for suite in ours.values()]))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for suite in ours.values():
        rows = suite.data.made.rows if suite.data.made else 0
        table.add_row(bold(suite.name), f"{rows}", Text(suite.about))
    screen = Screen()
    screen.print(table)
    screen.print(
        dim("Name, rows, what is asked; all made here, from a seed. Your own: --suite FILE.yaml (docs/suites.md)")
    )


def evaluate_suites(wanted: Wanted) -> None:
    """Every suite in turn; everything that is wrong with any of them is told before the model loads."""
    suites: list[Suite] = []
    together(*(lambda name=name: suites.append(open_suite(name)) for name in wanted.suites))
    names = [suite.name for suite in suites]
    if len({*names}) < len(names):
        raise ConfigError(f"--suite: two suites have one name: {', '.join(sorted(names))}.", code="duplicate-name")
    together(*(lambda suite=suite: _check(suite, wanted) for suite in suites))
    session = Session.of(Named(None, wanted.model, wanted.options, chat=wanted.chat))
    evaluated = [_evaluate(suite, session, wanted) for suite in suites]
    if wanted.as_json:
        typer.echo(json.dumps([dict(one) for one in evaluated], default=str))


def _check(suite: Suite, wanted: Wanted) -> None:
    """What can be told of a suite without a model."""
    rewards, metrics = Rewards.of(suite.reward), Rewards.of(suite.metrics)
    prompts = ask(suite, chat=False).prompts[: wanted.limit]
    columns = {name for prompt in prompts for name in prompt.columns}
    problems = [*rewards.missing_columns(columns), *metrics.missing_columns(columns)]
    if problems:
        raise ConfigError([problem.within(f"suite {suite.name}: ") for problem in problems])
    require_good_rows(rewards, prompts)
    samples, sampling = wanted.count or suite.samples, _sampling(suite, wanted.options)
    if samples > 1 and sampling.temperature == 0:
        raise ConfigError(
            f"suite {suite.name}: {samples} answers to each prompt at temperature 0 are all the same; give "
            "--temperature 1, or -n 1.",
            code="answers-all-the-same",
        )
    folder = _folder(wanted)
    names = [folder.name, *(f"{folder.name}/{suite.name}.{end}" for end in ("json", "jsonl"))]
    if wanted.out is None and (problems := problems_of_files(folder.parent, names)):
        raise ConfigError(problems)
    _earlier(wanted.against or folder, suite, required=wanted.against is not None)


def _sampling(suite: Suite, options: SamplingOptions) -> Sampling:
    """The suite's own, with what the command line says over it."""
    return sampling_of(suite.sampling, options.sampling)


# -------------------------------------------------------------------------------------------------- one suite


def _evaluate(suite: Suite, session: Session, wanted: Wanted) -> Mapping[str, Any]:
    """Answer, score, keep, compare, show."""
    chat = _is_chat(suite, session, wanted)
    asked = ask(suite, chat)
    session.rewards = Rewards.of(suite.reward)
    session.policy = replace(session.policy, sampling=_sampling(suite, wanted.options))
    session.named = replace(session.named, limit=wanted.limit)
    prompts, samples = session.answerable(asked.prompts), wanted.count or suite.samples
    groups, result, notes = asyncio.run(_measure(suite, session, prompts, samples))
    folder = _folder(wanted)
    place = wanted.against or folder
    earlier = _earlier(place, suite, required=wanted.against is not None, fingerprint=asked.fingerprint)
    leaked = _leaks(suite, wanted.model, prompts)
    summary = {
        "schema": results.SCHEMA, "suite": suite.name, "fingerprint": asked.fingerprint, "rows": asked.origin,
        **session.opened.about(), "chat": chat, "prompts": len(prompts), "of": len(asked.prompts), "samples": samples,
        "sampling": {**asdict(session.sampling), "stop": [*session.sampling.stop]},
        "source": suite.source, "licence": suite.licence,
        "answers": _counts(groups), "leaks": None if leaked is None else asdict(leaked),
    }  # fmt: skip
    result = replace(result, summary=summary)
    changes = _changes(earlier, result, notes)
    target = results.write(folder, suite.name, groups, result)
    tell([*dict.fromkeys([*notes, *notes_of_cut(groups)])])
    if not wanted.as_json:
        _show(Screen(), suite, result, changes, _name_of(earlier), target)
    return {
        **summary, "figures": {name: asdict(one) for name, one in result.figures.items()},
        "against": _name_of(earlier), "changes": {name: asdict(one) for name, one in changes.items()},
        "saved": str(target),
    }  # fmt: skip


async def _measure(
    suite: Suite, session: Session, prompts: Sequence[Any], samples: int
) -> tuple[Any, Result, list[str]]:
    """(groups, numbers, what was noted)."""
    with session.progress() as waiting:
        waiting.doing = f"suite {suite.name}"
        groups = await session.answers(prompts, samples, EVAL_SEED, f"suite {suite.name}")
    scored = await session.rewards.score(groups, measuring=True)
    others, said = await measured(Rewards.of(suite.metrics), groups)
    completions = [c for group in scored.groups for c in group.completions]
    labels = [m.spec.label for m in session.rewards.members]
    measures = {label: [c.scores.get(label) for c in completions] for label in labels}
    by = results.by_prompt(scored.groups, {**measures, **others})
    if CORRECT in by and len(labels) == 1 and by[labels[0]] == by[CORRECT]:
        by = {name: rows for name, rows in by.items() if name != labels[0]}  # the same by another name
    return scored.groups, Result({}, by), [*scored.notes, *said]


def _is_chat(suite: Suite, session: Session, wanted: Wanted) -> bool:
    """As the command line says, else the suite, else where the model has a chat template."""
    stated = wanted.chat if wanted.chat is not None else suite.chat
    return bool(session.opened.facts.tokenizer.chat_template) if stated is None else stated


def _folder(wanted: Wanted) -> Path:
    """Where results are kept: in the run, else a folder here, named like the model."""
    if wanted.out is not None:
        return wanted.out
    run = Path(wanted.model).expanduser()
    name = run.stem if is_recipe(wanted.model) else run.name
    return run / "suites" if (run / "config.yaml").exists() else Path(f"suites-{name}")


def _earlier(place: Path, suite: Suite, required: bool, fingerprint: str = "") -> Result | None:
    """The evaluation in a run, or in a folder of results: one that can be compared before the newest."""
    folder = place / "suites" if (place / "suites").is_dir() else place
    earlier = results.earlier_of(folder, suite.name, fingerprint)
    if earlier is None and required:
        raise ConfigError(
            f"--against: {str(place)!r} has no evaluation by suite {suite.name}. Make it first: postlude eval {place} "
            f"--suite {suite.name}",
            code="no-such-file",
        )
    return earlier


def _changes(earlier: Result | None, result: Result, notes: list[str]) -> dict[str, Change]:
    if earlier is None:
        return {}
    try:
        changes = results.changes(earlier, result)
    except ConfigError as error:
        kept = results.aside(str(result.summary["suite"]), earlier.summary.get("fingerprint"))
        notes.append(f"{error} What was there is kept as {kept}.json.")
        return {}
    if differ := results.unlike(earlier, result):
        notes.append(
            f"suite {result.summary['suite']}: not asked alike ({', '.join(differ)}); the change may be of that"
        )
    return changes


def _leaks(suite: Suite, model: str, prompts: Sequence[Prompt]) -> Leaks | None:
    """None of a model that no run of ours stands behind."""
    place = Path(model).expanduser()
    if not (place / "events.jsonl").is_file():
        return None
    return leaks(suite.templates["prompt"], prompts, runs.read(place))


def _counts(groups: Sequence[Group]) -> dict[str, int]:
    completions = [c for group in groups for c in group.completions]
    return {
        "all": len(completions),
        "cut_off": sum(c.truncated for c in completions),
        "unscored": sum(c.reward is None for c in completions),
        "undecided": sum(c.correct is None for c in completions),
        "empty": sum(not c.text.strip() for c in completions),
    }


def _name_of(earlier: Result | None) -> str | None:
    return None if earlier is None else str(earlier.summary.get("model"))


# --------------------------------------------------------------------------------------------------- for people


def _show(
    screen: Screen, suite: Suite, result: Result, changes: Mapping[str, Change], before: str | None, target: Path
) -> None:
    summary, counts = result.summary, result.summary["answers"]
    limited = "" if summary["prompts"] == summary["of"] else f" of {summary['of']}"
    form = "messages" if summary["chat"] else "text"
    head = f"  {summary['prompts']}{limited} prompts as {form} x {counted(summary['samples'], 'answer')}"
    screen.print(joined(bold(suite.name), head, dim(f"  {summary['model']}")), soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("measure", "mean, 95 % by prompts", "prompts"):
        table.add_column(name, justify="right" if name == "prompts" else "left")
    if changes:
        table.add_column("change, same prompts")
    for name, figure in result.figures.items():
        label = f"avg@{summary['samples']}" if name == CORRECT and summary["samples"] > 1 else name
        label = label.removeprefix(f"{CORRECT}/")
        row: list[Any] = [
            bold(label) if name == CORRECT else Text(label),
            interval(figure.value, figure.low, figure.high),
            str(figure.prompts),
        ]
        table.add_row(*row, *([_change(changes.get(name))] if changes else []))
    screen.print(table)
    said = [f"cut off {counts['cut_off'] / max(1, counts['all']):.1%}"]
    said += [f"{counts[name]} {name}" for name in ("undecided", "unscored", "empty") if counts[name]]
    screen.print(f"answers: {', '.join(said)} of {counts['all']}", soft_wrap=True)
    if before is not None and changes:
        screen.print(dim(f"change: against {before}"), soft_wrap=True)
    _show_leaks(screen, summary["leaks"], summary["prompts"])
    screen.print(f"saved to {target}\n", soft_wrap=True)


def _show_leaks(screen: Screen, leaked: Mapping[str, Any] | None, prompts: int) -> None:
    if leaked is None:
        screen.print(dim("in its training data? not known: no run of postlude is behind this model"), soft_wrap=True)
        return
    for text in leaked["not_seen"]:
        screen.print(colored(f"in its training data? not looked at {text}", "yellow"), soft_wrap=True)
    if leaked["prompts"]:
        share = f"{len(leaked['prompts'])} of {prompts} prompts are in the run's training data"
        screen.print(colored(f"{share}: what is measured on them may be memory", "bold yellow"), soft_wrap=True)
    elif leaked["looked_at"]:
        screen.print(dim(f"in its training data: none ({', '.join(leaked['looked_at'])})"), soft_wrap=True)


def _change(change: Change | None) -> str:
    return "" if change is None else interval(change.value, change.low, change.high, "+.3f")
