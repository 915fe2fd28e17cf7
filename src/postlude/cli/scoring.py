"""Rewards named on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from postlude.data import Prompt
from postlude.errors import ConfigError, DataError, Problem
from postlude.plain_yaml import load
from postlude.recipe import Document, rewarded
from postlude.rewards.functions import LearnedReward
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.sources import file as rows
from postlude.sources.file import Reading, Table
from postlude.sources.table import MAX_SHOWN


def mapping(option: str, text: str | None) -> dict[str, Any]:
    """An option's YAML mapping; empty where it is not given."""
    try:
        values = load(text) if text else {}
    except ValueError as error:
        raise ConfigError(f"{option} is not YAML ({error}), found {text!r}.", code="not-yaml") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{option} must be a mapping such as '{{after: \"#\"}}', found {text!r}.", code="wrong-type")
    return values


def rewards_of(uses: Sequence[str], arguments: str | None) -> Rewards:
    """The rewards of --reward, each a name or a whole entry of a recipe; the first with the arguments of
    --reward-args."""
    first = mapping("--reward-args", arguments)
    return Rewards.of([_spec(use, first if i == 0 else {}) for i, use in enumerate(uses)])


def _spec(use: str, arguments: Mapping[str, Any]) -> RewardSpec:
    """One reward of the command line: `model`, or '{use: model, args: {path: runs/rm}}'."""
    if not use.lstrip().startswith("{"):
        try:
            return RewardSpec(use, args=arguments)
        except ValueError as error:
            raise ConfigError(f"--reward: {error}.", code="wrong-type") from error
    entry = mapping("--reward", use)
    if arguments and "args" in entry:
        raise ConfigError(
            f"--reward-args: the reward {use!r} has arguments of its own; give them in one place.", code="contradiction"
        )
    (spec,) = rewarded(Document({"reward": [{**({"args": {**arguments}} if arguments else {}), **entry}]}))
    return spec


def the_model(rewards: Rewards) -> LearnedReward:
    """The reward itself, where it is a single one that a model gives to answers."""
    function = rewards.members[0].function if len(rewards.members) == 1 else None
    if not isinstance(function, LearnedReward):
        raise ConfigError(
            "--reward must be one reward model here: model, pair_model, process_model or implicit, with --reward-args "
            "or as '{use: implicit, args: {policy: runs/dpo-1}}'.",
            code="not-a-reward-model",
        )
    return function


def require_columns(rewards: Rewards, table: Table, reading: Reading | None = None) -> None:
    """Rewards whose columns are not in the data, or cannot be seen there, are an error before a model loads."""
    answers = {"answer"} if set(rows.ANSWERS) & table.columns else set[str]()
    there = table.columns - rows.renamed(reading)
    problems = rewards.missing_columns(there | answers) + rewards.taken_columns(there, table.path, "--columns")
    if problems:
        raise ConfigError(problems)


def require_good_rows(rewards: Rewards, prompts: Sequence[Prompt]) -> None:
    """Rows that a reward refuses, such as one with a gold that it cannot read, are an error."""
    refusals = zip(prompts, rewards.problems_of_rows(prompts), strict=True)
    problems = [problem.at(prompt.place) for prompt, problem in refusals if problem]
    if problems:
        rest = len(problems) - MAX_SHOWN
        more = [Problem("bad-rows", f"... and {rest} more rows like these.")] if rest > 0 else []
        raise DataError([*problems[:MAX_SHOWN], *more])


def holds_scorer(path: str) -> bool:
    """Whether MODEL is a folder or run of a reward model."""
    from postlude.models.heads import is_scorer
    from postlude.models.scorers import config_of
    from postlude.runs.checkpoints import latest_model

    folder = Path(path).expanduser()
    if not folder.is_dir():
        return False
    try:
        return is_scorer(config_of(latest_model(path)))
    except (OSError, ValueError, ConfigError):  # who opens it says what is wrong
        return False
