"""Whether the answers of a draw are of the weights that are trained: the handshake asks a server for a few short
answers, and this looks at those that the run asked for.

Before an update some answers are compared; after it all of them are, at no cost, where the objective has told what
trainer and sampler each say of their tokens. What is found ends the run before anything of that step is saved.

Answers of weights that the trainer has left, as with `max_lag: 1`, are compared with those weights, read from the disk:
in some draws alone, for that is a load of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from postlude.data import Group
from postlude.engines.protocol import Engine, Trainer
from postlude.errors import EngineError, TrainingError
from postlude.lag import versions_of
from postlude.preflight.invariants import Differences, mismatch_text, sampler_against_trainer, tolerance_of
from postlude.recipe import Recipe
from postlude.recipe.remedies import command
from postlude.words import Once

ANSWERS = 4
"""Compared before an update."""
BEHIND, EVERY = 2, 10
"""Of draws that are behind, compared: so many of the first, of weights that servers began with and of such that they
were given; then one in so many, since each costs a load of the model (seconds for a billion parameters)."""
MOST = 0.01
"""Nats by which one token of exact weights (float32) may differ: ten times what a handshake allows."""
UNCOMPARED = Once(
    "answers of top_p or top_k",
    "sampling: top_p or top_k leave tokens out, so the answers of servers are not compared with the trainer in this "
    "run; the handshake is, which samples without them",
)


@dataclass
class EachDraw:
    """Looks at the draws of a run whose answers come from servers."""

    recipe: Recipe
    engine: Engine
    folder: Path
    """The run's."""
    _compared: int = 0
    """Draws that were behind, in this process."""
    _until: int = 0
    """Such draws that pass before the next one is compared."""

    async def require_same_weights(self, groups: Sequence[Group], step: int) -> list[str]:
        """Raises TrainingError where answers have other log-probs than their weights give them. Notes on what could not
        be compared."""
        if self.recipe.sampling.truncates:
            return [UNCOMPARED] if groups else []
        fresh = [group for group in groups if self._is_fresh(group)]
        if few := _few(fresh, step):
            await self._compare(self.engine.trainer, few, step, None)
            return []
        version, behind = self._behind(groups)
        few = _few(behind, step)
        return await self._look_behind(version, few, step) if few else []

    async def _look_behind(self, version: int, few: Sequence[Group], step: int) -> list[str]:
        if self._until:
            self._until -= 1
            return []
        try:
            left = await self.engine.read(version)
        except EngineError as error:
            self._until = EVERY - 1
            return [Once("answers behind are not compared", f"{error}. These answers were not compared with it.")]
        if left is not None:  # else of a draw that waited in a checkpoint: the next one will be
            await self._compare(left, few, step, version)
            self._compared += 1
            self._until = EVERY - 1 if self._compared >= BEHIND else 0
        return []

    async def _compare(self, trainer: Trainer, few: Sequence[Group], step: int, version: int | None) -> None:
        differs = await sampler_against_trainer(trainer, few, self.recipe.sampling.temperature)
        if differs is not None and not self._hold(differs):
            text = await mismatch_text(trainer, few, self.recipe, differs)
            raise self._refusal(step, f"{text}. Nothing of this draw was trained on", version)

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

    def _behind(self, groups: Sequence[Group]) -> tuple[int, list[Group]]:
        """The newest version that groups are wholly of and the trainer has left, and those groups."""
        of: dict[int, list[Group]] = {}
        for group in groups:
            versions = {version for c in group.completions for version, _ in versions_of(c)}
            if len(versions) == 1 and self.engine.lag(version := versions.pop()):
                of.setdefault(version, []).append(group)
        newest = max(of, default=-1)
        return newest, of.get(newest, [])

    def _refusal(self, step: int, what: str, version: int | None = None) -> TrainingError:
        servers = self.recipe.servers
        where = ", ".join(servers.urls) if servers and servers.urls else f"logs: {self.folder / 'servers'}"
        whose = "the version that the trainer has" if version is None else f"version {version}, which was read again"
        text = (
            f"step {step + 1}: {what}.\nThese answers came from servers ({where}) that had agreed with the trainer in "
            f"the handshake, and name {whose}: a server answers otherwise when it is busy, or "
            "to longer requests; another one answers at its address as well; or what it computes from is rounded. "
            "Start the servers again, each alone at its address and for one run, without quantisation and with "
            f"--generation-config vllm; then go on from the newest checkpoint with: {command(self.folder, [])}"
        )
        return TrainingError(text, code="sampler-differs")


def _few(groups: Sequence[Group], step: int) -> list[Group]:
    """The longest answers of some groups, others in each step: what is wrong late in an answer shows in those."""
    able = [group for group in groups if any(c.tokens for c in group.completions)]
    every = max(1, len(able) // ANSWERS)
    few = able[step % every :: every][:ANSWERS]
    longest = [(group, max(group.completions, key=lambda c: c.length)) for group in few]
    return [replace(group, completions=(replace(c, reward=c.reward or 0.0),)) for group, c in longest]
