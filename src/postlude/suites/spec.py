"""What a suite's file says, and the suites that come with the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from postlude.bounds import Bounds, Line, hold
from postlude.engines.settings import Sampling
from postlude.errors import ConfigError, Problem
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.places import located
from postlude.rewards.spec import RewardSpec
from postlude.suites.template import LITERAL, Template
from postlude.validation import validate
from postlude.words import meant


@dataclass(frozen=True)
class Made:
    """Rows that a generator of the package makes: no file, no network."""

    task: Line
    rows: Annotated[int, Bounds(1, 5_000)] = 100
    seed: Annotated[int, Bounds(0, 2**31)] = 0

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class SuiteData:
    """Where the rows are from: one of `path` and `made`."""

    path: Line | None = None
    """A file of rows, beside the suite's own; hf:OWNER/NAME asks the network."""
    sha256: Line | None = None
    """Of that file: another one is refused."""
    split: Line = "test"
    """Of a data set."""
    made: Made | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.made is None):
            raise ValueError("data is one of path (a file) and made (a task of the package)")
        if self.sha256 is not None and self.path is None:
            raise ValueError("data.sha256 is of a file; made rows have none")


@dataclass(frozen=True)
class Suite:
    """A suite, as its file says it."""

    name: Line
    data: SuiteData
    prompt: str
    """What is asked, with columns in braces: `{question}`; a brace itself is written twice."""
    reward: tuple[RewardSpec, ...]
    """As in a recipe: the first says which answers are right."""
    about: str = ""
    source: str = ""
    """Who made the rows, and where they are from."""
    licence: str = ""
    metrics: tuple[RewardSpec, ...] = ()
    """What else scores the answers."""
    answer: str | None = "answer"
    """The column of the reference answer; null where there is none."""
    answer_after: str | None = None
    """The reference is what follows its last occurrence in that column."""
    system: str | None = None
    """Said first, where prompts are messages; columns in braces, as in `prompt`."""
    chat: bool | None = None
    """Whether prompts are messages. Default: where the model has a chat template."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Rows that are shown with their answers before each prompt."""
    shown: str = "{answer}"
    """How the answer of an example is written, with its columns in braces."""
    between: str = "\n\n"
    """What stands between examples, and before the prompt, where prompts are text."""
    samples: Annotated[int, Bounds(1, 65_536)] = 1
    """Answers to each prompt."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))

    def __post_init__(self) -> None:
        hold(self)
        if not self.reward:
            raise ValueError("reward is empty: nothing would say how good an answer is")
        if "/" in self.name or self.name.startswith("."):
            raise ValueError("name becomes the name of a file: no slash, and no dot first")

    @property
    def templates(self) -> dict[str, Template]:
        """Key -> its text, taken apart. Raises ConfigError where that cannot be."""
        return {key: Template.of(text, key) for key, text in self._texts()}

    def _texts(self) -> Iterator[tuple[str, str]]:
        yield from (("prompt", self.prompt), ("system", self.system or ""), ("shown", self.shown))
        yield "between", self.between

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the texts, each for itself."""
        for key, text in self._texts():
            try:
                template = Template.of(text, key)
            except ConfigError as error:
                yield from error.problems
                continue
            if key == "prompt" and not template.names:
                sentence = f"prompt: {text[:60]!r} names no column, so that all rows would ask the same: {{question}}."
                yield Problem("bad-template", sentence, key=key)
            if key == "between" and template.names:
                sentence = f"between: {{{template.names[0]}}} cannot be a column: it stands between rows. {LITERAL}"
                yield Problem("bad-template", sentence, key=key)


for _kind in (Made, SuiteData, Suite):
    _kind.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]


def packaged() -> dict[str, Suite]:
    """Name -> suite, of those that come with the package."""
    folder = files("postlude").joinpath("suites", "packaged")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    suites = [of_document(documents.from_text(e.read_text(encoding="utf-8"), e.name)) for e in found]
    return {suite.name: suite for suite in sorted(suites, key=lambda suite: suite.name)}


def open_suite(name: str) -> Suite:
    """A suite by its file, or by its name in the package. Raises ConfigError with everything that is wrong in it."""
    if name.endswith((".yaml", ".yml")):
        suite = of_document(documents.read(Path(name).expanduser()))
        _require_free(suite, name)
        return suite
    ours = packaged()
    if name not in ours:
        raise ConfigError(
            f"--suite: {name!r} is neither a file (.yaml) nor one of {', '.join(ours)}.{meant(name, ours)}",
            code="unknown-name",
        )
    return ours[name]


def _require_free(suite: Suite, where: str) -> None:
    """Raises ConfigError where another suite of that name comes with the package: figures tell them by it."""
    ours = packaged().get(suite.name)
    if ours is not None and ours != suite:
        raise ConfigError(
            f"{where}: name: {suite.name} is a suite that comes with postlude, and this is another: give it a name of "
            "its own.",
            code="duplicate-name",
            key="name",
        )


def of_document(document: Document) -> Suite:
    """A suite's values, its paths as the current folder sees them."""
    values = documents.long_form(document.values)
    if "metrics" in values:
        (metrics,) = [documents.long_form({"reward": values["metrics"]})["reward"]]
        values["metrics"] = located({"reward": metrics}, document)["reward"]
    suite, problems = validate(Suite, located(values, document), document.where)
    if problems or suite is None:
        raise ConfigError([*problems] or [Problem("wrong-type", "the suite cannot be read")])
    if wrong := [problem.at(document.where(problem.key or "")) for problem in suite.problems()]:
        raise ConfigError(wrong)
    return suite
