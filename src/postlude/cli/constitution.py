"""postlude constitution revise and compare"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from postlude.cli import options as opt
from postlude.cli.data import sums, write_rows
from postlude.cli.options import require_free
from postlude.terminal import Screen, colored

if TYPE_CHECKING:
    from postlude.cli.session import Session
    from postlude.engines.settings import Sampling
    from postlude.feedback.constitution import Comparing, Trace
    from postlude.judge.asking import Asker

app = typer.Typer(no_args_is_help=True)
Work = Callable[[Sequence["Trace"], Callable[[], None]], Awaitable[list[Any]]]
AT_A_TIME = 64
"""Prompts worked on between two signs of life."""

Model = Annotated[str, typer.Argument(help="Who answers: a folder, run or hub id; with --url a name on the server.")]
Principles = Annotated[str, typer.Option(help="A YAML list of principles.")]
Out = Annotated[Path, typer.Option(help="The folder that is written.")]
Critic = Annotated[
    str | None,
    typer.Option(help="Who criticises, revises or compares, where it is not MODEL: a folder, run or hub id."),
]
Url = Annotated[str | None, typer.Option(help="Where MODEL is served, e.g. http://localhost:8000/v1.")]
CriticUrl = Annotated[str | None, typer.Option(help="Where the critic is served. Default: in this process, or --url.")]
Asking = Annotated[
    str | None,
    typer.Option(
        help="How models are asked, as YAML: dtype, device, concurrency, timeout, retries, key, max_calls, ..."
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="Of answers.")]
Rounds = Annotated[int, typer.Option(min=1, help="Criticisms and revisions of each answer.")]
Keep = Annotated[
    Literal["all", "last"], typer.Option(help="Revisions that become SFT rows: of every round, or the last.")
]
CritiqueTemplate = Annotated[str | None, typer.Option(help="Asks for a criticism (Jinja).")]
ReviseTemplate = Annotated[str | None, typer.Option(help="Asks for a revision (Jinja).")]
Count = Annotated[
    int, typer.Option("-n", "--count", min=2, max=opt.MOST_ANSWERS, help="Answers per prompt; every two are compared.")
]
Read = Annotated[Literal["likelihood", "reply"], typer.Option(help="likelihood: of the replies 1 and 2. reply: JSON.")]
Think = Annotated[bool, typer.Option("--think", help="Reason first; chances are then held in 0.4 to 0.6.")]
CompareTemplate = Annotated[str | None, typer.Option(help="Asks which answer is better (Jinja).")]


@dataclass(frozen=True)
class Asked:
    """Who is asked what, as both commands are told it."""

    model: str
    url: str | None
    critic: str | None
    critic_url: str | None
    asking: str | None
    out: Path
    temperature: float
    max_tokens: int


@app.command("revise")
def revise(
    model: Model,
    principles: Principles,
    data: opt.Data,
    out: Out,
    rounds: Rounds = 2,
    keep: Keep = "all",
    critic: Critic = None,
    url: Url = None,
    critic_url: CriticUrl = None,
    asking: Asking = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 1.0,
    critique_template: CritiqueTemplate = None,
    revise_template: ReviseTemplate = None,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    columns: opt.Columns = None,
    force: opt.Force = False,
) -> None:
    """Answers, criticised and revised by principles: data for SFT (the first stage of Constitutional AI).

    postlude constitution revise my-model --principles principles.yaml --data prompts.jsonl --out revised
    postlude train sft model=my-model data=revised/sft.jsonl

    Writes trace.jsonl (every text, with the principle's id) and sft.jsonl (prompt, completion). What was answered is
    kept in the folder: after an interruption the same command goes on where it stopped.
    """
    from postlude.feedback.constitution import Revising
    from postlude.judge.principles import read_principles
    from postlude.judge.templates import Template

    asked = Asked(model, url, critic, critic_url, asking, out, temperature, max_tokens)
    session = _session(asked, data, columns, limit, "sft.jsonl", force)
    known = read_principles(principles)
    asks, asks_again = Template.of(critique_template, "critique"), Template.of(revise_template, "revise")
    for one in (asks, asks_again):
        one.check({"prompt", "answer", "critique", "principle"}, {"answer"})
    prompts = _traces(session)
    policy, judge = _askers(asked)
    revising = Revising(policy, judge, known, rounds, asks, asks_again, *_samplings(asked), seed)
    traces = asyncio.run(_in_parts(revising.run, prompts, rounds + 1, "answers, criticisms, revisions"))
    write_rows(out / "trace.jsonl", [t.as_row() for t in traces])
    rows = [row for t in traces for row in t.answers(keep)]
    write_rows(out / "sft.jsonl", rows)
    _print_revised(traces, rows, policy, judge, out)
    if not rows:
        raise typer.Exit(1)


@app.command("compare")
def compare(
    model: Model,
    principles: Principles,
    data: opt.Data,
    out: Out,
    count: Count = 2,
    critic: Critic = None,
    url: Url = None,
    critic_url: CriticUrl = None,
    asking: Asking = None,
    read: opt.Reads = "likelihood",
    think: Think = False,
    threshold: opt.Threshold = 0.0,
    template: CompareTemplate = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 1.0,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    columns: opt.Columns = None,
    force: opt.Force = False,
) -> None:
    """Pairs of a model's answers, preferred by principles: data for a reward model or DPO (the second stage).

    postlude constitution compare runs/sft-1 --principles principles.yaml --data prompts.jsonl --out compared
    postlude train dpo model=runs/sft-1 data=compared/pairs.jsonl objective.nll=0.5
    postlude train reward_model_soft model=runs/sft-1 data=compared/pairs.jsonl
    """
    from postlude.feedback.constitution import Comparing
    from postlude.feedback.labelled import Labelled
    from postlude.judge.principles import read_principles
    from postlude.judge.questions import SHOWN, Judging, variables
    from postlude.judge.templates import Template

    asked = Asked(model, url, critic, critic_url, asking, out, temperature, max_tokens)
    session = _session(asked, data, columns, limit, "pairs.jsonl", force)
    known = tuple(read_principles(principles))
    asks = Template.of(template, "pairs")
    asks.check(variables("pairs"), SHOWN["pairs"])
    prompts = _traces(session)
    policy, judge = _askers(asked)
    answers, careful = _samplings(asked)
    clamp = (0.4, 0.6) if think else (0.0, 1.0)
    judging = Judging(judge, asks, read == "likelihood", principles=known, think=think, clamp=clamp, sampling=careful)
    if read == "likelihood":  # before answers are paid for
        asyncio.run(judge.likelihoods(["Reply with 1 or 2."], ("1", "2")))
    labels = Labelled(threshold)
    comparing = Comparing(policy, judging, count, answers, labels, seed)
    trace = asyncio.run(_in_parts(comparing.run, prompts, count + 1, "answers and verdicts"))
    write_rows(out / "trace.jsonl", trace)
    write_rows(out / "pairs.jsonl", labels.rows)
    _print_compared(comparing, judge, out)
    if not labels.rows:
        raise typer.Exit(1)


# ------------------------------------------------------------------------------------------------------------ parts


def _session(asked: Asked, data: str, columns: str | None, limit: int | None, target: str, force: bool) -> Session:
    """The prompts' table; the folder is there, and numbers are such that answers can be drawn with them."""
    from postlude.cli.session import Named, Session

    named = Named(data, columns=columns, limit=limit)
    return Session.of(named, lambda: _make_folder(asked.out, force, target), lambda: _samplings(asked))


def _make_folder(out: Path, force: bool, name: str) -> None:
    """The folder is there, and the file of it can be written."""
    from postlude.errors import ConfigError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: cannot write {str(out)[:80]!r}: {error.strerror}.", code="cannot-write") from error
    require_free(out / name, force, "--out")


def _samplings(asked: Asked) -> tuple[Sampling, Sampling]:
    """Of answers, and of what is said about them. Raises ConfigError for numbers that no answer can be drawn with."""
    from postlude.cli.opening import sampling_of
    from postlude.engines.settings import Sampling

    answers = sampling_of(Sampling(), {"temperature": asked.temperature, "max_tokens": asked.max_tokens})
    return answers, replace(answers, temperature=0.0)


def _traces(session: Session) -> list[Trace]:
    """The prompts, without answers yet; any bad row is an error."""
    from postlude.feedback.constitution import Trace

    prompts = session.prompts()[: session.named.limit]
    return [Trace(p.messages, "", place=p.place, columns=dict(p.columns)) for p in prompts]


def _askers(asked: Asked) -> tuple[Asker, Asker]:
    """Who answers and who criticises; the same model is loaded once. What they say is kept in the folder."""
    from postlude.check import open_chat, require_writer
    from postlude.cli.scoring import mapping
    from postlude.cli.waiting import tell
    from postlude.errors import ConfigError
    from postlude.rewards.judge import asker_of

    more = {**mapping("--asking", asked.asking), "cache": str(asked.out / "cache.sqlite")}
    critic = asked.critic
    there = asked.critic_url or (asked.url if critic and not Path(critic).exists() else None)
    wanted = [(asked.model, asked.url)] + ([(critic or "", there)] if critic or asked.critic_url else [])
    askers: list[Asker] = []
    for name, at in wanted:
        try:
            askers.append(asker_of(name, at, **more))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"--asking: {error}", code="missing-option") from error
        askers[-1].open = open_chat
        if at is None:
            tell(require_writer(name).notes)
    return askers[0], askers[-1]


async def _in_parts(work: Work, prompts: Sequence[Trace], stages: int, what: str) -> list[Any]:
    """All prompts, some at a time; `work` says after each of its stages that it is done."""
    from postlude.cli.waiting import Waiting

    done, results = 0, list[Any]()

    def advance(count: int) -> None:
        nonlocal done
        done += count
        waiting.count(done, len(prompts) * stages, what)

    with Waiting(what) as waiting:
        for start in range(0, len(prompts), AT_A_TIME):
            part = prompts[start : start + AT_A_TIME]
            results += await work(part, lambda: advance(len(part)))  # noqa: B023  # awaited here
    return results


def _print_revised(traces: Sequence[Trace], rows: list[Any], policy: Asker, critic: Asker, out: Path) -> None:
    console = Screen()
    rounds = [r for t in traces for r in t.rounds]
    failed = Counter(t.problem for t in traces if t.problem)
    blocks = [
        {
            "prompts": len(traces),
            "answered": len(traces) - sum(failed.values()),
            **{str(k): v for k, v in failed.items()},
        },
        {
            "rounds": len(rounds),
            "revised": sum(bool(r.revision) for r in rounds),
            **Counter(r.note for r in rounds if r.note),
        },
        {"SFT rows written": len(rows)},
    ]
    console.print(sums([*blocks, _questions(policy, critic)]))
    if not rows:
        why = "no row was written: see the counts above"
        if any(r.note == "no criticism" for r in rounds) or failed:
            why += "; texts that were cut off need a larger --max-tokens"
        console.print(colored(why, "yellow"))
    for name, count in sorted(Counter(r.principle for r in rounds if r.revision).items()):
        console.print(f"  revised by principle {name}: {count}")
    console.print(f"saved to {out}/trace.jsonl and {out}/sft.jsonl", soft_wrap=True)


def _print_compared(comparing: Comparing, critic: Asker, out: Path) -> None:
    from postlude.cli.label import print_verdicts

    console, labels = Screen(), comparing.labels
    prompts = {
        "prompts": labels.prompts,
        "compared": labels.prompts - comparing.alone,
        "without two different answers": comparing.alone,
    }
    answers = labels.prompts * comparing.count
    usable = {"answers": answers, "usable": answers - comparing.unused.total(), **comparing.unused}
    pairs = {"pairs asked about": labels.asked, "pairs written": len(labels.rows), **labels.dropped}
    console.print(sums([prompts, usable, pairs, _questions(comparing.policy, critic)]))
    if not labels.rows:
        console.print(colored("no pair was written: no verdict prefers an answer; see the counts above", "yellow"))
    for what, reason in critic.spent.reasons.items():
        console.print(f"{what}, for instance: {reason}", soft_wrap=True)
    print_verdicts(console, labels)
    console.print(f"saved to {out}/trace.jsonl and {out}/pairs.jsonl", soft_wrap=True)


def _questions(policy: Asker, critic: Asker) -> dict[str, int]:
    """What was asked of both, now or before."""
    both = [policy] if policy is critic else [policy, critic]
    now, known = sum(a.spent.calls for a in both), sum(a.spent.cached for a in both)
    return {"requests and known answers": now + known, "requests": now, "known, or equal": known}
