"""A comparison before it is run: everything wrong with any of its arms at once, and what the reader of its table must
know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from postlude.check import check
from postlude.contest.arms import Arm, require_names, with_settings
from postlude.contest.asked import Asked, problems_of, require_arm
from postlude.contest.plan import FILE, Allowance, Contest, Entry, Tuning
from postlude.contest.verdicts import ENOUGH, FEW
from postlude.errors import ConfigError, DataError, Problem
from postlude.inputs.comparing import changes
from postlude.inputs.made_of import Inputs, inputs_of
from postlude.inputs.rows import data_sets
from postlude.objects import imports_put_back
from postlude.prepared import Prepared
from postlude.recipe import Document, documents
from postlude.recipe.documents import flat
from postlude.recipe.places import fixed, located

SET_HERE = ("seed", "output", "steps", "budget")
"""Keys that the comparison sets for all arms alike."""
ALIKE = ("evaluate", "data.eval", "data.eval_split", "data.eval_columns")
"""Keys by which the arms are measured: those of the recipe hold for all."""
MEASURED_BY = ("reward", "correct_above", "sampling")
"""Keys that an arm may change, after which its held-out figures mean something else."""
NOTHING = Asked()
"""Of a table: it chooses itself."""


@dataclass
class Setup:
    """A comparison that was checked."""

    contest: Contest
    notes: list[str] = field(default_factory=list[str])
    """What should be known before it runs."""


def set_up(
    document: Document,
    recipe: str,
    arms: Sequence[Arm],
    seeds: Sequence[int] | int,
    allowance: Allowance | None,
    tuning: Tuning | None,
    folder: Path,
    asked: Asked = NOTHING,
) -> Setup:
    """Check every arm, with every value that is swept, and join what is in the folder already. Raises ConfigError with
    all that is wrong; nothing is written. `seeds`: their number, from the recipe's on, or themselves. `asked`: what
    the table is to say, as far as that can be wrong."""
    before = Contest.read(folder) if (folder / FILE).exists() else None
    require_arm(asked.baseline, [arm.name for arm in arms] + ([*before.arms] if before else []))
    problems = require_names(arms)
    if len(arms) < 2:
        problems.append(
            Problem("missing-option", "a comparison needs two arms at least: --arm METHOD or --arm 'NAME: KEY=VALUE'.")
        )
    values = fixed(located(documents.long_form(document.values), document))
    problems += _of_the_recipe(values)
    if problems:
        raise ConfigError(problems)
    first = int(values.get("seed", 0))
    numbers = [first + n for n in range(seeds)] if isinstance(seeds, int) else [*dict.fromkeys(seeds)]
    allowance = allowance or Allowance("steps", float(values.get("steps", 100)))
    for key in SET_HERE:
        values.pop(key, None)
    entries: list[Entry] = []
    for arm in arms:
        try:
            _require_free(arm)
            theirs = with_settings(values, arm.settings, document.origin)
            entries.append(Entry(arm, fixed(theirs.values), theirs.origin))
        except ConfigError as error:
            problems += _of_arm(arm, error)
    if problems:
        raise ConfigError(problems)
    contest = Contest(recipe, entries, numbers, allowance, tuning)
    return _checked(contest.joined(before, folder) if before else contest, folder, asked)


def taken_up(folder: Path, asked: Asked = NOTHING) -> Setup:
    """The comparison of a folder, to go on with, checked once more. Raises ConfigError where files have changed."""
    contest = Contest.read(folder)
    require_arm(asked.baseline, contest.arms)
    return _checked(contest, folder, asked)


def _of_the_recipe(values: Mapping[str, Any]) -> Iterator[Problem]:
    data = values.get("data")
    if not (isinstance(data, dict) and data.get("eval")):
        yield Problem("missing-key", "data.eval is missing: arms are compared by held-out data.", key="data.eval")
    evaluate = values.get("evaluate")
    if isinstance(evaluate, dict) and evaluate.get("stop_at") is not None:
        yield Problem(
            "contradiction",
            "evaluate.stop_at ends a run before its budget is used, so that budgets would not be equal. Leave it out "
            "(evaluate.stop_at=null).",
            key="evaluate.stop_at",
        )


def _require_free(arm: Arm) -> None:
    """Raises ConfigError where an arm sets what must be the same for all."""
    problems: list[Problem] = []
    for key in arm.settings:
        top = key.partition(".")[0]
        if top in SET_HERE:
            way = "--budget" if top in ("steps", "budget") else "--seeds" if top == "seed" else "--out"
            problems.append(Problem("contradiction", f"{key} is set by the comparison ({way}).", key=key))
        elif key in ALIKE or top in ALIKE:
            text = f"{key} says how arms are measured, which must be the same for all: set it in the recipe."
            problems.append(Problem("contradiction", text, key=key))
    if problems:
        raise ConfigError(problems)


def _of_arm(arm: Arm, error: ConfigError | DataError) -> list[Problem]:
    return [problem.within(f"arm {arm.name}: ") for problem in error.problems]


# -------------------------------------------------------------------------------------------------------- checked


def _checked(contest: Contest, folder: Path, asked: Asked) -> Setup:
    """Check a run of each arm, and of each value that is tried; and that all is made of what it was made of."""
    problems: list[Problem] = []
    prepared: dict[str, Prepared] = {}
    first = {entry.arm.name: job for entry in contest.entries for job in contest.runs({}) if job.entry is entry}
    for job in first.values():
        try:
            with imports_put_back():
                prepared[job.arm] = check(contest.document(job, folder))
        except (ConfigError, DataError) as error:
            problems += _of_arm(job.entry.arm, error)
    if not problems:
        chosen_by = contest.tuning.figure if contest.tuning else None
        problems += problems_of(asked.metrics, chosen_by, {arm: one.recipe for arm, one in prepared.items()})
    if not problems and contest.tuning is not None:
        problems += _of_tuning(contest, folder, prepared)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    same = [*_same(prepared)]
    if same:
        raise ConfigError(same)
    prints = {arm: inputs_of(one) for arm, one in prepared.items()}
    changed = [*_changed(contest, prepared, prints)]
    if changed:
        raise ConfigError(list(dict.fromkeys(changed)))
    return Setup(replace(contest, prints=prints), [*_notes(contest, prepared)])


def _changed(contest: Contest, prepared: Mapping[str, Prepared], prints: Mapping[str, Inputs]) -> Iterator[Problem]:
    """What is another than when the comparison began: its runs would be of two kinds, and nothing would show it."""
    for arm, before in contest.prints.items():
        for one in changes(before, prints[arm], [*data_sets(prepared[arm])], {}):
            yield Problem(
                f"changed-{one.word}",
                f"{one.word}: {one.text} since the comparison began. Put it back as it was, or compare in another "
                "folder (--out).",
                key=one.word,
            )


def _of_tuning(contest: Contest, folder: Path, prepared: Mapping[str, Prepared]) -> list[Problem]:
    assert contest.tuning is not None
    problems: list[Problem] = []
    seen: set[str] = set()
    for job in contest.trials():
        if job.place.rpartition("/")[0] in seen:
            continue
        seen.add(job.place.rpartition("/")[0])
        try:
            with imports_put_back():
                tried = check(contest.document(job, folder))
        except (ConfigError, DataError) as error:
            problems += [
                p.within(f"--sweep {' '.join(job.settings.values())}: ") for p in _of_arm(job.entry.arm, error)
            ]
            continue
        reported = {p.text for p in prepared[job.arm].held_out}
        both = sum(p.text in reported for p in tried.held_out)
        if both:
            problems.append(
                Problem(
                    "held-out-overlap",
                    f"--choose-on {contest.tuning.held_out}: {both} of its prompts are in data.eval too, so that "
                    "what is reported would be what was chosen by. Take them out of one of the two.",
                    key="--choose-on",
                )
            )
            break
    return problems


def _settings(prepared: Prepared) -> dict[str, str]:
    """What makes an arm another than the others: its resolved settings, without the name of its folder."""
    return {key: repr(value) for key, value in flat(asdict(prepared.recipe)) if key not in ("output", "seed")}


def _same(prepared: Mapping[str, Prepared]) -> Iterator[Problem]:
    """Two arms that are one run under two names."""
    seen: dict[str, str] = {}
    for arm, one in prepared.items():
        key = repr(_settings(one))
        if key in seen:
            yield Problem("given-twice", f"arms {seen[key]} and {arm} have the same settings: leave one out.")
        seen.setdefault(key, arm)


def _notes(contest: Contest, prepared: Mapping[str, Prepared]) -> Iterator[str]:
    recipes = {arm: one.recipe for arm, one in prepared.items()}
    sizes = {arm: r.prompts_per_step * r.group_size for arm, r in recipes.items()}
    if contest.allowance.kind == "steps" and len({*sizes.values()}) > 1:
        listed = ", ".join(f"{arm} {size}" for arm, size in sizes.items())
        yield f"a step is not the same for all arms (answers or rows: {listed}): --budget tokens=... counts them alike"
    for key in MEASURED_BY:
        several = {repr(getattr(recipe, key)) for recipe in recipes.values()}
        if len(several) > 1:
            yield f"the arms differ in {key}: held-out figures that rest on it do not mean the same for all of them"
    if contest.allowance.kind == "seconds":
        yield "a budget of seconds is used up by whatever else the machine does: the runs cannot be repeated exactly"
    if len(contest.seeds) < FEW:
        yield "one seed: nothing can be said of what another seed would give (--seeds 3)"
    elif len(contest.seeds) < ENOUGH:
        yield "two seeds say next to nothing of what another seed would give (--seeds 3)"
    lines = {f"arm {arm}: {note}" for arm, one in prepared.items() for note in one.notes if "no effect" in note}
    yield from sorted(lines)


def apart(contest: Contest, folder: Path) -> dict[str, dict[str, str]]:
    """Arm -> the resolved settings in which the arms differ, as text; what all have alike is left out."""
    from postlude.recipe import resolve

    rows: dict[str, dict[str, str]] = {}
    for job in contest.runs({}):
        if job.arm not in rows:
            recipe = resolve(contest.document(job, folder))
            rows[job.arm] = {key: str(value) for key, value in flat(asdict(recipe)) if key not in ("output", "seed")}
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    differing = [key for key in keys if len({row.get(key, "-") for row in rows.values()}) > 1]
    return {arm: {key: row.get(key, "-") for key in differing} for arm, row in rows.items()}
