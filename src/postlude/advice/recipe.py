"""Advice as a recipe: every value with a comment that says why, and the data as a recipe can name them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.advice.decide import Advice
from postlude.advice.names import word
from postlude.advice.reading import NEEDS, Material, Pile
from postlude.advice.routes import Fit
from postlude.advice.settings import Setting, entry_of, reward_of
from postlude.errors import DataError
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.screening.checked import check_rows
from postlude.screening.uses import copy_of
from postlude.sources import file as rows
from postlude.sources.forms import Reading
from postlude.sources.table import Table

WIDTH = 100
KEPT: Mapping[str, tuple[str, ...]] = {
    "pairs": ("prompt", "chosen", "rejected", "margin", "probability"),
    "lists": ("prompt", "completions", "ranks", "scores"),
    "thumbs": ("prompt", "completion", "label"),
    "steps": ("prompt", "completions", "labels"),
    "tests": ("prompt", "tests", "test_list", "test", "input_output", "hidden_tests", "challenge_test_list",
              "private_tests", "entry_point"),
    "golds": ("prompt", "answer"),
    "answers": ("prompt", "completion", "messages", "text"),
    "text": ("text",),
    "prompts": ("prompt", "messages"),
}  # fmt: skip
"""Columns of rows that are written anew; `system` and `tools` stay too."""


@dataclass(frozen=True)
class Data:
    """The `data` part of a recipe, and the rows that stand beside it where files cannot be named as they are."""

    settings: tuple[Setting, ...]
    rows: tuple[Mapping[str, Any], ...] = ()


def data_for(advice: Advice, material: Material, beside: Path) -> Data:
    """How a recipe names the rows that the advice is for. `beside`: where rows written anew would stand."""
    assert advice.feedback is not None and advice.method is not None
    piles = [pile for pile in material.piles if pile.feedback == advice.feedback]
    direct = _direct(advice, material, piles)
    chat = _chat(advice, piles)
    if direct is not None:
        return Data((*direct, *chat, *_eval(advice, material)))
    written = tuple(_written(advice, piles))
    why = f"the {len(written):,} rows that this method reads, put into its columns; your files are as they were"
    return Data((Setting("data.path", str(beside), why), *chat, *_eval(advice, material)), written)


def _direct(advice: Advice, material: Material, piles: Sequence[Pile]) -> list[Setting] | None:
    """Files as they are; None where one holds rows of other kinds too, or has to be turned into something else."""
    paths = list(dict.fromkeys(pile.path for pile in piles))
    for path in paths:
        of_file = [pile for pile in piles if pile.path == path]
        others = any(
            p.path == path and p.feedback != advice.feedback and not p.others and not of_file[0].others
            for p in material.piles
        )
        same = len({json.dumps({**pile.columns}, sort_keys=True) for pile in of_file}) == 1
        if advice.feedback == "thumbs" and advice.method == "sft":
            return None
        if (
            others
            or not same
            or not all(pile.direct for pile in of_file)
            or not _reads(advice, material.tables[path], of_file)
        ):
            return None
    skip = any(_bad(advice, material.tables[pile.path], pile) for pile in piles)
    bad = (
        [
            Setting(
                "data.on_bad_row", "skip", "rows that cannot be used are left out, counted, and listed in rejected.txt"
            )
        ]
        if skip
        else []
    )
    if len(paths) == 1:
        columns = (
            [Setting("data.columns", dict(piles[0].columns), "name here: column of the file")]
            if piles[0].columns
            else []
        )
        return [Setting("data.path", paths[0], piles[0].said or "your rows as they are"), *columns, *bad]
    mix = [_set(path, piles) for path in paths]
    return [Setting("data.mix", mix, "drawn in proportion to their rows"), *bad]


def _set(path: str, piles: Sequence[Pile]) -> dict[str, Any]:
    of_file = [pile for pile in piles if pile.path == path]
    columns = {"columns": dict(of_file[0].columns)} if of_file[0].columns else {}
    return {"path": path, "weight": sum(len(pile.entries) for pile in of_file), "name": Path(path).name, **columns}


def _reads(advice: Advice, table: Table, piles: Sequence[Pile]) -> bool:
    """Whether the method reads as many rows of the file as were counted."""
    assert advice.method is not None and advice.feedback is not None
    fresh = copy_of(table)
    try:
        checked = check_rows(fresh, NEEDS[advice.feedback], None, Reading(piles[0].columns))
    except DataError:
        return False
    kinds = NEEDS[advice.feedback].kinds
    return (not kinds or checked.kind in kinds) and len(fresh.rows) == sum(len(pile.entries) for pile in piles)


def _bad(advice: Advice, table: Table, pile: Pile) -> bool:
    """Whether rows of a file would stop a run: those that cannot be read, or that the reward refuses."""
    fresh = copy_of(table)
    check_rows(fresh, NEEDS[pile.feedback], None, Reading(pile.columns))
    if fresh.problems or len(fresh.rows) < table.read:
        return True
    assert advice.method is not None
    part = advice.evidence.part(pile.feedback)
    if entry_of(Fit(advice.method, pile.feedback, ())).source != "rollout" or part is None:
        return False
    reward, _ = reward_of(advice.evidence, part)
    if reward["use"] not in ("maths", "exact", "choice", "code"):
        return False
    judged = Rewards.of([RewardSpec(reward["use"], args=reward.get("args", {}))])
    prompts = rows.prompts(copy_of(table), Reading(pile.columns))
    return any(judged.problems_of_rows(prompts))


def _chat(advice: Advice, piles: Sequence[Pile]) -> list[Setting]:
    """Text becomes chat for a model with a template."""
    model = advice.evidence.model
    if model is None or not model.chat or not piles or advice.feedback == "text":
        return []
    part = advice.evidence.part(piles[0].feedback)
    if part is None or part.chat or any("text" in row and "prompt" not in row for row in piles[0].rows[:1]):
        return []
    return [
        Setting("data.chat", True, "the model has a chat template: texts become a user's and an assistant's message")
    ]


def _eval(advice: Advice, material: Material) -> list[Setting]:
    """The first held-out file of the same kind, where none of its prompts is trained on."""
    piles = [pile for pile in material.held_out if pile.feedback == advice.feedback and pile.direct]
    if not piles or advice.evidence.measured_by(piles[0].feedback) is None:
        return []
    settings = [Setting("data.eval", piles[0].path, "held out, by its name")]
    if piles[0].columns:
        settings.append(Setting("data.eval_columns", dict(piles[0].columns), "of the held-out file"))
    return settings


def _written(advice: Advice, piles: Sequence[Pile]) -> list[dict[str, Any]]:
    """Rows in canonical columns. Of thumbs the good answers alone, where these are to be imitated."""
    assert advice.feedback is not None
    names = {*KEPT[advice.feedback], "system", "tools"}
    if advice.method == "sft":
        names -= {"label"}
    rows = (
        row for pile in piles for row in pile.rows if advice.method != "sft" or word(row.get("label", True)) == "true"
    )
    return [{k: v for k, v in row.items() if k in names and v is not None} for row in rows]


# ------------------------------------------------------------------------------------------------------- as text


def text_of(advice: Advice, data: Data) -> str:
    """The recipe, whose comments say why each value is what it is."""
    assert advice.method is not None
    e = advice.evidence
    head = [f"{advice.headline}. Written by `postlude advise`; change what you like."]
    head += [f"* {reason.text}: {reason.evidence}" for reason in advice.reasons]
    head += [f"! {warning}" for warning in advice.warnings]
    settings = [Setting("method", advice.method, "")]
    fits = advice.room is None or advice.room.fits
    lines = [line for text in head for line in _comment(text)]
    if e.model is not None and e.model.named and fits:
        settings.append(Setting("model.path", e.model.path, ""))
    else:
        lines += _comment("No model is named: postlude train RECIPE model=MODEL")
    return "\n".join([*lines, *_block([*settings, *data.settings, *advice.settings])]) + "\n"


def _comment(text: str, indent: int = 0) -> list[str]:
    pad = " " * indent
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}#   ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def _block(settings: Sequence[Setting], indent: int = 0) -> list[str]:
    """Settings as a block of YAML; those of one key stand together under it."""
    lines: list[str] = []
    heads = list(dict.fromkeys(setting.key.partition(".")[0] for setting in settings))
    pad = " " * indent
    for head in heads:
        inside = [s for s in settings if s.key.partition(".")[0] == head]
        if len(inside) == 1 and "." not in inside[0].key:
            lines += _entry(inside[0], indent)
        else:
            deeper = [Setting(s.key.partition(".")[2], s.value, s.why) for s in inside]
            lines += [f"{pad}{head}:", *_block(deeper, indent + 2)]
    return lines


def _entry(setting: Setting, indent: int) -> list[str]:
    line = f"{' ' * indent}{setting.key}: {_scalar(setting.value)}"
    if setting.why and len(line) + len(setting.why) + 3 <= WIDTH:
        return [f"{line}{' ' * max(2, 30 - len(line))}# {setting.why}"]
    return [*(_comment(setting.why, indent) if setting.why else []), line]


def _scalar(value: Any) -> str:
    """YAML in flow form: JSON is."""
    if isinstance(value, float) and value and (abs(value) < 1e-3 or value == int(value)):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False)


def values_of(advice: Advice, data: Data) -> dict[str, Any]:
    """The same as nested values."""
    from postlude.plain_yaml import load

    loaded = load(text_of(advice, data))
    assert isinstance(loaded, dict)
    return loaded
