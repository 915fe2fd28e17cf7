"""How long servers are waited for, each time that something is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Seconds."""

    look: float = 2.0
    """Between two looks at a server's health."""
    health: float = 3.0
    """That an answer to that may take."""
    silence: float = 15.0
    """After which a server that takes connections and answers none is held for hung."""
    busy: float = 60.0
    """The same of one that sleeps, or while weights are changed."""
    again: float = 30.0
    """Between two tries with a foreign server that was left out."""
    restart: float = 2.0
    """Before a restart after failed ones, times their number: a GPU takes a while to forget a dead process."""
    others: float = 3.0
    """That others may still come up, or fail, once one has failed to at the start."""
    nobody: float = 600.0
    """Without any server that is ready: then the run ends."""


PATIENCE = Patience()
"""With real servers."""
