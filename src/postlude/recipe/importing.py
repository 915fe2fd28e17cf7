"""A TRL or verl configuration as a recipe that trains with the same effective settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from postlude.algorithms import ALGORITHMS
from postlude.errors import ConfigError, visible
from postlude.plain_yaml import dump
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.foreign.alias import Lacking, Trainer, Untranslatable
from postlude.recipe.foreign.files import Source, read, trainer_of
from postlude.recipe.foreign.tables import NAMES, reason, refusal
from postlude.recipe.foreign.translate import Setting, Translation, apply
from postlude.recipe.resolution import method_settings, resolve_with_problems
from postlude.recipe.schema import Recipe
from postlude.shapes import is_dict, is_mapping

ALWAYS = ("schedule.lr",)
"""Written even where it equals our default, which depends on other keys."""
STAND_INS = {"model": "model", "data": "data.jsonl", "reward": "exact"}


@dataclass
class Imported:
    """The recipe, and what became of every key that was read."""

    source: Source
    trainer: Trainer
    method: str
    values: dict[str, Any]
    translated: dict[str, list[str]]
    """Our key -> their names."""
    defaults: dict[str, list[str]]
    """Our key -> their names, for what holds where their file is silent."""
    count: int = 0
    """Keys of theirs that were translated."""
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Their key -> why it was not translated."""
    decisions: dict[str, str] = field(default_factory=dict[str, str])
    """What the user has to decide -> why or how."""

    @property
    def summary(self) -> str:
        """The counts, which add up."""
        read = len(self.source.settings)
        kind = f"{self.trainer.library} {self.trainer.title}"
        return (
            f"{self.source.path.name}, read as {kind}: {read} keys read = {self.count} translated + "
            f"{len(self.left)} not translated; {len(self.decisions)} need your decision"
        )

    @property
    def text(self) -> str:
        """The recipe as YAML."""
        head = [f"# From {self.source.path.name} by postlude config import.", f"# {self.summary}."]
        body = list(_lines(self.values, self._comments()))
        return "\n".join([*map(visible, head), *body, *map(visible, self._tail())]) + "\n"

    def _comments(self) -> dict[str, str]:
        library = self.trainer.library
        sources = {path: ", ".join(names) for path, names in self.translated.items()}
        silent = {
            path: f"{library}'s default: {', '.join(names)}" if names else f"as in {library}'s code"
            for path, names in self.defaults.items()
        }
        comments = silent | sources
        return {path: text for path, text in comments.items() if not any(p.startswith(f"{path}.") for p in comments)}

    def _tail(self) -> Iterator[str]:
        if self.decisions:
            yield ""
        yield from (f"# needs your decision: {what} ({why})" for what, why in self.decisions.items())
        if self.left:
            yield ""
        yield from (f"# not translated: {name} ({why})" for name, why in self.left.items())
        if self.trainer.differs:
            yield ""
        yield from (f"# differs: {text}" for text in self.trainer.differs)


def import_file(path: Path, trainer: str | None = None, processes: int = 1) -> Imported:
    """Read a configuration and translate it. Raises ConfigError where it is neither TRL's nor verl's."""
    source = read(path)
    kind, guessed = trainer_of(source, trainer)
    force = _in_force(kind, source)
    try:
        method = kind.method(force, source.settings)
    except Untranslatable as why:
        raise ConfigError(f"{path.name}: {why}.", code="not-translatable") from why
    except (TypeError, ValueError, AttributeError) as error:  # a list or a mapping where the library has a name
        raise ConfigError(
            f"{path.name}: method or loss are not named as in {kind.library}: {error}.", code="not-translatable"
        ) from error
    document = Document({"method": method})
    for key, value in kind.constants.items():
        documents.assign(document, key, value, kind.library)
    settings = [*_settings(kind, source, force)]
    known = method_settings(method)
    facts = {"importing": True, **({"processes": processes} if processes > 1 else {})}  # else the file may say
    done = apply(document, settings, Recipe, known, tuple(kind.constants), facts)
    result = _gathered(source, kind, method, document, done)
    _sort_out(result, done)
    for i, clash in enumerate(done.clashes, 1):
        result.decisions[f"conflict, {i}"] = clash.removesuffix(".")
    if guessed:
        result.decisions["trainer"] = f"read as {kind.title}; say --trainer NAME if it is another"
    _missing(result, processes)
    return result


def _in_force(kind: Trainer, source: Source) -> dict[str, Any]:
    """Their settings with their defaults under them; a key without a value leaves the default."""
    values = {_canonical(k, kind): v for k, v in source.settings.items() if v is not None}
    return {**kind.defaults, **values}


def _canonical(name: str, kind: Trainer) -> str:
    alias = NAMES.get(name)
    return alias.name if alias and alias.library == kind.library else name


def _settings(kind: Trainer, source: Source, force: Mapping[str, Any]) -> Iterator[Setting]:
    """Every setting in force that the table knows."""
    spellings = {_canonical(k, kind): k for k in source.settings}
    for name in {**spellings, **force}:
        alias = NAMES.get(name)
        if alias and alias.library in (kind.library, "common"):
            value = force.get(name, source.settings.get(name))
            yield Setting(alias, spellings.get(name, name), value, name, name not in spellings)


def _gathered(source: Source, kind: Trainer, method: str, document: Document, done: Translation) -> Imported:
    """The values worth writing: what their keys gave, and defaults of theirs that differ from ours."""
    ours = _defaults_of(method, document)
    translated: dict[str, list[str]] = {}
    defaults: dict[str, list[str]] = {path: [] for path in kind.constants}
    for one, outputs in done.done:
        for path in outputs:
            into = defaults if one.default else translated
            into.setdefault(path, []).append(one.name)
    values: dict[str, Any] = {"method": method}
    for path in [*translated, *defaults]:
        there, value = _at(document.values, path)
        differs = path in ALWAYS or path in translated or _at(ours, path) != (True, value)
        if there and differs:
            documents.assign(Document(values), path, value, "")
    return Imported(source, kind, method, _in_recipe_order(values), translated, defaults)


def _defaults_of(method: str, document: Document) -> dict[str, Any]:
    """Every setting of the method as it is here, with the same adapter."""
    values = {"method": method, **STAND_INS}
    lora = _at(document.values, "model.lora")[1]
    resolved, _ = resolve_with_problems(Document({**values, "model": {"path": "model", "lora": lora}}))
    return asdict(resolved) if resolved else {}


def _at(values: Any, path: str) -> tuple[bool, Any]:
    for name in path.split("."):
        if not is_mapping(values) or name not in values:
            return False, None
        values = values[name]
    whole: Any = values
    return True, list(whole) if isinstance(whole, tuple) else whole  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _in_recipe_order(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: values[f.name] for f in fields(Recipe) if f.name in values}


def _sort_out(result: Imported, done: Translation) -> None:
    """Count what was translated; give a reason for every other key that was read."""
    result.count = len({one.name for one, _ in done.done if not one.default})
    for one, why in done.idle:
        if not one.default:
            result.left[one.name] = why
    for one, why in done.failed:
        if not one.default:
            result.left[one.name] = result.decisions[one.name] = str(why)
        elif not isinstance(why, Lacking):
            result.decisions[f"{one.name} = {one.value}"] = f"{why}; this is {result.trainer.library}'s default"
    mentioned = {one.name for one, _ in (*done.done, *done.idle, *done.failed)}
    for name, value in result.source.settings.items():
        if name not in mentioned:
            _refuse(result, name, value)


def _refuse(result: Imported, name: str, value: Any) -> None:
    row = refusal(name, result.trainer.library)
    if row is None:
        result.left[name] = "no counterpart is known"
    elif value is None:
        result.left[name] = "not set"
    else:
        result.left[name] = reason(row, value)
        if row.decide and result.left[name] == row.why:
            result.decisions[name] = row.why


def _missing(result: Imported, processes: int) -> None:
    """What a run needs and their file does not say, and what the recipe's own check finds."""
    entry = ALGORITHMS[result.method]
    wanted = {
        "model": "a folder with a Hugging Face model, or a hub id",
        "data": "JSON lines, CSV or Parquet; see docs/data.md",
        "reward": "a built-in, or my_rewards.py:fn",
    }
    for key, what in wanted.items():
        there = result.values.get(key)
        lacks = not there or (is_dict(there) and "path" not in there)
        if lacks and not (key == "reward" and entry.source != "rollout"):
            result.decisions[key] = f"give {key}=..., {what}"
    epochs = next((k for k in result.source.settings if k.endswith(("num_train_epochs", "total_epochs"))), None)
    result.decisions.pop(epochs or "", None)
    if "steps" not in result.values:
        said = f"{epochs} is {result.source.settings[epochs]}: " if epochs else ""
        result.decisions["steps"] = f"{said}steps = epochs x rows / prompts_per_step; {Recipe.steps} unless given"
    known = {"steps_per_generation", "generation_batch_size"} <= set(result.source.settings)
    if result.trainer.library == "TRL" and "num_processes" not in result.source.settings:
        if processes > 1:
            result.decisions["engine.trainers"] = f"1 unless given; {processes} are TRL's processes, to the same result"
        elif not known:
            said = "taken as 1; with --processes N prompts_per_step is N times as large"
            result.decisions["number of processes"] = said
    for i, problem in enumerate(_complaints(result), 1):
        result.decisions[f"recipe, {i}"] = problem.removesuffix(".")


def _complaints(result: Imported) -> Sequence[str]:
    """What is wrong with the recipe itself, once model, data and reward are there."""
    values = {**STAND_INS, **result.values}
    for key in ("model", "data"):
        section = values[key]
        if is_dict(section):
            values[key] = {"path": key, **section}
    if ALGORITHMS[result.method].source != "rollout":
        values.pop("reward", None)
    return resolve_with_problems(Document(values))[1]


# -------------------------------------------------------------------------------------------------- writing YAML


def _lines(values: Mapping[str, Any], comments: Mapping[str, str], prefix: str = "", depth: int = 0) -> Iterator[str]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        inner = is_mapping(value) and value
        line = f"{'  ' * depth}{_scalar(key)}:" + ("" if inner else f" {_scalar(value)}")
        yield f"{line}  # {visible(comments[path])}" if path in comments else line
        if inner:
            yield from _lines(value, comments, f"{path}.", depth + 1)


def _scalar(value: Any) -> str:
    return dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
