"""What a run is made of against what it was made of: refused by name, or accepted and recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from postlude.errors import ConfigError, Problem
from postlude.inputs.made_of import WORDS, Inputs
from postlude.inputs.prints import Print, Prints
from postlude.inputs.rows import Rows, difference
from postlude.words import closest

WRITTEN = {
    "events": "lines of events.jsonl",
    "eval": "lines of eval.jsonl",
    "sheet": "lines of sheet.jsonl",
    "rollouts": "answers in rollouts/",
    "config": "config.yaml",
}
"""Words for what the run itself wrote and somebody changed: whoever verifies its folder reads them."""
ACCEPTED = {**WRITTEN, **WORDS, "settings": "settings that make another run of it, such as its seed"}
"""The words of `--accept-changes`, and what they stand for."""


@dataclass(frozen=True)
class Change:
    """One thing that is another than it was."""

    word: str
    text: str
    """What happened, as a sentence goes on after the word: `3 of 400 rows differ`; of a setting `seed 0 -> 1`."""


def words_of(names: str | Sequence[str]) -> frozenset[str]:
    """The words of `--accept-changes`, separated by commas or given one by one. Raises ConfigError for unknown ones."""
    texts = [names] if isinstance(names, str) else names
    words = [word.strip() for name in texts for word in name.split(",") if word.strip()]
    problems = [_unknown(word) for word in words if word not in ACCEPTED]
    if problems:
        raise ConfigError(problems)
    return frozenset(words)


def _unknown(word: str) -> Problem:
    close = closest(word, ACCEPTED)
    hint = f"did you mean {close}?" if close else f"there are {', '.join(ACCEPTED)}."
    return Problem("not-a-choice", f"--accept-changes: {word!r} is none of its words; {hint}", key="--accept-changes")


def changes(
    before: Mapping[str, Mapping[str, Print]], now: Inputs, sets: Sequence[Rows], lists: Mapping[str, Sequence[str]]
) -> Iterator[Change]:
    """What differs between two sets of fingerprints. `sets`: the rows of now; `lists`: the hashes of the rows then, by
    the path of their list, as far as that is still what was written."""
    rows = {(one.kind.partition("-")[0], one.name): one for one in sets}
    for word in WORDS:
        old, new = before.get(word, {}), now.get(word, {})
        for name in sorted({*old, *new}):
            if _is_same(old.get(name), new.get(name)):
                continue
            if name in old and name in new and (word, name) in rows:
                yield Change(word, _of_rows(word, rows[word, name], old[name], lists))
            else:
                yield Change(word, _of_item(name, old, new))


def _is_same(old: Print | None, new: Print | None) -> bool:
    keys = ("sha256", "commit", "name")
    return old is not None and new is not None and all(old.get(key) == new.get(key) for key in keys)


def _of_rows(word: str, now: Rows, old: Print, lists: Mapping[str, Sequence[str]]) -> str:
    before = lists.get(str(old.get("list")))
    of_set = f"{now.name}: " if now.name not in (word, "pretrain-eval") else ""
    if before is None:
        return f"{of_set}its rows differ ({old.get('rows')} then, {len(now.rows)} now)"
    return of_set + difference(before, now)


def _of_item(name: str, old: Mapping[str, Print], new: Prints) -> str:
    if name in old and name in new:
        return f"{name} has changed"
    return f"{name} is new" if name in new else f"{name} is gone"


def problems_of(changed: Sequence[Change], never: Sequence[str], since: str) -> list[Problem]:
    """Why a run does not go on: what has changed and nobody accepted, word by word, and settings that do not fit its
    checkpoint. `since`: `since step 4`."""
    words = list(dict.fromkeys(one.word for one in changed))
    back = f"Put it back as it was, or go on with it, which is recorded: --accept-changes {','.join(words)}"
    problems = [Problem("settings-do-not-fit", f"{text} {since}. {_NEVER}") for text in never]
    for word in words:
        texts = "; ".join(one.text for one in changed if one.word == word)
        problems.append(Problem(f"changed-{word}", f"{word}: {texts} {since}. {back}", key=word))
    return problems


_NEVER = (
    "A checkpoint of the one does not fit the other: leave it as it was, or begin a run of its own from this one's "
    "model (model=RUN, with another output)."
)
