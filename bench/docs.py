"""Write the generated pages of docs/ (`PAGES`) from the code: `make docs`. A test holds them up to date."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import postlude
from bench.verdict_sheet import page as verdicts
from postlude.algorithms import ALGORITHMS
from postlude.bounds import Bounds, bounds_of
from postlude.codes import GROUPS
from postlude.doctor.rules import RULES
from postlude.explain.comparing import defaults_of, needs_of
from postlude.facts.erratum import KIND as CORRECTED
from postlude.facts.formulas import FORMULAS
from postlude.facts.methods import METHODS
from postlude.facts.notes import markdown
from postlude.facts.topic import Topic
from postlude.facts.written import TABLES
from postlude.recipe import schema as recipe
from postlude.recipe.foreign.tables import ALIASES, REFUSED
from postlude.runs.figures import BARE, PREFIXES, Figure
from postlude.runs.figures.answers import DIFFICULTY, MEASURED, SAMPLED, SELECTED, SETS
from postlude.runs.figures.human import PEOPLE
from postlude.runs.figures.objective import LOSSES, PER_PAIR, PER_TOKEN
from postlude.runs.figures.rewards import BUILT_IN, REWARDS
from postlude.runs.figures.serving import AGES, SERVERS, TIMES
from postlude.runs.figures.step import BATCH, DRPO, OPTIMISER
from postlude.runs.figures.truth import TRUTH
from postlude.validation import members, tag

DOCS = Path(__file__).parent.parent / "docs"


def methods() -> str:
    """One section per method."""
    lines = ["# Methods", "", "Made by `make docs` from `src/postlude/algorithms.py`.", ""]
    lines += ["| method | what it does |", "|---|---|"]
    for entry in ALGORITHMS.values():
        lines.append(f"| [{entry.name}](#{entry.name}) | {entry.summary} |")
    lines += ["", "`postlude methods --compare A B` shows some of them side by side.", "", "## Side by side", ""]
    lines += ["| method | requires | complexity | best for | cost |", "|---|---|---|---|---|"]
    for name, facts in METHODS.items():
        cells = (f"[{name}](#{name})", facts.requires, facts.complexity, facts.best_for, facts.cost)
        lines.append(f"| {' | '.join(cells)} |")
    for entry in ALGORITHMS.values():
        lines += [
            "",
            f"## {entry.name}",
            "",
            entry.summary,
            "",
            f"Needs {needs_of(entry)}. Source: {entry.cite}.",
            "",
            "```text",
            FORMULAS[entry.name],
            "```",
            "",
            "What it is bad at:",
            "",
            *(f"* {limit}" for limit in METHODS[entry.name].limits),
            "",
        ]
        lines += ["```yaml", *_defaults(entry), "```"]
    return "\n".join(lines) + "\n"


def _defaults(entry: Any) -> list[str]:
    return [f"{path}: {_yaml(value)}" for path, value in defaults_of(entry) if value is not None and value != []]


def _yaml(value: Any) -> str:
    if value == float("inf"):
        return ".inf"
    return str(value).lower() if isinstance(value, bool) else str(value)


def recipe_keys() -> str:
    """Every key with its default and what it means."""
    lines = ["# Every key of a recipe", "", "Made by `make docs` from the dataclasses that are the schema.", ""]
    lines += [
        "A path in a recipe is read from the recipe's own folder; what is not there, but in the current folder, is",
        "taken from there with a note. Paths on the command line, and `output` always, are of the current folder.",
        "",
    ]
    lines += ["| key | default | values | meaning |", "|---|---|---|---|"]
    lines += _rows(recipe.Recipe, "")
    lines += [
        "",
        "`objective`, `keep` and `shaping` come from the method: see [methods.md](methods.md). Their numbers:",
        "",
    ]
    lines += ["| part | key | default | values |", "|---|---|---|---|"]
    lines += [*_parts(get_type_hints(recipe.Recipe, include_extras=True))]
    return "\n".join(lines) + "\n"


def _parts(hints: dict[str, Any]) -> Iterator[str]:
    """A row for every number of the factors of objectives, filters and shaping."""
    kinds: dict[Any, None] = {}

    def collect(hint: Any) -> None:
        for option in members(hint):
            if isinstance(option, type) and is_dataclass(option):
                kinds[option] = None
                for inner in get_type_hints(option, include_extras=True).values():
                    collect(inner)
            for arg in get_args(option):
                collect(arg)

    for name in ("objective", "keep", "shaping", "kl_control"):
        collect(hints[name])
    for kind in kinds:
        own = get_type_hints(kind, include_extras=True)
        for f in fields(kind):
            limits = bounds_of(own[f.name])
            if limits:
                yield f"| {tag(kind) or kind.__name__} | `{f.name}` | {_default(f)} | {limits} |"


def _allowed(hint: Any) -> str:
    """The values of a field in a few words."""
    choices = [str(c) for m in members(hint) if get_origin(m) is Literal for c in get_args(m)]
    limits = bounds_of(hint)
    if choices:
        return ", ".join(f"`{c}`" for c in choices)
    if bool in members(hint):
        return "true, false"
    return str(limits) if isinstance(limits, Bounds) else ""


def _rows(kind: Any, prefix: str) -> list[str]:
    notes = _notes(kind)
    hints = get_type_hints(kind, include_extras=True)
    lines: list[str] = []
    for f in fields(kind):
        inner = [m for m in members(hints[f.name]) if is_dataclass(m)]
        if f.name in ("objective", "keep", "shaping"):
            lines.append(f"| `{prefix}{f.name}` | of the method | | {notes.get(f.name, '')} |")
        elif len(inner) == 1:
            if isinstance(f.default, str):  # a word, or a mapping
                words = f"{', '.join(w for m in members(hints[f.name]) for w in get_args(m))}, or a mapping"
                lines.append(f"| `{prefix}{f.name}` | {_default(f)} | {words} | {notes.get(f.name, '')} |")
            lines += _rows(inner[0], f"{prefix}{f.name}.")
        elif (parts := _entries(hints[f.name])) and prefix + f.name not in SAID_BEFORE:
            if len(members(hints[f.name])) > 1:  # a value, or a list of mappings
                lines.append(f"| `{prefix}{f.name}` | {_default(f)} | | {notes.get(f.name, '')} |")
            lines += _rows(parts[0], f"{prefix}{f.name}[].")
        else:
            allowed = "as `reward`" if parts else _allowed(hints[f.name])
            lines.append(f"| `{prefix}{f.name}` | {_default(f)} | {allowed} | {notes.get(f.name, '')} |")
    return lines


SAID_BEFORE = ("evaluate.metrics",)
"""Lists whose entries have the keys of another list."""


def _entries(hint: Any) -> list[type]:
    """The dataclasses that a field holds lists of."""
    listed = [a for m in members(hint) for a in get_args(m)]
    return [a for a in listed if isinstance(a, type) and is_dataclass(a)]


def _default(f: Any) -> str:
    if f.default is not MISSING:
        return "" if f.default is None else f"`{_yaml(f.default)}`"
    return "required" if f.default_factory is MISSING else ""


def _notes(kind: Any) -> dict[str, str]:
    """The text under each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    notes = {}
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = getattr(following.value, "value", None)
            if isinstance(text, str):
                notes[node.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return notes


COMING_FROM = """# Coming from TRL or verl

The names below work in a recipe and on the command line, and are printed with what they became when a run starts:

```sh
postlude train recipe.yaml num_generations=16 epsilon_high=0.28 max_completion_length=512 learning_rate=1e-6 beta=0.04
postlude train recipe.yaml actor_rollout_ref.rollout.n=16 clip_ratio_high=0.28
```

* Our own names win. A recipe that gives our name and another for the same setting, with different values, is an error;
  the command line wins over the recipe, whichever name it uses.
* A name that the method has no use for (`gae_lambda` with grpo) is an error, and so is one without a counterpart
  (`vllm_server_port`); the message says why.
* vLLM there is vLLM here: `use_vllm` and verl's `rollout.name: vllm` become `engine.servers` ([scale.md](scale.md)),
  one server that takes turns with the trainer on its GPU (`colocate`), as both do; TRL's `vllm_mode: server` one beside
  it. It has an environment of its own (`make vllm-env`). What only TRL's own server has (`vllm_server_*`) has no
  counterpart.
* TRL counts completions per process and optimiser steps; postlude counts prompts and draws. The conversions below do
  the arithmetic with one process.

A whole configuration becomes a recipe with

```sh
postlude config import grpo.yaml --output recipe.yaml
postlude config check recipe.yaml model=... data=... reward=...
```

It reads the YAML of `trl grpo --config`, the JSON of a GRPOConfig (also RLOO, SFT, DPO, KTO, reward models and PPO),
verl's YAML, or a text or shell script with verl's `key=value` overrides. The recipe has their effective settings:
defaults of theirs that differ from the method's here are written out too (TRL 1.16: `loss_type` is `dapo`, `beta` 0,
bf16, linear decay to 0; verl: `clip_ratio_c` 3, weight decay 0.01). Each line tells the name it came from. At the end
stand the keys that were not translated, each with its reason, and what is left for you to decide (often the reward, the
data, and the number of steps). Translated and not translated add up to the keys that were read.

TRL's reward functions run unchanged, and so does verl's `compute_score(data_source, solution_str, ground_truth,
extra_info)`: `reward: verl:my_scores.py:compute_score`; see [rewards.md](rewards.md).
"""


def coming_from() -> str:
    """The names of other libraries, and the settings they are here."""
    lines = [COMING_FROM, "## Names", "", "Made by `make docs` from the tables of `src/postlude/recipe/foreign`.", ""]
    for library, title in (("TRL", "TRL"), ("verl", "verl"), ("common", "Papers and older code")):
        lines += [f"### {title}", "", "| theirs | here | note |", "|---|---|---|"]
        for alias in (a for a in ALIASES if a.library == library):
            names = " or ".join(f"`{n}`" for n in alias.names)
            extra = ["when imported"] * alias.only_imported + ["of older releases"] * alias.older
            note = "; ".join(n for n in (alias.note, *extra) if n)
            lines.append(f"| {names} | {_ticked(alias.ours)} | {note} |")
        lines.append("")
    lines += ["## Names without a counterpart", "", "| theirs | why | here instead |", "|---|---|---|"]
    lines += [f"| {_ticked(row.names)} | {row.why} | {_ticked(row.use)} |" for row in REFUSED]
    return "\n".join(lines) + "\n"


def _ticked(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


TABLE = "## All public names\n"
"""Where the part of docs/python.md begins that is made; what stands before it is written by hand."""


def python() -> str:
    """The page as it is, with its table of the public names made anew."""
    page = (DOCS / "python.md").read_text().partition(TABLE)[0]
    lines = [TABLE, "Made by `make docs` from `postlude.PUBLIC` and docstrings.", "", "| name | what it is |"]
    lines += ["|---|---|", *(f"| `{name}` | {line_of(name)} |" for name in postlude.PUBLIC)]
    return page + "\n".join(lines) + "\n"


def line_of(name: str) -> str:
    """The first sentence of a public name's docstring; of a value, that of the text under it in its module."""
    module, _, inside = postlude.PUBLIC[name].partition(":")
    value = getattr(postlude, name)
    written = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
    text = inspect.getdoc(value) if written else _under(importlib.import_module(module), inside)
    words = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", words)[0].replace("|", "\\|")


def _under(module: ModuleType, name: str) -> str:
    """The text under a value in its module."""
    for node, following in pairwise(ast.parse(inspect.getsource(module)).body):
        named = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name
        if named and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return str(following.value.value)
    return ""


FIGURES = """# Every figure of a run

Made by `make docs` from `src/postlude/runs/figures`.

A step's figures and those of measurements are events of the run, in its `events.jsonl`:

```python
import postlude.runs

run = postlude.runs.read("runs/grpo-1")
run.names  # the figures there are
run["reward/mean"].values  # one of them, with run["reward/mean"].steps
run["reward/mean"].figure  # what is said of it below
run.rollouts[3], run.answers  # the answers of step 3, and those to held-out prompts
```

Parts of a name in braces stand for a name of yours: `reward/{label}` is `reward/exact` of a reward with the label
exact. What a reward of yours logs (`log_metric`) stands under its label, or under `logged/` where that name is taken;
what a method of yours reports has the name it gives. Neither is in these tables. An arrow says which way a figure
should go, where that can be said. Sections are those of the [specification](specification.md).

A figure of other rows than those that are trained on first has one of these before its name:

"""


def figures() -> str:
    """The table of figures, a section for each kind."""
    lines = [FIGURES + "| before the name | what the figures are of |", "|---|---|"]
    lines += [f"| `{prefix.name}` | {prefix.meaning} |" for prefix in reversed(PREFIXES)]
    lines += ["", f"{len(BARE) - len(TRUTH)} figures are of steps, {len(MEASURED) + len(TRUTH)} more of measurements."]
    for title, rows in (
        ("The draw", (*SETS, *SAMPLED, *DIFFICULTY)),
        ("Selection", SELECTED),
        ("Rewards", REWARDS),
        ("What built-in rewards log", BUILT_IN),
        ("What is trained on", BATCH),
        ("Losses", LOSSES),
        ("Per trained token", PER_TOKEN),
        ("Judged answers", PER_PAIR),
        ("DRPO and DisCO", DRPO),
        ("The optimiser", OPTIMISER),
        ("Held-out prompts (greedy/, sampled/)", MEASURED),
        ("Answers of servers, or of older weights", (*AGES, *SERVERS)),
        ("Seconds of a run with servers (timings.jsonl; in no event)", TIMES),
        ("Truth", TRUTH),
        ("What people said (postlude review; in no event)", PEOPLE),
    ):
        lines += [
            "",
            f"## {title}",
            "",
            "| figure | unit | | meaning | how it is computed | source |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_figure_row(figure) for figure in rows]
    return "\n".join(lines) + "\n"


def _figure_row(figure: Figure) -> str:
    arrow = {"up": "↑", "down": "↓", "neither": ""}[figure.better]
    healthy = f". Usual: {figure.healthy}" if figure.healthy else ""
    cells = (f"`{figure.name}`", figure.unit, arrow, figure.meaning + healthy, figure.formula, figure.source)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def errors() -> str:
    """Every error code and what it means."""
    lines = ["# Error codes", "", "Made by `make docs` from `src/postlude/codes.py`.", ""]
    lines += [
        "Every problem that postlude reports ends with its code in brackets, as in `[unknown-key]`; where neighbours",
        "share one, it stands behind the last. Codes stay as they are from version to version, while the sentences may",
        "improve. In Python an error has `problems`, each a text with `code`, `place` (`recipe.yaml line 3`) and `key`",
        "(`schedule.lr`):",
        "",
        "```python",
        "try:",
        '    check(recipe.read(Path("recipe.yaml")))',
        "except ConfigError as error:",
        "    for problem in error.problems:",
        "        print(problem.code, problem.place, problem.key)",
        "```",
    ]
    for title, codes in GROUPS.items():
        lines += ["", f"## {title}", "", "| code | what it means |", "|---|---|"]
        lines += [f"| `{code}` | {meaning} |" for code, meaning in codes.items()]
    return "\n".join(lines) + "\n"


CONCEPTS = """# Concepts and judgement

Made by `make docs` from `src/postlude/facts`: what `postlude explain TOPIC` says of concepts, feedback, reward models,
symptoms, reward hacking and numbers to begin with. The command knows more: every figure, key, method, reward, alarm,
error code and name of another library; `postlude explain` lists them. Corrected errors of the notes are in
[notes.md](notes.md), figures in [figures.md](figures.md), keys in [recipe.md](recipe.md), methods in
[methods.md](methods.md).
"""


def concepts() -> str:
    """The topics that stand written, a section for each kind."""
    lines = [CONCEPTS]
    for kind, several, table in TABLES:
        if kind != CORRECTED:
            lines += [f"## {several[:1].upper()}{several[1:]}", ""]
            lines += [line for topic in table() for line in _topic(topic)]
    return "\n".join(lines).rstrip() + "\n"


def _topic(topic: Topic) -> Iterator[str]:
    yield from (f"### {topic.name}", "", f"*{topic.title}*", "", *topic.meaning.split("\n\n")[0:1], "")
    for paragraph in topic.meaning.split("\n\n")[1:]:
        yield from (paragraph, "")
    if topic.formula:
        yield from ("```text", topic.formula, "```", "")
    fields = (("Usual", topic.healthy), ("Use", topic.use), ("Bad at", topic.bad_at))
    yield from (f"* {label}: {value}" for label, value in fields if value)
    if topic.shows:
        yield f"* See it with: {', '.join(f'`{command}`' for command in topic.shows)}"
    if topic.see:
        yield f"* See also: {', '.join(topic.see)}"
    place = f"; `{topic.place}`" if topic.place else ""
    yield from (f"* Source: {topic.source}{place}", "")


def notes() -> str:
    """The list of the notes' rows."""
    return "\n".join(markdown()) + "\n"


DOCTOR = """# What went wrong

Made by `make docs` from `src/postlude/doctor/`.

```
postlude doctor runs/grpo-1            # what is wrong, how one sees it, and the command to go on with
postlude doctor runs/* --json          # for programs
postlude doctor runs/grpo-1 --strict   # exit code 1 after an error, where something is grave, or a warning lasts
```

It reads a run's folder, also while the run goes on, after a kill, of an earlier version, or where a file is damaged
(which it says), and changes nothing. Every rule below is a function of the run's figures, asked after each step in
order; so it finds what the run itself found while it went on. A finding has its value and limit, the figure's
course, three answers of the steps that it rests on, the likely cause, and what to set: `postlude train RUN
KEY=VALUE --resume`, or another run of the same recipe in a free folder (`output=RUN-again`) where the setting has to
stay or the run is finished. What follows from another finding stands in a line of its own. The last lines say what is
fine, and how much could not be seen, with `--details` why: a rule whose figures are not there, or too few of them,
does not guess. A run that an error ended says so first, with its text and code (the `end` event in events.jsonl has
both), and counts as serious; so does one that an alarm took back and that has not gone on. Of an events.jsonl that is
damaged inside, the steps before the damage are looked at.

## While a run goes on

The same rules are asked after every step. One that finds something makes one note in events.jsonl (code `alarm`,
with rule, value, threshold and the steps it rests on), once a run; a run that is killed and goes on has the same
alarms. Hints are only for `postlude doctor`.

```yaml
alarms:
  action: pause             # of what is grave: log (the default), pause or rollback
  ignore: [length-drift]    # left out
  on: {cut-off: pause}      # a rule's own action, whatever its gravity
```

* `log`: the note.
* `pause`: the step is finished, everything is saved, the run ends, and the command is an error that says how to go
  on. `--resume` goes on and does not pause again for the same alarm: the run is then the same as one that never
  paused.
* `rollback`: the run ends, and its folder is that of the newest checkpoint before the evidence began. What came
  after is put aside whole in `RUN/taken-back/step-000087-kl-explosion/` (events, answers, checkpoints): `postlude
  doctor` reads that, too. With the same settings the same would come again, so the sentence names what to set.
  The evidence is the steps that show it, so that what was sound before stays. Checkpoints that are far enough back must
  still be there (`checkpoints.every`, `checkpoints.keep`); where none is, the run pauses, and the sentence says how to
  begin anew with those that would have stood. `postlude doctor RUN` says why it went back and what to set, and of a
  folder in `taken-back/` which run it is of: commands are that run's. A process that is killed within it leaves a
  folder that the next `--resume` finishes.

A limit is from the specification or a paper where there is one, and says where; the others are chosen, and measured
on planted faults and on healthy runs.
"""
GRAVITY = {
    "grave": "what follows such steps is worth nothing: only this pauses or rolls back by `alarms.action`",
    "warning": "something to look at while the run goes on",
    "hint": "for whoever asks; no alarm",
}


def doctor() -> str:
    """How runs are looked at, and every rule."""
    lines = [DOCTOR]
    for gravity, meaning in GRAVITY.items():
        lines += [f"## {gravity.capitalize()}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += ["| rule | symptom | when | likely cause | what to do | source |", "|---|---|---|---|---|---|"]
        for rule in (rule for rule in RULES.values() if rule.gravity == gravity):
            cells = (rule.symptom, rule.threshold, rule.cause, rule.remedy, rule.source)
            lines.append(f"| `{rule.name}` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


PAGES = {
    "doctor.md": doctor,
    "concepts.md": concepts,
    "notes.md": notes,
    "methods.md": methods,
    "recipe.md": recipe_keys,
    "figures.md": figures,
    "coming-from.md": coming_from,
    "errors.md": errors,
    "python.md": python,
    "verdicts.md": verdicts,
}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
