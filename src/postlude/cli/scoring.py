"""Rewards named on the command line: shared by `eval`, `pairs` and `audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postlude.cli.waiting import tell
from postlude.data import Prompt
from postlude.errors import ConfigError, DataError
from postlude.plain_yaml import load
from postlude.rewards.compose import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.sources import file as rows
from postlude.sources.file import Reading, Table
from postlude.sources.table import MAX_SHOWN


def mapping(option: str, text: str | None) -> dict[str, Any]:
    """An option's YAML mapping; empty where it is not given."""
    try:
        given = load(text) if text else {}
    except ValueError as error:
        raise ConfigError(f"{option} is not YAML ({error}), found {text!r}.") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{option} must be a mapping such as '{{after: \"#\"}}', found {text!r}.")
    return given


def rewards_of(uses: Sequence[str], arguments: str | None) -> Rewards:
    """The rewards of --reward, the first with the arguments of --reward-args."""
    given = mapping("--reward-args", arguments)
    rewards = Rewards.of([RewardSpec(use, args=given if i == 0 else {}) for i, use in enumerate(uses)])
    rewards.guard.waits.tell = _tell_wait
    return rewards


def _tell_wait(text: str, noted: bool) -> None:
    if noted:
        tell([text])


def require_columns(rewards: Rewards, table: Table, reading: Reading | None = None) -> None:
    """Rewards whose columns are not in the data, or cannot be seen there, are an error before a model loads."""
    answers = {"answer"} if set(rows.ANSWERS) & table.columns else set[str]()
    there = table.columns - rows.renamed(reading)
    problems = rewards.missing_columns(there | answers) + rewards.taken_columns(there, table.path, "--columns")
    if problems:
        raise ConfigError(problems)


def require_good_rows(rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Rows that a reward refuses, such as one with a gold that it cannot read, are an error."""
    found = [f"{p.place}: {s}" for p, s in zip(prompts, rewards.problems_of_rows(prompts), strict=True) if s]
    if found:
        more = [f"... and {len(found) - MAX_SHOWN} more rows like these."] if len(found) > MAX_SHOWN else []
        raise DataError([*found[:MAX_SHOWN], *more])


def holds_scorer(path: str) -> bool:
    """Whether MODEL is a folder or run of a reward model."""
    from postlude.models.heads import config_of, is_scorer
    from postlude.run import latest_model

    folder = Path(path).expanduser()
    if not folder.is_dir():
        return False
    try:
        return is_scorer(config_of(latest_model(path)))
    except (OSError, ValueError, ConfigError):  # who opens it says what is wrong
        return False
