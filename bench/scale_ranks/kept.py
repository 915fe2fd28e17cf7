"""Ranks on Ray that serve one run after another: what they start with, torch above all, is imported once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from postlude.engines.ranks.crew import Blueprint, Place, Terms
from postlude.engines.ranks.group import OnRay, RayCrew
from postlude.engines.ranks.rank import Rank


class Rebuilt(Rank):
    """A rank that can be given another engine."""

    def __init__(self, blueprint: Blueprint, place: Place) -> None:
        self._place = place
        super().__init__(blueprint, place)

    def build(self, shared: Blueprint, apart: None) -> None:
        del self.engine
        super().__init__(shared, self._place)


class Lent:
    """A crew for one run (`crew.Crew`): it stays when that ends."""

    def __init__(self, crew: RayCrew) -> None:
        self.size, self._crew = crew.size, crew

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        return await self._crew.call(method, shared, each)

    async def close(self) -> None:
        """Whoever began them ends them."""


class Serving:
    """Begins ranks once, and lends them (`crew.Start`)."""

    def __init__(self, terms: Terms) -> None:
        self._begin = OnRay(terms, f"{__name__}:Rebuilt")
        self._crew: RayCrew | None = None

    async def __call__(self, blueprint: Blueprint) -> Lent:
        if self._crew is None:
            self._crew = await self._begin(blueprint)
        else:
            await self._crew.call("build", blueprint)
        return Lent(self._crew)

    async def over(self) -> None:
        """Leave nothing of them."""
        if self._crew is not None:
            await self._crew.close()
        await self._begin.end()
