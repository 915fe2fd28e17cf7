"""A whole file looked at: row by row as a method reads it, and all rows together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from postlude.errors import ConfigError, DataError
from postlude.rewards.rewards import Rewards
from postlude.rewards.text_only import Remark, by_reason, sentence, text_only, unreadable
from postlude.screening import golds, preferences, repeats, texts
from postlude.screening.checked import Checked, Need, check_rows
from postlude.screening.entries import Entry, entries
from postlude.screening.findings import Finding, seen_in
from postlude.screening.uses import Use, best, copy_of, uses_of
from postlude.sources import file as rows
from postlude.sources.forms import ANSWERS, CANONICAL, COMPARED, FORMS, Reading
from postlude.sources.layouts import way_out
from postlude.sources.messages import SYSTEM
from postlude.sources.table import Balance, Table
from postlude.sources.unused import BESIDE
from postlude.words import counted


@dataclass
class Screened:
    """What is known of a file."""

    table: Table
    checked: Checked
    entries: list[Entry]
    uses: list[Use] = field(default_factory=list[Use])
    """Where no method was named: all that can be made of it."""
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def balance(self) -> Balance:
        return self.table.balance()


def screen(
    table: Table, need: Need | None, model: str | None, reading: Reading, rewards: Rewards | None = None
) -> Screened:
    """Read a table as `need` says (None: as the most it can be), and look at all of its rows. Raises DataError where
    the file as a whole cannot be read so, ConfigError where a reward wants columns that it does not have."""
    uses = uses_of(table, reading) if need is None else []
    if need is None:
        use = best(uses)
        table.notes += [way_out(row.values).strip() for row in table.rows[:1] if way_out(row.values)]
        need = use.need if use else Need("rollout")
    checked = check_rows(table, need, model, reading)
    golds_as_text = _score(table, rewards, reading) if rewards else []
    seen = entries(table, checked.kind, checked.compared)
    screened = Screened(table, checked, seen, uses)
    screened.findings += [
        *_other_columns(table, reading, checked.compared, rewards), *_turns(table), *repeats.of_repeats(seen),
        *preferences.of_conflicts(seen), *preferences.length_bias(seen), *golds.of_golds(seen), *golds_as_text,
        *texts.of_texts(seen), *texts.cut_off(seen),
    ]  # fmt: skip
    return screened


def look_for_leaks(screened: Screened, held_out: Table, reading: Reading) -> None:
    """Compare with the prompts of a held-out file, which is read as the first one is or, failing that, as prompts."""
    copy = copy_of(held_out)
    try:
        checked = check_rows(copy, screened.checked.need, None, reading)
    except DataError:
        copy = held_out
        checked = check_rows(copy, Need("rollout"), None, reading)
    if copy.problems:
        bad = f"{counted(len(copy.problems), 'bad row')} of {copy.read:,} not compared"
        screened.table.notes.append(f"{copy.path}: {bad}; look at it by itself: {copy.shown()[0]}")
    of_held_out = entries(copy, checked.kind, checked.compared)
    screened.findings += repeats.of_leaks(screened.entries, of_held_out)


def _score(table: Table, rewards: Rewards, reading: Reading) -> list[Finding]:
    """Reject the rows that a reward refuses; tell of golds that are compared as text alone."""
    prompts = rows.prompts(copy_of(table), reading)
    columns = {name for prompt in prompts for name in prompt.columns}
    problems = rewards.missing_columns(columns) + rewards.taken_columns(columns, table.path, "--columns")
    if problems and prompts:
        raise ConfigError(problems)
    refused: set[str] = set()
    for prompt, problem in zip(prompts, rewards.problems_of_rows(prompts), strict=True):
        if problem:
            table.reject(prompt.place, problem)
            refused.add(prompt.place)
    table.rows = [row for row in table.rows if row.where not in refused]
    table.notes += rewards.notes
    left = [prompt for prompt in prompts if prompt.place not in refused]
    bad = unreadable(rewards, [prompt for prompt in prompts if prompt.place in refused])
    return [
        *_by_reason("unreadable-gold", bad, len(prompts), "have a right answer that nothing could be compared with"),
        *_by_reason(
            "text-only-gold", text_only(rewards, left), len(left), "have a right answer that is compared as text"
        ),
    ]


def _by_reason(code: str, remarks: Sequence[Remark], of: int, text: str) -> list[Finding]:
    reasons = by_reason(remarks)
    rows = {reason.text: [one.place for one in reason.remarks] for reason in reasons}
    return [Finding(code, len(remarks), of, f"{text}: {sentence(reasons)}", rows=rows)] if remarks else []


def _other_columns(table: Table, reading: Reading, compared: bool, rewards: Rewards | None) -> list[Finding]:
    """Columns that the format does not read, named once."""
    read = {*CANONICAL, *ANSWERS, *reading.columns.values(), "reward_model", "data_source", "extra_info", "ability"}
    read |= {name for form in (*FORMS, *COMPARED) for name in (*form.needs, *form.also)} if compared else set[str]()
    read |= rewards.columns_read if rewards else set[str]()
    said = table.form.replace("(", " ").replace(")", " ").replace(",", " ").split()
    others = sorted(table.columns - read - {*said})
    holding = [row.where for row in table.rows if any(row.values.get(name) is not None for name in others)]
    if not others or not holding:
        return []
    text = f"have columns that no format reads, which rewards may ask for: {', '.join(others[:12])}"
    lost = [name for name in others if name in BESIDE or name in SYSTEM]
    if lost:
        text += f"; {', '.join(lost)} may hold words that are meant for the model, and do not reach it"
    more = ", ..." if others[12:] else ""
    return [Finding("other-columns", len(holding), len(table.rows), text + more, (), bool(lost))]


def _turns(table: Table) -> list[Finding]:
    """Conversations that begin with the assistant, or in which one of two speaks twice in a row."""
    places: list[str] = []
    for row in table.rows:
        turns = next((row.values[n] for n in ("messages", "prompt") if isinstance(row.values.get(n), list)), [])
        roles = [m.get("role") for m in turns if isinstance(m, dict)]
        spoken = [role for role in roles if role not in ("system", "developer")]
        twice = any(a == b and a in ("user", "assistant") for a, b in pairwise(spoken))
        if twice or spoken[:1] == ["assistant"]:
            places.append(row.where)
    text = (
        "have a turn of the assistant first, or two of one speaker in a row; many templates refuse that (see --model)"
    )
    return seen_in("turn-order", places, len(table.rows), text)
