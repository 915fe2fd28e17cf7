"""A policy with its rewards over a table, as one command line names them: for every command that asks models.

What can be told without a model is told at once, by `Session.of` and `prompts`; the model loads where answers are
first wanted of it (`opened`, `answerable`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

from postlude.check import equip
from postlude.cli.data import reading_of
from postlude.cli.opening import Opened, Policy, open_sampler, policy_of, reads_chat
from postlude.cli.options import SamplingOptions
from postlude.cli.scoring import require_columns, require_good_rows
from postlude.cli.waiting import Waiting, sampling, tell
from postlude.data import Group, Prompt
from postlude.doctor.answers import MOST_CUT
from postlude.doctor.rules import RULES
from postlude.engines.settings import Sampling
from postlude.errors import ConfigError, DataError
from postlude.rewards.rewards import Rewards
from postlude.rollouts.rollout import answer
from postlude.sources import file as rows
from postlude.sources.file import Reading, Table
from postlude.sources.reading import SPLIT
from postlude.sources.unused import render


@dataclass(frozen=True)
class Named:
    """What a command line names, before any of it is read."""

    data: str | None = None
    model: str | None = None
    """The policy, where there is one."""
    options: SamplingOptions = SamplingOptions()
    rewards: Callable[[], Rewards] = lambda: Rewards.of([])
    columns: str | None = None
    chat: bool | None = None
    """Whether text becomes chat; None: as in the model's own run."""
    split: str = SPLIT
    limit: int | None = None
    """Of prompts that are answered."""


@dataclass
class Session:
    """What one call works on. Made by `of`; a part that the call does not name must not be asked for."""

    named: Named
    rewards: Rewards = field(init=False)
    reading: Reading = field(init=False)
    policy: Policy = field(init=False)
    table: Table = field(init=False)

    @classmethod
    def of(cls, named: Named, *checks: Callable[[], object]) -> Session:
        """Look at everything that the call names, and take its own `checks`: all that is wrong is raised at once."""
        session = cls(named)
        together(session._name, session._reward, session._read, *checks)
        return session

    def _name(self) -> None:
        if self.named.model is not None:
            self.policy = policy_of(self.named.model, self.named.options)

    def _reward(self) -> None:
        self.rewards = self.named.rewards()

    def _read(self) -> None:
        chat = reads_chat(self.named.model) if self.named.chat is None else self.named.chat
        self.reading = reading_of(self.named.columns, chat)
        if self.named.data is not None:
            self.table = rows.read(self.named.data, self.named.split)

    def prompts(self, check: Callable[[Prompt], object] = lambda prompt: None) -> list[Prompt]:
        """Every prompt of the table, no token of it yet.

        Bad rows, missing columns, rows that a reward refuses, and rows for which `check` raises DataError are an error.
        """
        prompts = rows.prompts(self.table, self.reading)
        refused: set[str] = set()
        for prompt in prompts[: self.named.limit]:
            try:
                check(prompt)
            except DataError as error:
                self.table.reject(prompt.place, error.problems[0])
                refused.add(prompt.place)
        self.table.rows = [row for row in self.table.rows if row.where not in refused]
        together(
            lambda: require_columns(self.rewards, self.table, self.reading),
            lambda: self.table.require_clean("stop", None),
            lambda: require_good_rows(self.rewards, prompts[: self.named.limit]),
        )
        return prompts

    @cached_property
    def opened(self) -> Opened:
        """The policy itself."""
        return open_sampler(self.policy)

    @property
    def sampling(self) -> Sampling:
        """How the policy answers."""
        return self.policy.sampling

    def answerable(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The first `limit` prompts with their tokens; the rewards know the tokenizer from here on.

        Prompts that the model's template cannot render, or that leave no room for an answer, are an error.
        """
        facts, renderer = self.opened.facts, self.opened.renderer
        equip(self.rewards, facts.tokenizer, facts.stop_ids)
        if self.named.data is None:
            rendered = [renderer.with_tokens(prompt) for prompt in prompts]
        else:
            rendered = list(render([*prompts], self.table, renderer, self.rewards.columns_read))
            self.table.require_clean("stop", None)
            tell(self.table.notes)
        rendered = rendered[: self.named.limit]
        self.opened.check_lengths(rendered, self.sampling)
        return rendered

    def progress(self) -> AbstractContextManager[Waiting]:
        """Show how far the answers are, for as long as the context is open."""
        return sampling(self.opened.sampler)

    async def answers(
        self,
        prompts: Sequence[Prompt],
        count: int,
        seed: int,
        tag: str,
        on_group: Callable[[int, Group], None] = lambda place, group: None,
    ) -> list[Group]:
        """`count` answers of the policy to each prompt; the same seed and tag, the same answers."""
        return await answer(self.opened.sampler, prompts, count, self.sampling, seed, tag, on_group)


def together(*steps: Callable[[], object]) -> None:
    """Take every step, then raise what was wrong with any of them: one error of all problems."""
    errors: list[ConfigError | DataError] = []
    for step in steps:
        try:
            step()
        except (ConfigError, DataError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError([problem for error in errors for problem in error.problems])


def notes_of_cut(groups: Sequence[Group]) -> list[str]:
    """What to know where nearly all answers ran into the length limit."""
    answers = [completion for group in groups for completion in group.completions]
    share = sum(c.truncated for c in answers) / max(len(answers), 1)
    if share < MOST_CUT:
        return []
    limit = max(c.length for c in answers)
    return [
        f"{share:.0%} of the answers were cut off by the length limit ({limit} tokens) before they had ended. "
        f"{RULES['cut-off'].remedy}"
    ]
