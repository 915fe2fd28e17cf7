"""Training from Python: `postlude.train` and its like. Nothing here sets anything for the whole process."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from postlude.errors import ConfigError
from postlude.objects import imports_put_back
from postlude.recipe import Document, documents
from postlude.recipe.opening import document_of

if TYPE_CHECKING:
    from postlude.advice.advise import Advised
    from postlude.contest.comparison import Comparison
    from postlude.facts.tables import Moves
    from postlude.preflight.report import Report
    from postlude.runs.folder import Listener, Run
    from postlude.sizing import Estimate

F = TypeVar("F", bound=Callable[..., Any])


def train(
    recipe: str | Path | Mapping[str, Any],
    *,
    resume: bool = False,
    accept_changes: str | Sequence[str] = (),
    show: bool = True,
    listeners: Sequence[Listener] = (),
    **settings: Any,
) -> Run:
    """Train a model as a recipe says, and return the run: `run.folder`, `run.history()`, `run.model`.

    `recipe` is a file, a method's name, the folder of a run, a recipe that comes with postlude, or a mapping of a
    recipe's keys; `settings` are keys on top of it. They may be nested mappings, and a reward may be a function:

        postlude.train("grpo", model="my-model", data="prompts.jsonl", reward=my_function, sampling={"max_tokens": 64})

    Everything is checked first: a ConfigError or DataError says all that is wrong at once. `resume` goes on with the
    run, which must be made of what it was made of but for the words of `accept_changes`, such as ("data",). `show`
    draws progress on standard output; `listeners` are called with every event (`postlude.events`). In a notebook, whose
    event loop runs already, the run has a thread of its own; `train_async` stays in the loop.
    """
    from postlude.launch import launch

    with _view(show) as view:
        run = launch(document_from(recipe, settings), resume, [*view, *listeners], accept_changes)
    if (
        run.signal is not None and run.signal != signal.SIGINT
    ):  # the run has saved; the end of the script is its own matter
        signal.raise_signal(run.signal)
    return run


async def train_async(
    recipe: str | Path | Mapping[str, Any],
    *,
    resume: bool = False,
    accept_changes: str | Sequence[str] = (),
    show: bool = True,
    listeners: Sequence[Listener] = (),
    **settings: Any,
) -> Run:
    """`train` within the event loop that is running: `run = await postlude.train_async(...)`."""
    from postlude.launch import launch_async

    with _view(show) as view:
        return await launch_async(document_from(recipe, settings), resume, [*view, *listeners], accept_changes)


def compare(
    recipe: str | Path | Mapping[str, Any],
    arms: Mapping[str, str | Mapping[str, Any]] | Sequence[str],
    *,
    out: str | Path,
    seeds: int | Sequence[int] = 3,
    budget: str | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    choose_on: str | Path | None = None,
    choose_by: str = "sampled/accuracy",
    sweep_seeds: int = 1,
    jobs: int = 1,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    show: bool = True,
    **settings: Any,
) -> Comparison:
    """Compare methods or settings with equal budgets, seeds and held-out answers, as `postlude compare` does.

        done = postlude.compare("recipe.yaml", ["grpo", "drpo lam=0.1"], out="comparison", budget="tokens=200k")
        for difference in done.differences: print(difference.words())

    `arms` are names with settings, or arms as they are typed. `sweep` gives every arm the values that are best by
    `choose_on`. The same call again goes on where it was stopped; `Comparison.of(folder)` reads one at any time. Every
    arm is checked first: a ConfigError says all that is wrong. A run that fails is in `comparison.failed`.
    """
    from postlude.contest.arms import arm_of, arms_from, as_yaml
    from postlude.contest.asked import Asked
    from postlude.contest.comparison import Comparison
    from postlude.contest.plan import Allowance, Tuning
    from postlude.contest.running import Work
    from postlude.contest.setup import set_up

    typed = arms_from(_plain(arms)) if isinstance(arms, Mapping) else [arm_of(arm) for arm in arms]
    swept = {key: [as_yaml(_plain(value)) for value in values] for key, values in (sweep or {}).items()}
    tuning = Tuning.checked(swept, None if choose_on is None else str(choose_on), choose_by, sweep_seeds)
    folder, document = Path(out), document_from(recipe, settings)
    name = recipe if isinstance(recipe, str | Path) else str(recipe.get("method", "recipe"))
    allowance = Allowance.of(budget) if budget else None
    chosen_seeds = seeds if isinstance(seeds, int) else [*seeds]
    asked = Asked(metrics, baseline)
    setup = set_up(document, str(name), typed, chosen_seeds, allowance, tuning, folder, asked)

    def say(text: str) -> None:
        if show:
            print(text)

    for note in setup.notes:
        say(f"note: {note}")
    setup.contest.write(folder)
    work = Work(setup.contest, folder, say=say, processes=jobs)
    work.run()
    return Comparison.of(folder, metrics, baseline, work.failed)


def check_recipe(recipe: str | Path | Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Check a run without starting it, and return its resolved recipe as plain values. Raises ConfigError or DataError
    with everything that is wrong: settings, data row by row, rewards, tokenizer, weights files."""
    from dataclasses import asdict

    from postlude.check import check

    with imports_put_back():
        return asdict(check(document_from(recipe, settings)).recipe)


def check_run(
    recipe: str | Path | Mapping[str, Any],
    *,
    quick: bool = False,
    prompts: int | None = None,
    samples: int | None = None,
    **settings: Any,
) -> Report:
    """Look at a run before it is started, as `postlude check` does: `report.verdict` is ok, warning or broken,
    `report.findings` say what and how to mend it, `report.to_json()` is all of it.

    `quick` leaves out what needs the model; `prompts` and `samples` say how much that is asked. Nothing is raised for
    what is broken in the run, and nothing is written.
    """
    from postlude.preflight.run import Options, preflight

    name = recipe.get("method", "recipe") if isinstance(recipe, Mapping) else recipe
    return preflight(document_from(recipe, settings), str(name), Options(quick, prompts, samples))


def memory(
    what: str | Path,
    *,
    method: str | None = None,
    gpu_memory: float | None = None,
    gpus: int = 1,
    data_lengths: tuple[int, int] | None = None,
    **settings: Any,
) -> Estimate:
    """What a run takes of memory, before anything is loaded: `estimate.peak`, `.phases`, `.parts` with their formulas,
    and `.knobs`, settings that would take less.

    `what` is a recipe (file, method, folder of a run) or a model (folder, name in Hugging Face's cache, a size such as
    "7B"); `settings` are keys of a recipe on top, `data_lengths` the tokens of the longest prompt and answer,
    `gpu_memory` GiB of a GPU, `gpus` devices that share the model. Raises ConfigError or DataError.
    """
    from postlude.footprint import Lengths, forecast
    from postlude.recipe.documents import flat

    lengths = Lengths(*data_lengths) if data_lengths else None
    pairs = [f"{key}={_written(value)}" for key, value in flat(documents.long_form(settings))] if settings else []
    return forecast(str(what), pairs, method, gpu_memory, gpus, lengths)


def _written(value: Any) -> str:
    """A value as the command line would have it."""
    return json.dumps(_plain(value))


def advise(
    *data: str | Path,
    model: str | None = None,
    gpu_memory: float | None = None,
    gpus: int | None = None,
    goal: str | None = None,
    reward: str | None = None,
    move: Moves | None = None,
    prompts: int | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> Advised:
    """What to do with these files, as `postlude advise` says it: `.advice` has the verdict, method, reasons with their
    evidence, rejected ways, warnings, memory and time; `.recipe` is the text of a recipe, or None where nothing is to
    be trained.

    `out` writes it. A model whose folder is here is asked some `prompts` (0: none; None: as many as take 25 seconds).
    """
    from postlude.advice.advise import Wishes, compose, write
    from postlude.advice.advise import advise as advised_on

    wishes = Wishes(model, gpu_memory, gpus, goal, {"use": reward} if reward else None, move, prompts)
    advised = advised_on([str(path) for path in data], wishes)
    return compose(advised) if out is None else write(advised, Path(out), force)


def document_from(recipe: str | Path | Mapping[str, Any], settings: Mapping[str, Any]) -> Document:
    """The document behind a call's arguments."""
    if isinstance(recipe, Mapping):
        document = Document({key: _plain(value) for key, value in recipe.items()})
    else:
        document = document_of(Path(recipe), [])
    document.values = documents.long_form(document.values)
    for key, value in documents.long_form({k: _plain(v) for k, v in settings.items()}).items():
        documents.assign(document, key, documents.merge(_inside(document, key), {key: value})[key], documents.PYTHON)
    return document


def _inside(document: Document, key: str) -> dict[str, Any]:
    return {key: document.values[key]} if key in document.values else {}


def _plain(value: Any) -> Any:
    """A setting as a recipe holds it: paths and functions by their names."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return name_of(value) if callable(value) else value


def name_of(function: Callable[..., Any]) -> str:
    """`module:name` of a function at the top of a module or notebook, by which a run finds it again.

    Raises ConfigError of any other, and of one whose name is another function's: it would be that one that is called.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    loaded = sys.modules.get(module) if module else None  # a module that was taken out again is no place to find it
    if loaded is None or vars(loaded).get(name) is not function:
        raise ConfigError(
            f"reward: {function!r} has no name at the top of a module, by which the run could find it again. "
            "Define it with def, outside of any other function; one that a decorator returns takes the name of what it "
            "decorates.",
            code="not-a-reward",
        )
    return f"{module}:{name}"


def reward(
    *, says_right: bool = True, compares: bool = False, abstain: float = 1.0, summed: Sequence[str] = ()
) -> Callable[[F], F]:
    """Say of a reward function, as a decorator, what a run should know of it.

    `says_right`: whether 1 means right and 0 wrong, not mere liking. `compares`: whether a number is of an answer among
    the others to its prompt. `abstain`: the share (0 to 1) of a step's answers that it may give None. `summed`: names
    of its logged metrics that are counts.
    """
    if not 0 <= abstain <= 1:
        raise ConfigError(f"reward: abstain is a share between 0 and 1, found {abstain!r}.", code="out-of-range")

    def describe(function: F) -> F:
        traits = {"says_right": says_right, "compares": compares, "abstain": abstain, "summed": frozenset(summed)}
        for name, value in traits.items():
            setattr(function, name, value)
        return function

    return describe


class _view:
    """Draws a run on standard output, where that is wanted."""

    def __init__(self, show: bool) -> None:
        self.show = show

    def __enter__(self) -> list[Listener]:
        if not self.show:
            return []
        drawn = random.getstate()  # importing rich draws a number, which is no matter of whoever trains
        from postlude.terminal import Screen
        from postlude.watch.live import LiveView

        random.setstate(drawn)
        self.view = LiveView(Screen())
        return [self.view.__enter__()]

    def __exit__(self, *error: object) -> None:
        if self.show:
            self.view.__exit__(*error)
