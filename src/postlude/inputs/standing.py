"""A run goes on: with what it was made of, or with what its user accepts, which is recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from postlude.algorithms import ALGORITHMS
from postlude.errors import ConfigError
from postlude.inputs.comparing import WRITTEN, Change, changes, problems_of
from postlude.inputs.made_of import Inputs, imported_from_elsewhere, inputs_of
from postlude.inputs.prints import of_file, of_text
from postlude.inputs.rows import Rows, data_sets
from postlude.inputs.surroundings import changed, surroundings
from postlude.prepared import Prepared
from postlude.recipe import Document, flat, read
from postlude.recipe.moved import move
from postlude.recipe.places import fixed, written_in
from postlude.recipe.resumed import differences
from postlude.runs.events import Start
from postlude.runs.files import Row, whole_rows
from postlude.runs.folder import Run
from postlude.runs.layout import LISTS
from postlude.runs.sealed import COPIES, RUN_MANIFEST, Sealed, read_signed_json
from postlude.shapes import is_mapping, is_series

Values = Mapping[str, Any]
"""A manifest: of a checkpoint, or of a run, which has the same entries."""
ROUNDING = "Sums may round otherwise, so the run need not be exactly the one it would have been"
"""Of a run that goes on elsewhere, or on another number of trainers."""


@dataclass(frozen=True)
class MadeOf:
    """What a run is made of: fingerprints of its inputs, and its resolved settings."""

    inputs: Inputs
    sets: Sequence[Rows]
    config: Values
    """The resolved recipe, as config.yaml holds it."""
    elsewhere: Sequence[str] = ()
    """What code of the user's imports from elsewhere than it seems, in words."""

    @property
    def settings(self) -> Values:
        """The same as JSON holds it."""
        return finite(self.config)

    @classmethod
    def of(cls, prepared: Prepared) -> MadeOf:
        """Reads every weights file once."""
        members = [*(prepared.rewards.members if prepared.rewards else []), *prepared.metrics.members]
        uses = [*(m.spec.use for m in members), prepared.recipe.method]
        sets = [*data_sets(prepared)]
        return cls(inputs_of(prepared), sets, settings_of(prepared), imported_from_elsewhere(uses))


@dataclass(frozen=True)
class Accepted:
    """What a run goes on with although it has changed."""

    free: Sequence[str] = ()
    """Settings that may change."""
    now: Sequence[Values] = ()
    """What was accepted, a record for each word."""
    records: Sequence[Values] = ()
    """The same with those of earlier steps, for the run's manifest."""
    idle: Sequence[str] = ()
    """Words that were accepted, and nothing of them had changed."""


@dataclass
class Standing:
    """What a run stands on as it begins or goes on, and what of it is another than before."""

    made: MadeOf
    written: Mapping[str, str]
    """Dotted key -> path, as the recipe says it."""
    begun: Values = field(default_factory=dict[str, Any])
    """The run's manifest, of one that goes on."""
    before: Values = field(default_factory=dict[str, Any])
    """What it was made of where it goes on."""
    goes_on: bool = False
    """From a checkpoint; not from the beginning once more."""
    start: Row = field(default_factory=dict[str, Any])
    """The event with which it began, where it begins once more and nothing has changed."""
    accepted: Accepted = Accepted()

    @classmethod
    def of(cls, prepared: Prepared, document: Document) -> Standing:
        """Of a run that begins."""
        return cls(MadeOf.of(prepared), written_in(document.values))

    @classmethod
    def again(
        cls, run: Run, prepared: Prepared, document: Document, checkpoint: Path | None, words: Collection[str]
    ) -> Standing:
        """Of a run that goes on from a checkpoint, or begins once more where there is none. Raises ConfigError with
        every change that is not accepted."""
        standing = cls.of(prepared, document)
        begun = run.manifest() or (_copied(checkpoint) if checkpoint else {})
        before = Sealed.at(checkpoint).manifest if checkpoint else begun
        if not before and ((run.folder / RUN_MANIFEST).exists() or checkpoint):
            run.say("what this run was made of is not known (its record is damaged, or of an earlier version)")
            before = {"settings": settings_in(run.folder)} if checkpoint else {}
        accepted = compared(standing.made, before, begun, run.folder, run.step, words)
        standing = replace(standing, begun=begun, before=before, accepted=accepted, goes_on=checkpoint is not None)
        if checkpoint or accepted.now or accepted.free:
            return standing
        return replace(standing, start=_first_event(run.folder))

    def started_as(self, start: Start) -> Start:
        """The event of a beginning; the one that stood there where a run begins once more from its own config, whose
        paths are written otherwise than its recipe's were."""
        names = [f.name for f in fields(start) if f.name in self.start]
        return replace(start, **{name: self.start[name] for name in names})

    @property
    def chosen(self) -> Values:
        """Settings that were chosen when the run began, since its recipe left them open."""
        return self.begun.get("chosen") or self.before.get("chosen", {})

    def write(self, run: Run, rejected: Sequence[str], engine: Values, chosen: Values) -> None:
        """Config, manifest and lists of rows; of a run that goes on unchanged every byte is as it was."""
        around = {**surroundings(str(engine["device"]), int(engine["threads"])), "chosen": dict(chosen)}
        made = {"inputs": self.made.inputs, "settings": self.made.settings}
        run.made_of = {**made, **around}
        manifest: dict[str, Any] = {"seed": self.made.settings["seed"], **around, "engine": dict(engine)}
        if self.goes_on:
            manifest |= {key: self.begun[key] for key in manifest if key in self.begun and key != "seed"}
        manifest |= {**made, "written": self._paths()}
        if self.accepted.records:
            manifest["accepted"] = [*self.accepted.records]
        for one in self.made.sets:
            run.write_list(one.file, one.text)
        run.write_manifest(manifest)
        run.write_config(self.made.config, rejected)  # last: a run that has it has all of them

    def _paths(self) -> dict[str, str]:
        """As the recipe says them, also where a run goes on from its own config, which keeps whole ones."""
        then, now = dict(flat(self.begun.get("settings", {}))), dict(flat(self.made.settings))
        known: Mapping[str, str] = self.begun.get("written", {})
        same = {key for key in known if then.get(key) == now.get(key)}
        return {key: known[key] if key in same else path for key, path in self.written.items()}

    def tell(self, run: Run) -> None:
        """Record what is another than before: in events, since the run is no longer what it would have been."""
        for one in self.accepted.now:
            said = f"goes on from step {run.step} with --accept-changes {one['word']}: {'; '.join(one['changes'])}"
            run.note(said, "changed-inputs", **one)
        for line in self.made.elsewhere:
            run.say(f"note: {line}")
        for word in self.accepted.idle:
            run.say(f"--accept-changes {word}: nothing of it has changed")
        if not self.goes_on:
            return
        if self.accepted.free:
            run.note(resumed_otherwise(run.step, self.accepted.free), "changed-settings")
        others = [*changed(self.before, run.made_of)]
        if others:
            run.note(
                f"resumed on something else from step {run.step} on: {'; '.join(others)}. {ROUNDING}",
                "changed-surroundings",
            )


def resumed_otherwise(step: int, changed: Sequence[str]) -> str:
    """What is said of settings that may change."""
    rounding = f". {ROUNDING}" if any(one.startswith("engine.trainers ") for one in changed) else ""
    return f"resumed with other settings from step {step} on: {'; '.join(changed)}{rounding}"


def settings_of(prepared: Prepared) -> dict[str, Any]:
    """The resolved recipe as plain values that work from anywhere; where the run is kept is no part of it."""
    values: dict[str, Any] = plain(asdict(prepared.recipe))
    del values["output"]
    if prepared.recipe.method not in ALGORITHMS:
        del values["objective"]  # of a method of one's own it is set in its file alone
    return fixed(values)


def plain(value: Any) -> Any:
    """Tuples as lists, for YAML; what no YAML can hold, in a method of the user's own, by its text."""
    if is_mapping(value):
        return {key: plain(one) for key, one in value.items()}
    if is_series(value):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def finite(value: Any) -> Any:
    """Numbers that are not finite by their text, since JSON has none."""
    if is_mapping(value):
        return {key: finite(one) for key, one in value.items()}
    if is_series(value):
        return [finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def settings_in(folder: Path) -> dict[str, Any]:
    """The settings that a run's config says, under the names of today."""
    document = read(folder / "config.yaml")
    move(document)
    document.values.pop("output", None)
    return finite(document.values)


def compared(made: MadeOf, before: Values, begun: Values, folder: Path, step: int, words: Collection[str]) -> Accepted:
    """Hold what a run is made of against what it was made of at a step. Raises ConfigError with every change that
    neither `words` accept nor an earlier try to go on from there did, which `begun`, the run's manifest, records."""
    differing = [*changes(before.get("inputs", made.inputs), made.inputs, made.sets, _lists(before, folder))]
    settings = differences(before.get("settings", made.settings), made.settings)
    differing += [Change(word, text) for word, texts in settings.asked.items() for text in texts]
    now = [_record(step, word, differing, made) for word in dict.fromkeys(one.word for one in differing)]
    earlier: Sequence[Values] = begun.get("accepted", [])
    accepted = {*words} | {str(record["word"]) for record in now if record in earlier}
    refused = [one for one in differing if one.word not in accepted]
    if refused or settings.never:
        since = f"since step {step}" if step else "since the run began"
        raise ConfigError(problems_of(refused, settings.never, since))
    idle = sorted({*words} - {one.word for one in differing} - {*WRITTEN})
    return Accepted(settings.free, now, [*(one for one in earlier if one["step"] < step), *now], idle)


def _record(step: int, word: str, changed: Sequence[Change], made: MadeOf) -> dict[str, Any]:
    texts = [one.text for one in changed if one.word == word]
    now = made.inputs.get(word, {})
    return {"step": step, "word": word, "changes": texts, "sha256": of_text(json.dumps(now, sort_keys=True))["sha256"]}


def _lists(before: Values, folder: Path) -> dict[str, list[str]]:
    """The lists of rows in the run folder that are still what they were then."""
    lists: dict[str, list[str]] = {}
    for prints in before.get("inputs", {}).values():
        for one in prints.values():
            place = folder / LISTS / str(one.get("list"))
            if "list" in one and place.is_file() and of_file(place)["sha256"] == one["sha256"]:
                lists[str(one["list"])] = place.read_text(encoding="utf-8").splitlines()
    return lists


def mend_lists(run: Run, prepared: Prepared, checkpoint: Path) -> None:
    """Put back the lists of rows of a finished run that are damaged or gone, where the rows are still those."""
    prints = Sealed.at(checkpoint).manifest.get("inputs", {}).values()
    known = {one["list"]: one["sha256"] for named in prints for one in named.values() if "list" in one}
    for one in data_sets(prepared):
        place = run.folder / LISTS / one.file
        there = of_file(place)["sha256"] if place.is_file() else None
        if there != known.get(one.file) == one.fingerprint["sha256"]:
            run.write_list(one.file, one.text)
            run.say(f"{LISTS}/{one.file} was gone or damaged: it is written again")


def _first_event(folder: Path) -> Row:
    """The event with which a run began; empty where there is none, or a damaged one."""
    try:
        rows, _ = whole_rows(folder / "events.jsonl")
    except ValueError:
        return {}
    return rows[0] if rows and rows[0].get("kind") == Start.kind else {}


def _copied(checkpoint: Path) -> Values:
    """The run's manifest as it was when a checkpoint was sealed; it is put back where it is damaged."""
    return read_signed_json(checkpoint / COPIES / RUN_MANIFEST) or {}
