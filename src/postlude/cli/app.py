"""The verbs, gathered, and how errors look."""

from __future__ import annotations

import json
import os
import warnings
from typing import Annotated

import typer

from postlude import __version__
from postlude.cli import (
    advise,
    audit,
    check,
    compare,
    config,
    constitution,
    data,
    data_check,
    demo,
    doctor,
    engine,
    eval,
    explain,
    export,
    label,
    memory,
    methods,
    pairs,
    plan,
    review,
    sample,
    selftest,
    sheet,
    steering,
    train,
)
from postlude.cli.closing import close_all
from postlude.cli.options import SETTINGS, problem_values
from postlude.errors import UNCODED, PostludeError, visible
from postlude.terminal import Screen, colored, dim, joined

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# What libraries plan to change is for us to follow, not for a user to read. Such a warning may name the file that calls
# them.
LIBRARIES = r"(postlude|transformers|torch|peft|huggingface_hub|accelerate|tokenizers|safetensors)(\.|$)"
for kind in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
    warnings.filterwarnings("ignore", category=kind, module=LIBRARIES)
warnings.filterwarnings("ignore", category=UserWarning, module="peft")

app = typer.Typer(
    name="postlude",
    help="Post-train language models with reinforcement learning. Start with: postlude demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"postlude {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.call_on_close(close_all)


app.command("advise")(advise.advise)
app.command("train", context_settings=SETTINGS)(train.train)
app.command("check", context_settings=SETTINGS)(check.check)
app.command("compare", context_settings=SETTINGS)(compare.compare)
app.command("sample")(sample.sample)
app.command("eval")(eval.evaluate)
app.command("sheet")(sheet.sheet)
app.command("audit")(audit.audit)
app.command("review")(review.review)
app.command("export")(export.export)
app.command("pairs")(pairs.pairs)
app.command("label")(label.label)
app.command("selftest", context_settings=SETTINGS)(selftest.selftest)
app.command("memory", context_settings=SETTINGS)(memory.memory)
app.command("plan", context_settings=SETTINGS)(plan.plan)
app.command("methods")(methods.methods)
app.command("explain")(explain.explain)
app.add_typer(
    config.app, name="config", help="Look at a recipe before it runs, or make one from TRL's or verl's configuration."
)
app.add_typer(data.app, name="data", help="Turn feedback of one kind into another, and check a file before a run.")
data.app.command("check")(data_check.check)
app.add_typer(
    constitution.app, name="constitution", help="AI feedback by written principles: revise answers, compare answers."
)
app.add_typer(engine.app, name="engine", help="Try what a recipe's engine is made of: trainer ranks, vLLM servers.")
app.command("doctor")(doctor.doctor)
app.command("status")(steering.status)
app.command("stop")(steering.stop)
app.command("checkpoint")(steering.checkpoint)
app.command("demo")(demo.demo)


def console_error(error: PostludeError, as_json: bool = False) -> None:
    """Each problem on a line of its own, to standard error; its code behind it, once for neighbours that share it.
    `as_json`: to standard output too, as the one object that a program waits for."""
    if as_json:
        typer.echo(json.dumps({"problems": [problem_values(problem) for problem in error.problems]}))
    console = Screen(stderr=True)
    count = len(error.problems)  # one mistake can take several lines to tell
    head = "error" if count == 1 else f"{count} problems"
    console.print(colored(head, "bold red"))
    for problem, following in zip(error.problems, [*error.codes[1:], ""], strict=True):
        *before, last = problem.split("\n")
        for text in before:
            console.print("  " + visible(text), soft_wrap=True)
        code = "" if problem.code in (following, UNCODED) else dim(f" [{problem.code}]")
        console.print(joined("  " + visible(last), code), soft_wrap=True)
