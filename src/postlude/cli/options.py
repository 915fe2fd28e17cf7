"""What commands take alike, and rules across their options; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from postlude.errors import ConfigError, Problem
from postlude.terminal import Screen

MOST_ANSWERS = 65_536
"""To a prompt; as `group_size`."""

_model = typer.Argument(
    metavar="MODEL",
    help="A model folder, hub id, run folder (its newest checkpoint), or a recipe (YAML) with model and sampler.",
)
Model = Annotated[str, _model]
AnyModel = Annotated[str | None, _model]
Temperature = Annotated[
    float | None, typer.Option(help="0 takes the most likely token. Default: a recipe's own, else 1.")
]
TopP = Annotated[float | None, typer.Option(help="Sample from this much probability.")]
TopK = Annotated[int | None, typer.Option(help="Sample from this many tokens; 0 is all.")]
MaxTokens = Annotated[
    int | None, typer.Option(help="Longest answer in tokens. Default: the run's or recipe's own, else 256.")
]
Stop = Annotated[list[str] | None, typer.Option(help="A string that ends the answer; can be given several times.")]
Url = Annotated[
    str | None,
    typer.Option(
        help="Let an OpenAI-compatible server answer, e.g. http://localhost:8000/v1. MODEL is then its tokenizer."
    ),
]
ServedModel = Annotated[str | None, typer.Option(help="The model's name there. Default: the only one it serves.")]
Servers = Annotated[
    int | None,
    typer.Option("--servers", min=1, help="Let so many vLLM servers answer, started on MODEL and stopped after."),
]
ServersPython = Annotated[
    str | None, typer.Option(help="Their interpreter, which has vllm. Default: .venv-vllm/bin/python.")
]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=MOST_ANSWERS, help="Answers per prompt.")]
Seed = Annotated[int, typer.Option(help="Same seed, same answers.")]
Data = Annotated[str, typer.Option(help="Prompts: JSONL, CSV, Parquet, a saved data set, or hf:OWNER/NAME.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts.")]
Columns = Annotated[
    str | None, typer.Option(help="Columns of the data as YAML, e.g. '{prompt: question, answer: gold}'.")
]
Chat = Annotated[
    bool | None, typer.Option(help="Send text prompts as user messages. Default: as the run did, else not.")
]
RewardArgs = Annotated[
    str | None,
    typer.Option(help="Arguments of the first, built-in reward as YAML, e.g. '{after: \"#\"}' or '{path: runs/rm}'."),
]
Reads = Annotated[
    Literal["likelihood", "reply"],
    typer.Option(help="likelihood: of the replies 1 and 2, which gives soft labels. reply: JSON that it writes."),
]
Threshold = Annotated[
    float, typer.Option(min=0.0, max=0.5, help="Drop pairs whose chance is nearer to one half than this.")
]
Split = Annotated[str, typer.Option(help="Of a data set.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


class OnBadRow(StrEnum):
    """What becomes of a bad row."""

    stop = "stop"
    skip = "skip"


Bad = Annotated[OnBadRow, typer.Option("--on-bad-row", help="skip goes on without bad rows; they are listed.")]


OF_SERVERS = ("url", "served_model", "servers", "servers_python")
"""Options of who answers, where it is not this process."""


@dataclass(frozen=True)
class SamplingOptions:
    """How a policy is to answer, as typed: None where an option was not given."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] | None = None
    url: str | None = None
    served_model: str | None = None
    servers: int | None = None
    servers_python: str | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """Those that were given of how to sample, and not of who does, as `Sampling` takes them."""
        values = {name: value for name, value in asdict(self).items() if name not in OF_SERVERS}
        return {k: tuple(v) if k == "stop" else v for k, v in values.items() if v is not None and v != []}


SETTINGS = {"ignore_unknown_options": True}
"""Of commands that take KEY=VALUE: a key written as an option (`--lr 1e-6`) reaches them, to be told how it is done."""


def require_read(context: typer.Context, why: str, *names: str) -> None:
    """Options of the command line that nothing would read are an error. `why`: what they belong to."""
    typed = [name for name in names if is_typed(context, name)]
    if typed:
        shown = {p.name: max(p.opts, key=len) for p in context.command.params}
        raise ConfigError(f"{', '.join(shown[name] for name in typed)} would have no effect: {why}.", code="no-effect")


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, rather than at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def require_free(target: Path, force: bool | None, option: str = "OUT") -> None:
    """A file can be written there, which is told before a long computation; None: it may be written over, with a note.

    Raises ConfigError where one is there already and `force` is false, and for what can be no file.
    """
    try:
        there, above = target.exists(), target.parent.is_dir()
        folder = target.is_dir()
        if not folder:
            target.with_name(target.name + ".part").exists()  # what is written first; its name may be too long
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{option}: cannot write {str(target)[:80]!r}: {error.args[-1].lower()}.", code="cannot-write"
        ) from error
    if folder:
        raise ConfigError(f"{option}: cannot write {str(target)!r}: it is a folder.", code="cannot-write")
    if there and force is False:
        raise ConfigError(
            f"{option}: {str(target)!r} exists already. Give another name, or --force to write over it.",
            code="exists-already",
        )
    if there and force is None:
        Screen(stderr=True).print(f"note: {target} is there already and will be written over", soft_wrap=True)
    if not above:
        raise ConfigError(
            f"{option}: cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist.",
            code="cannot-write",
        )
    if not os.access(target if there else target.parent, os.W_OK):
        raise ConfigError(f"{option}: cannot write {str(target)!r}: permission denied.", code="cannot-write")


def problem_values(problem: Problem) -> dict[str, str]:
    """A problem for programs."""
    return {"code": problem.code, "place": problem.place, "key": problem.key, "text": problem}
