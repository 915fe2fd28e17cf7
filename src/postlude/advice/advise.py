"""From files to advice: reading, measuring, asking the model where there is one, deciding, writing the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postlude.advice.asking import ask
from postlude.advice.decide import Advice, decide
from postlude.advice.evidence import Evidence
from postlude.advice.goals import goal_of
from postlude.advice.language import language_of, letters_per_token
from postlude.advice.machine import device_of, model_of
from postlude.advice.measures import held_out_of, parts_of, texts_of
from postlude.advice.reading import Material, read_all
from postlude.advice.recipe import Data, data_for, text_of, values_of
from postlude.advice.routes import Fit
from postlude.advice.settings import settings_of
from postlude.errors import ConfigError, DataError, EngineError, RewardError
from postlude.facts.tables import Moves
from postlude.models.load import Facts
from postlude.plain_yaml import load
from postlude.rewards.resolve import BUILT_IN
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.words import meant

Tell = Callable[[str], None]
DEFAULT = "advised.yaml"
"""Name of the recipe where none is given; the first that is free of advised.yaml, advised-2.yaml, ..."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for beside the data."""

    model: str | None = None
    gpu_memory: float | None = None
    """GiB of one GPU."""
    gpus: int | None = None
    goal: str | None = None
    reward: Mapping[str, Any] | None = None
    """`use`, and `args` where it has some."""
    moves: Moves | None = None
    prompts: int | None = None
    """That the model is asked; 0: none. None: as many as take little time."""
    split: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name here -> column of the files."""
    max_tokens: int | None = None
    """Of the answers that the model is asked for."""


@dataclass(frozen=True)
class Advised:
    """Advice with its recipe."""

    advice: Advice
    material: Material
    recipe: str | None = None
    """Its text; None where nothing is to be trained."""
    data: Data | None = None
    path: Path | None = None
    """Where the recipe was written."""
    rows: Path | None = None
    """Where rows in other columns were written beside it."""
    notes: tuple[str, ...] = ()


def advise(data: Sequence[str], wishes: Wishes, tell: Tell = lambda doing: None) -> Advised:
    """What to do with these files. Raises DataError and ConfigError for what cannot be read."""
    if wishes.reward is not None:
        Rewards.of([spec_of(wishes.reward)])
    tell("reading the model's files" if wishes.model else "reading the data")
    model, facts = model_of(wishes.model) if wishes.model else (None, None)
    device = device_of(wishes.gpu_memory, wishes.gpus)
    tell("reading the data")
    goal = goal_of(wishes.goal)
    material = read_all(data, wishes.split, goal, wishes.columns)
    tell("measuring the data")
    evidence = replace(
        evidence_of(material, facts), model=model, device=device, goal=goal, reward=wishes.reward,
        moves=wishes.moves,
    )  # fmt: skip
    notes = list(material.notes)
    if model is not None and model.local and wishes.prompts != 0:
        evidence, asking = _with_base(evidence, material, wishes, tell)
        notes += asking
    return Advised(decide(evidence), material, notes=tuple(notes))


def spec_of(reward: Mapping[str, Any]) -> RewardSpec:
    """The reward that was named. Raises ConfigError for what is none."""
    try:
        spec = RewardSpec(reward["use"], args=reward.get("args", {}))
    except ValueError as error:
        raise ConfigError(f"--reward: {error}.", code="wrong-type") from error
    if ":" not in spec.use and spec.use not in BUILT_IN:
        text = f"--reward: there is no built-in reward {spec.use!r}.{meant(spec.use, BUILT_IN)}"
        raise ConfigError(text, code="not-a-reward")
    return spec


def columns_of(text: str | None) -> dict[str, str]:
    """`prompt=question,chosen=good`, or the same as a mapping of YAML. Raises ConfigError for anything else."""
    if not text:
        return {}
    try:
        values = load(text) if text.lstrip().startswith("{") else dict(_pair(one) for one in text.split(","))
    except ValueError as error:
        values, cause = None, f" ({error})"
    else:
        cause = ""
    if not isinstance(values, dict) or not all(isinstance(one, str) and one for one in values.values()):
        said = f"--columns is a list such as prompt=question,chosen=good,rejected=bad, got {text!r}{cause}."
        raise ConfigError(said, code="wrong-type")
    return {str(name).strip(): str(column).strip() for name, column in values.items()}


def _pair(text: str) -> tuple[str, str]:
    name, sign, column = text.partition("=")
    if not sign:
        raise ValueError(f"{text!r} has no =")
    return name.strip(), column.strip()


def evidence_of(material: Material, facts: Facts | None = None) -> Evidence:
    """What the data show."""
    language = language_of(texts_of(material.piles))
    each = letters_per_token(language)

    def tokens(text: str) -> int:
        return len(facts.tokenizer(text, add_special_tokens=False)["input_ids"]) if facts else round(len(text) / each)

    return Evidence(
        parts_of(material, tokens),
        material.read,
        sum(material.bad.values()),
        dict(material.left),
        dict(material.unread),
        tuple(material.unnamed),
        language,
        facts is None,
        held_out_of(material),
    )


def _with_base(e: Evidence, material: Material, wishes: Wishes, tell: Tell) -> tuple[Evidence, list[str]]:
    """The base pass rate, where there are prompts whose answers a reward can judge."""
    part = e.part("tests", "golds") or (e.part("prompts") if e.reward else None)
    if part is None or part.prompts < 2:
        return e, []
    fit = Fit("grpo", part.feedback, ())
    draft = Advice("train", "", e, "grpo", part.feedback, settings=tuple(settings_of(e, fit, None)))
    try:
        with _beside() as place:
            plan = data_for(draft, material, place)
            _write_rows(place, plan)
            recipe = values_of(draft, plan)
            recipe["data"] = {**recipe["data"], "on_bad_row": "skip"}
            base = ask(recipe, tell, wishes.prompts, wishes.max_tokens)
    except (ConfigError, DataError, EngineError, RewardError, TimeoutError) as error:
        return replace(e, unasked=str(error).partition("\n")[0]), []
    return replace(e, base=base), []


class _beside:
    """A place for rows that only the asking reads."""

    def __enter__(self) -> Path:
        from tempfile import TemporaryDirectory

        self._folder = TemporaryDirectory()
        return Path(self._folder.name) / "rows.jsonl"

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()


# ------------------------------------------------------------------------------------------------------- writing


def write(advised: Advised, out: Path | None, force: bool = False) -> Advised:
    """Write the recipe, and the rows beside it where files cannot be named as they are. Raises ConfigError where
    something is in the way; where nothing is to be trained nothing is written."""
    if advised.advice.method is None:
        return advised
    target = out if out is not None else free_name(Path(DEFAULT))
    _require_free(target, force)
    composed = compose(advised, target)
    assert composed.recipe is not None and composed.data is not None
    rows = rows_beside(target) if composed.data.rows else None
    if rows:
        _require_free(rows, force)
    try:
        _write_rows(rows_beside(target), composed.data)
        target.write_text(composed.recipe, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out: cannot write {str(target)!r}: {error.strerror}.", code="cannot-write") from error
    return replace(composed, path=target, rows=rows)


def compose(advised: Advised, target: Path = Path(DEFAULT)) -> Advised:
    """With the recipe's text as it would stand in a file of that name; nothing is written."""
    if advised.advice.method is None:
        return advised
    plan = data_for(advised.advice, advised.material, rows_beside(target))
    return replace(advised, recipe=text_of(advised.advice, plan), data=plan)


def rows_beside(target: Path) -> Path:
    """Where rows in other columns than the user's stand."""
    return target.with_name(f"{target.stem}.rows.jsonl")


def _require_free(target: Path, force: bool) -> None:
    if target.is_dir():
        raise ConfigError(f"--out: cannot write {str(target)!r}: it is a folder.", code="cannot-write")
    if target.exists() and not force:
        text = f"--out: {str(target)!r} exists already. Give another name, or --force to write over it."
        raise ConfigError(text, code="exists-already")
    if not target.parent.is_dir():
        text = f"--out: cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist."
        raise ConfigError(text, code="cannot-write")


def free_name(name: Path) -> Path:
    """The name itself, or with the first number that is free."""
    names = (name if n == 1 else name.with_name(f"{name.stem}-{n}{name.suffix}") for n in range(1, 10_000))
    return next(one for one in names if not one.exists() and not rows_beside(one).exists())


def _write_rows(target: Path, plan: Data) -> None:
    if not plan.rows:
        return
    with target.open("w", encoding="utf-8") as file:
        for row in plan.rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


# ---------------------------------------------------------------------------------------------------------- JSON


def as_values(advised: Advised) -> dict[str, Any]:
    """Everything, as plain values."""
    from dataclasses import asdict

    a = advised.advice
    e = a.evidence
    return {
        "verdict": a.verdict,
        "headline": a.headline,
        "method": a.method,
        "feedback": a.feedback,
        "plan": [*a.plan],
        "first": a.first or None,
        "reasons": [asdict(reason) for reason in a.reasons],
        "then": [asdict(stage) for stage in a.then],
        "instead": [*a.instead],
        "unless": a.unless or None,
        "rejected": [asdict(one) for one in a.rejected],
        "warnings": [*a.warnings],
        "settings": {setting.key: {"value": setting.value, "why": setting.why} for setting in a.settings},
        "memory": _room(a),
        "time": asdict(a.time) if a.time else None,
        "watch": [{"figure": name, "look_for": text} for name, text in a.watch],
        "goal": {**asdict(e.goal), "understood": e.goal.understood},
        "evidence": asdict(replace(e, model=replace(e.model, shape=None) if e.model else None)),
        "notes": [*advised.notes],
        "recipe": str(advised.path) if advised.path else None,
        "rows": str(advised.rows) if advised.rows else None,
    }


def _room(a: Advice) -> dict[str, Any] | None:
    if a.room is None:
        return None
    room = a.room
    return {
        "holding": room.holding.words,
        "fits": room.fits,
        "gib": round(room.total, 3),
        "available_gib": round(room.available, 3),
        "largest_billions": room.largest,
        "components": {name: round(gib, 4) for name, gib in room.parts},
        "known_by": room.known_by,
        "rough": [*room.rough],
        "tried": [{"holding": name, "gib": round(gib, 3)} for name, gib in room.tried],
    }
