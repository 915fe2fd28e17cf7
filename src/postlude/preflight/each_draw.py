"""Whether the answers of a draw are of the weights that are trained: the handshake asks a server for a few short
answers, and this looks at those that the run asked for.

Before an update some answers are compared; after it all of them are, at no cost, where the objective has told what
trainer and sampler each say of their tokens. What is found ends the run before anything of that step is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from postlude.data import Group
from postlude.engines.protocol import Engine
from postlude.errors import TrainingError
from postlude.lag import versions_of
from postlude.preflight.invariants import Differences, mismatch_text, sampler_against_trainer, tolerance_of
from postlude.recipe import Recipe
from postlude.recipe.remedies import command

ANSWERS = 4
"""Compared before an update."""
MOST = 0.01
"""Nats by which one token of exact weights (float32) may differ: ten times what a handshake allows."""


@dataclass(frozen=True)
class EachDraw:
    """Looks at the draws of a run whose answers come from servers."""

    recipe: Recipe
    engine: Engine
    folder: Path
    """The run's."""

    async def require_same_weights(self, groups: Sequence[Group], step: int) -> None:
        """Raises TrainingError where answers of the newest weights have other log-probs than the trainer gives them."""
        recipe, few = self.recipe, self._few(groups, step)
        if recipe.sampling.truncates or not few:
            return
        differs = await sampler_against_trainer(self.engine, few, recipe.sampling.temperature)
        if differs is not None and not self._hold(differs):
            text = await mismatch_text(self.engine, few, recipe, differs)
            raise self._refusal(step, f"{text}. Nothing of this draw was trained on")

    def require_agreed(self, groups: Sequence[Group], step: int, largest: float) -> None:
        """The same from what an update saw: `largest` is the difference of any token, in nats."""
        if self._exact and not largest <= MOST and all(self._is_fresh(group) for group in groups):
            text = f"sampler and trainer give the same token log-probs that are up to {largest:.2g} nats apart"
            raise self._refusal(step, f"{text}. Nothing that this step learnt is saved")

    @property
    def _exact(self) -> bool:
        return self.recipe.engine.dtype in ("float32", "float64")

    def _hold(self, differs: Differences) -> bool:
        return differs.mean <= tolerance_of(self.recipe).most and (not self._exact or differs.largest <= MOST)

    def _is_fresh(self, group: Group) -> bool:
        return all(self.engine.lag(version) == 0 for c in group.completions for version, _ in versions_of(c))

    def _few(self, groups: Sequence[Group], step: int) -> list[Group]:
        """The longest answers of some groups, others in each step: what is wrong late in an answer shows in those."""
        fresh = [group for group in groups if self._is_fresh(group) and any(c.tokens for c in group.completions)]
        every = max(1, len(fresh) // ANSWERS)
        few = fresh[step % every :: every][:ANSWERS]
        longest = [(group, max(group.completions, key=lambda c: c.length)) for group in few]
        return [replace(group, completions=(replace(c, reward=c.reward or 0.0),)) for group, c in longest]

    def _refusal(self, step: int, what: str) -> TrainingError:
        servers = self.recipe.servers
        where = ", ".join(servers.urls) if servers and servers.urls else f"logs: {self.folder / 'servers'}"
        text = (
            f"step {step + 1}: {what}.\nThese answers came from servers ({where}) that had agreed with the trainer in "
            "the handshake, and name the version that the trainer has: a server answers otherwise when it is busy, or "
            "to longer requests; another one answers at its address as well; or what it computes from is rounded. "
            "Start the servers again, each alone at its address and for one run, without quantisation and with "
            f"--generation-config vllm; then go on from the newest checkpoint with: {command(self.folder, [])}"
        )
        return TrainingError(text, code="sampler-differs")
