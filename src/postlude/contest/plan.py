"""What a comparison is made of, kept in comparison.yaml in its folder: arms with their whole recipes, seeds, budget."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self, cast

from postlude import plain_yaml
from postlude.contest.arms import Arm, with_settings
from postlude.errors import ConfigError, Problem, reason
from postlude.inputs.made_of import Inputs
from postlude.inputs.standing import plain
from postlude.recipe import Document
from postlude.recipe.documents import flat
from postlude.runs.durable import Disk

FILE = "comparison.yaml"
SCHEMA = 1
KINDS = ("tokens", "steps", "seconds")
TUNING_SEED = 1_000_003
"""Added to the first seed for the runs that choose a setting: none that is reported."""
ENDLESS = 10**6
"""Steps of a run that its seconds end."""


@dataclass(frozen=True)
class Allowance:
    """What each run may use."""

    kind: Literal["tokens", "steps", "seconds"]
    amount: float

    @classmethod
    def of(cls, text: str) -> Self:
        """`tokens=200k`, `steps=100`, `seconds=600`, `seconds=10m`."""
        kind, _, amount = text.partition("=")
        match = re.fullmatch(r"([\d_,]*\.?\d+(?:[eE]\d+)?)([kKmMGBh]?)", amount.strip())
        scales = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
        scales = scales | ({"m": 60.0, "h": 3600.0} if kind == "seconds" else {"m": 1e6})
        if kind not in KINDS or match is None or match[2] not in scales:
            raise ConfigError(
                f"--budget {text!r}: give tokens=200k, steps=100 or seconds=600 (for seconds also 10m and 1h).",
                code="not-key-value",
                key="--budget",
            )
        number = float(re.sub("[_,]", "", match[1])) * scales[match[2]]
        if number <= 0 or (kind != "seconds" and number != int(number)):
            raise ConfigError(f"--budget {text!r}: must be a positive number.", code="out-of-range", key="--budget")
        return cls(kind, number)

    def settings(self, per_step: int) -> dict[str, Any]:
        """Of a recipe whose steps draw at least so many answers, or rows."""
        if self.kind == "steps":
            return {"steps": int(self.amount), "budget": None}
        if self.kind == "tokens":  # every answer has a token
            return {"steps": math.ceil(self.amount / max(per_step, 1)), "budget": {"tokens": int(self.amount)}}
        return {"steps": ENDLESS, "budget": {"seconds": self.amount}}

    def __str__(self) -> str:
        return f"{self.amount:,.0f} {self.kind}" if self.amount == int(self.amount) else f"{self.amount:g} {self.kind}"


@dataclass(frozen=True)
class Tuning:
    """Values of keys, of which each arm gets the best by held-out data that is not reported."""

    keys: Mapping[str, Sequence[str]]
    """Key -> values as YAML; of several keys every combination."""
    held_out: str
    """The data to choose by."""
    figure: str = "sampled/accuracy"
    seeds: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", {key: tuple(values) for key, values in self.keys.items()})

    @classmethod
    def checked(cls, keys: Mapping[str, Sequence[str]], held_out: str | None, figure: str, seeds: int) -> Self | None:
        """None where nothing is swept. Raises ConfigError with all that is wrong."""
        if not keys:
            if held_out is not None:
                text = "--choose-on would have no effect without --sweep."
                raise ConfigError(text, code="no-effect", key="--choose-on")
            return None
        problems = [
            Problem(
                "not-key-value", f"--sweep {key!r}: give KEY=VALUE,VALUE,... with two values at least.", key="--sweep"
            )
            for key, values in keys.items()
            if not re.fullmatch(r"[A-Za-z_][\w.]*", key) or len({*values}) < 2
        ]
        if held_out is None:
            text = (
                "--sweep needs --choose-on: held-out data to choose by that is not what is reported (data.eval). What "
                "was chosen by looks better than it is."
            )
            problems.append(Problem("missing-option", text, key="--choose-on"))
        if problems or held_out is None:
            raise ConfigError(problems)
        place = Path(held_out).expanduser()
        return cls(keys, str(place.absolute()) if place.exists() else held_out, figure, seeds)

    def choices(self) -> list[dict[str, str]]:
        return [dict(zip(self.keys, values, strict=True)) for values in product(*self.keys.values())]


@dataclass(frozen=True)
class Entry:
    """An arm and its whole recipe, whose paths work from anywhere; without what the comparison sets."""

    arm: Arm
    values: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """Where its values came from, for messages; not kept."""


@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    entry: Entry
    seed: int
    place: str
    """Of its folder, in that of the comparison."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Over the arm's: values that are tried, or that were chosen."""
    held_out: str | None = None
    """Other held-out data than the recipe's: where a value is tried."""

    @property
    def arm(self) -> str:
        return self.entry.arm.name


@dataclass(frozen=True)
class Contest:
    """A whole comparison."""

    recipe: str
    """As it was named."""
    entries: Sequence[Entry]
    seeds: Sequence[int]
    allowance: Allowance
    tuning: Tuning | None = None
    prints: Mapping[str, Inputs] = field(default_factory=dict[str, Inputs], compare=False)
    """Arm -> the fingerprints of what its runs are made of."""

    @property
    def arms(self) -> list[str]:
        """Their names."""
        return [entry.arm.name for entry in self.entries]

    def document(self, job: Job, folder: Path) -> Document:
        """The run of a job as `launch` takes it."""
        document = with_settings(job.entry.values, job.settings, job.entry.origin)
        values = document.values
        values |= self.allowance.settings(per_step(values)) | {"seed": job.seed, "output": str(folder / job.place)}
        if job.held_out:
            values["data"] = {**values["data"], "eval": job.held_out}
        return document

    def trials(self) -> Iterator[Job]:
        """The runs that choose settings, if any."""
        if self.tuning is None:
            return
        for number, choice in product(range(self.tuning.seeds), self.tuning.choices()):
            for entry in self.entries:
                seed = self.seeds[0] + TUNING_SEED + number
                name = ",".join(f"{key}={value}" for key, value in choice.items())
                place = f"tuning/{entry.arm.folder}/{Arm(name).folder}/seed-{number}"
                yield Job(entry, seed, place, choice, self.tuning.held_out)

    def runs(self, chosen: Mapping[str, Mapping[str, str]]) -> Iterator[Job]:
        """The runs that are reported, seed by seed: whatever is done then compares all arms. `chosen`: by arm."""
        for seed in self.seeds:
            for entry in self.entries:
                place = f"runs/{entry.arm.folder}/seed-{seed}"
                yield Job(entry, seed, place, chosen.get(entry.arm.name, {}))

    # ------------------------------------------------------------------------------------------------- the file

    def write(self, folder: Path) -> None:
        values = {
            "schema": SCHEMA,
            "recipe": self.recipe,
            "seeds": [*self.seeds],
            "budget": {self.allowance.kind: self.allowance.amount},
            "tuning": None
            if self.tuning is None
            else {
                "keys": {key: [*some] for key, some in self.tuning.keys.items()},
                "held_out": self.tuning.held_out,
                "figure": self.tuning.figure,
                "seeds": self.tuning.seeds,
            },
            "arms": [
                {"name": e.arm.name, "settings": dict(e.arm.settings), "values": dict(e.values)} for e in self.entries
            ],
            "prints": {arm: plain(inputs) for arm, inputs in self.prints.items()},
        }
        folder.mkdir(parents=True, exist_ok=True)
        Disk(folder).replace(FILE, plain_yaml.dump(values))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises ConfigError where there is none, or it is damaged."""
        path = folder / FILE
        if not path.is_file():
            raise ConfigError(f"{str(folder)!r} holds no comparison: it has no {FILE}.", code="not-a-run")
        try:
            values = cast("dict[str, Any]", plain_yaml.load(path.read_text(encoding="utf-8")))
            if values["schema"] > SCHEMA:
                raise ConfigError(
                    f"{path} is of a later postlude (schema {values['schema']}): read it with that one.",
                    code="later-version",
                )
            kind, amount = next(iter(values["budget"].items()))
            entries = [Entry(Arm(e["name"], e["settings"]), e["values"]) for e in values["arms"]]
            tuning = Tuning(**values["tuning"]) if values["tuning"] else None
            allowance, prints = Allowance(kind, amount), values.get("prints", {})
            return cls(values["recipe"], entries, values["seeds"], allowance, tuning, prints)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise ConfigError(f"{path} cannot be read: {reason(error)}. It is damaged.", code="damaged-run") from error

    def joined(self, before: Contest, folder: Path) -> Contest:
        """This with the arms and seeds that its folder has besides. Raises ConfigError with every change of what was
        compared there: its runs would no longer be one comparison."""
        problems = [*self._changes(before)]
        if problems:
            way = f"Leave it as it was, or compare in another folder (--out); {folder} is about what it was."
            raise ConfigError([Problem("changed-settings", f"{text}. {way}", key=key) for key, text in problems])
        entries = {entry.arm.name: entry for entry in before.entries} | {e.arm.name: e for e in self.entries}
        seeds = [*before.seeds, *(seed for seed in self.seeds if seed not in before.seeds)]
        return replace(self, entries=[*entries.values()], seeds=seeds, prints=before.prints)

    def _changes(self, before: Contest) -> Iterator[tuple[str, str]]:
        """(key, what is another than it was)."""
        if self.allowance != before.allowance:
            yield "--budget", f"the budget was {before.allowance} and is {self.allowance}"
        if self.tuning != before.tuning:
            yield "--sweep", "what is swept, or the data to choose by, is another than it was"
        theirs = {entry.arm.name: dict(flat(entry.values)) for entry in before.entries}
        for entry in self.entries:
            old, new = theirs.get(entry.arm.name), dict(flat(entry.values))
            if old is None:
                continue
            for key in sorted({*old, *new}):
                if str(old.get(key)) != str(new.get(key)):
                    yield key, f"arm {entry.arm.name}: {key} was {old.get(key)!r} and is {new.get(key)!r}"


def per_step(values: Mapping[str, Any]) -> int:
    """Answers, or at least rows, of a step: one token each is the least it uses."""
    from postlude.recipe.schema import Recipe

    prompts, answers = values.get("prompts_per_step", Recipe.prompts_per_step), values.get("group_size", 1)
    return prompts * answers if isinstance(prompts, int) and isinstance(answers, int) else 1
