"""What vLLM does not do as it is told: asked before anything is started. Needs neither torch nor a client."""

from __future__ import annotations

from postlude.engines.settings import Sampling

COOLEST, HOTTEST = 0.01, 2.0
"""Temperatures beside 0 that vLLM samples at: it takes 0.01 for lower ones, without a word, and refuses higher ones."""


def unserved(sampling: Sampling) -> str | None:
    """Why a server would sample otherwise than asked, or not at all; None where it does as it is told."""
    if sampling.temperature == 0 or COOLEST <= sampling.temperature <= HOTTEST:
        return None
    return (
        f"vLLM samples at temperature 0 or from {COOLEST:g} to {HOTTEST:g}, not at {sampling.temperature:g} (it would "
        f"take {COOLEST:g} for anything lower). Set sampling.temperature accordingly."
    )
