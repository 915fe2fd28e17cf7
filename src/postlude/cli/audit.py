"""postlude audit"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.cli import options as opt
from postlude.cli.options import SamplingOptions, require_free, require_read
from postlude.terminal import Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from postlude.audit.cases import Cases
    from postlude.audit.rewards import Given, Sheet, Tokenise
    from postlude.audit.scored import Figures
    from postlude.cli.session import Session
    from postlude.rewards.rewards import Rewards

MOST_TOKENS = 65_536
"""Of an answer that is audited: fillers are written to that length."""
OF_ANSWERS = ("count", "temperature", "stop", "url", "served_model")
"""Options of a model's own answers."""

RewardUse = Annotated[
    str, typer.Argument(help="A built-in, my_rewards.py:fn, verl:my_score.py:fn, or a recipe (YAML) with its rewards.")
]
Data = Annotated[
    str, typer.Argument(help="Prompts with good answers: completion, solution or answer; or chosen and rejected.")
]
Steps = Annotated[str | None, typer.Option(help="The function rewards steps; this stands between them, e.g. '\\n'.")]
Reference = Annotated[
    str | None, typer.Option(help="A good answer made of columns, e.g. '#{answer}' or '\\boxed{{answer}}'.")
]
Samples = Annotated[
    str | None, typer.Option(help="Real answers to the same prompts: a run's rollouts, or rows with completion(s).")
]
AnswersPerPrompt = Annotated[
    int, typer.Option("-n", "--count", min=1, max=opt.MOST_ANSWERS, help="Answers of the model per prompt.")
]
LongestAnswer = Annotated[
    int, typer.Option(min=1, max=MOST_TOKENS, help="Longest answer allowed, of filler and of the model.")
]
Url = Annotated[str | None, typer.Option(help="Let an OpenAI-compatible server answer; --model is its tokenizer.")]
Sycophancy = Annotated[
    bool, typer.Option("--sycophancy", help="Also add a user's wrong opinion to the prompt: does the score follow it?")
]


@dataclass(frozen=True)
class Asked:
    """What is audited on what, as the user named it."""

    reward: str
    data: str
    samples: str | None
    model: str | None
    sycophancy: bool


def audit(
    context: typer.Context,
    reward: RewardUse,
    data: Data,
    reward_args: opt.RewardArgs = None,
    steps: Steps = None,
    reference: Reference = None,
    samples: Samples = None,
    model: Annotated[str | None, typer.Option(help="Sample from this model, and count tokens as it does.")] = None,
    count: AnswersPerPrompt = 4,
    max_tokens: LongestAnswer = 1024,
    temperature: opt.Temperature = None,
    stop: opt.Stop = None,
    url: Url = None,
    served_model: opt.ServedModel = None,
    limit: Annotated[int, typer.Option(min=1, help="Only the first so many prompts.")] = 64,
    sycophancy: Sycophancy = False,
    columns: opt.Columns = None,
    chat: Annotated[bool, typer.Option("--chat", help="Text prompts become user messages.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the JSON goes. Default: audit-NAME.json.")] = None,
    force: opt.Force = False,
) -> None:
    """Can a reward be gamed? Feed it good answers and degenerate ones before any training. Exit code 1: it can.

    postlude audit maths problems.jsonl --reference '\\boxed{{answer}}'
    postlude audit my_rewards.py:score data.jsonl --samples runs/grpo-1/rollouts/step-000001.jsonl
    postlude audit model pairs.jsonl --reward-args '{path: runs/reward_model-1}' --sycophancy
    """
    from postlude.audit.rewards import pseudo_tokens, sheets
    from postlude.cli.audit_view import show
    from postlude.cli.session import Named, Session

    if not model:
        require_read(context, "there is no --model", *OF_ANSWERS)
    options = SamplingOptions(max_tokens, temperature, stop=stop, url=url, served_model=served_model)
    named = Named(data, model or None, options, lambda: _rewards(reward, reward_args, steps), columns, chat)
    session = Session.of(named, lambda: out and require_free(out, force, "--out"))
    target = out or _default_target(reward, session.rewards)
    cases = _cases(session, reference, limit, samples)
    tokenise: Tokenise = pseudo_tokens
    if model:
        cases, tokenise = _sampled(session, count, cases)
    _prepare(session.rewards, target)
    asked = Asked(reward, data, samples, model, sycophancy)
    result = _result(asked, session.rewards, cases, sheets(cases.cases, max_tokens, tokenise), tokenise)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    console = Screen()
    show(console, result)
    console.print(f"\nsaved to {target}", soft_wrap=True)
    if result["failed"]:
        raise typer.Exit(1)


# ----------------------------------------------------------------------------------------------------------- input


def _rewards(use: str, arguments: str | None, steps: str | None) -> Rewards:
    """The reward named, or those of a recipe, each under a name of its own."""
    from postlude.cli.opening import is_recipe
    from postlude.cli.scoring import rewards_of
    from postlude.errors import ConfigError
    from postlude.recipe import documents, rewarded
    from postlude.rewards.rewards import Rewards

    if not is_recipe(use):
        rewards = rewards_of([use], arguments)
        if steps == "":
            raise ConfigError(
                "--steps is empty; it is what stands between steps, such as '\\n'.", code="missing-option"
            )
        steps = steps and steps.replace("\\n", "\n").replace("\\t", "\t")  # as a shell passes them
        rewards.members = [replace(m, spec=replace(m.spec, steps=steps)) for m in rewards.members]
        return rewards
    if arguments or steps:
        raise ConfigError(
            "--reward-args and --steps are for a single reward; a recipe has its own.", code="contradiction"
        )
    specs = rewarded(documents.read(Path(use).expanduser()))
    labels = [s.label for s in specs]
    named = [
        replace(s, name=s.label if labels.count(s.label) == 1 else f"{s.label} {i}") for i, s in enumerate(specs, 1)
    ]
    return Rewards.of(named)


def _default_target(reward: str, rewards: Rewards) -> Path:
    from postlude.cli.opening import is_recipe

    name = Path(reward).stem if is_recipe(reward) else rewards.members[0].spec.label
    target = Path("audit-" + re.sub(r"[^\w.-]+", "-", name) + ".json")
    require_free(target, None, "--out")
    return target


def _cases(session: Session, reference: str | None, limit: int, samples: str | None) -> Cases:
    """The first prompts with their answers; what a reward lacks or refuses of them is told before it scores any."""
    from postlude.audit.cases import cases_of, with_samples
    from postlude.cli.scoring import require_good_rows
    from postlude.cli.session import together
    from postlude.sources import file as rows

    cases = cases_of(session.table, session.reading, reference).first(limit)
    together(
        lambda: _require_columns(session, cases),
        lambda: require_good_rows(session.rewards, [c.prompt for c in cases.cases]),
    )
    return with_samples(cases, rows.read(samples)) if samples else cases


def _require_columns(session: Session, cases: Cases) -> None:
    """The rewards' columns are among those of the cases."""
    from postlude.errors import ConfigError

    prompts = [c.prompt for c in cases.cases]
    names = {name for p in prompts for name in p.columns}
    names |= {"answer"} if any(p.answer is not None for p in prompts) else set()
    compared = {"completions"}  # the answers that are audited
    problems = session.rewards.missing_columns(names)
    problems += session.rewards.taken_columns(names - compared, session.table.path, "--columns")
    if problems:
        raise ConfigError(problems)


def _sampled(session: Session, count: int, cases: Cases) -> tuple[Cases, Tokenise]:
    """The cases with a model's own answers, and its tokenizer."""
    from postlude.audit.cases import Sample

    opened = session.opened
    prompts = [opened.renderer.with_tokens(c.prompt) for c in cases.cases]
    opened.check_lengths(prompts, session.sampling)
    with session.progress():
        groups = asyncio.run(session.answers(prompts, count, 0, "audit"))
    more = [tuple(Sample(c.text) for c in g.completions) for g in groups]
    filled = [replace(c, samples=(*c.samples, *s)) for c, s in zip(cases.cases, more, strict=True)]
    tokenizer = opened.facts.tokenizer
    return replace(cases, cases=filled), lambda text: tuple(tokenizer.encode(text, add_special_tokens=False))


def _prepare(rewards: Rewards, target: Path) -> None:
    """What is asked here is asked once; what a judge answers is kept beside the JSON."""
    from postlude.check import equip
    from postlude.rewards.judge import JudgeReward

    equip(rewards, None)
    rewards.members = [replace(m, memory=None) for m in rewards.members]
    for member in rewards.members:
        if isinstance(member.function, JudgeReward):
            member.function.begin(target.parent, target.with_suffix(".judge-cache.sqlite").name)
            member.function.canary_limit = None  # the probes are canaries, and one that is liked must not end the audit


# ---------------------------------------------------------------------------------------------------------- result


def _result(asked: Asked, rewards: Rewards, cases: Cases, probed: Sequence[Sheet], tokenise: Tokenise) -> Figures:
    """Ask, then everything the JSON holds. The sum of several rewards decides, and what says right or wrong."""
    from postlude.audit.rewards import sycophancy_sheets, whole
    from postlude.audit.verdicts import audit as audited
    from postlude.audit.verdicts import thresholds

    scores = _scores(rewards, probed)
    members = [audited(probed, s) for s in scores]
    total = audited(probed, whole(rewards.members, scores)) if len(scores) > 1 else None
    deciding = [total or members[0]]
    deciding += [f for f, m in zip(members, rewards.members, strict=True) if total and m.outcome]
    _require_use(deciding[0])
    swayed = _sycophancy(rewards, sycophancy_sheets(cases.cases, tokenise)) if asked.sycophancy else None
    return {
        **asdict(asked),
        "prompts": len(cases.cases),
        "references_from": cases.source,
        "without_reference": cases.without,
        "notes": [*rewards.notes, *cases.notes],
        "tokens": asked.model or "words and marks",
        "thresholds": thresholds(),
        "rewards": [f | {"weight": m.spec.weight} for f, m in zip(members, rewards.members, strict=True)],
        "whole": total,
        "sycophancy": swayed,
        "failed": any(f["failed"] for f in deciding),
    }


def _scores(rewards: Rewards, probed: Sequence[Sheet]) -> list[Given]:
    from postlude.audit.rewards import ask
    from postlude.cli.waiting import Waiting

    with Waiting("asking the reward") as waiting:
        return ask(rewards, probed, lambda done: waiting.count(done, len(probed), "prompts"))


def _sycophancy(rewards: Rewards, probed: Sequence[Sheet]) -> list[Figures]:
    """Of each reward."""
    from postlude.audit.verdicts import sycophancy as compared
    from postlude.errors import ConfigError

    if not probed:
        raise ConfigError(
            "--sycophancy needs a wrong answer for the user to name: rows with a gold that the reference holds, or "
            "chosen and rejected.",
            code="missing-option",
        )
    swayed = [(scores.name, *compared(probed, scores)) for scores in _scores(rewards, probed)]
    return [{"reward": name, **figures, "findings": findings} for name, figures, findings in swayed]


def _require_use(figures: Figures) -> None:
    """References that score like everything else say nothing: most likely they are not in the form the reward reads."""
    from postlude.errors import ConfigError

    if figures["lowest"] and not figures["failed"]:
        first = next(f for f in figures["findings"] if f["name"] == "references")["examples"][0]
        raise ConfigError(
            f"reward {figures['reward']} gives every reference answer {first['reference_score']:g}, and nothing less "
            "to any other answer: the references are likely not in the form it reads. The first is "
            f"{first['answer']!r}. Give them that form, such as --reference '#{{answer}}', or check --reward-args.",
            code="reward-not-telling",
        )
