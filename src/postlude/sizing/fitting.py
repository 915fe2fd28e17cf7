"""What makes a run fit where it does not: settings, alone and together, and how much memory it would need as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

from postlude.models.lora import Lora
from postlude.sizing.knobs import changes
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.typical import MODELS
from postlude.sizing.work import Asked, Plan

TOGETHER = 4
"""Settings that are tried together at most."""
SHOWN = 5
"""Ways that are named at most."""
NEAR = 1.005
"""How close the room that is needed is searched for."""

PeakOf = Callable[[Setting], int | None]
"""Bytes that a device takes with a setting; None where it does not fit."""


@dataclass(frozen=True)
class Way:
    """Settings under which a run fits."""

    keys: tuple[str, ...]
    """KEY=VALUE of a recipe, all of them together."""
    peak: int
    """Bytes of a device at the peak."""


def ways(one: Setting, plan: Plan, peak_of: PeakOf) -> list[Way]:
    """Settings with which a run fits, the fewest first; none that holds one that fits by itself."""
    keys = list(dict.fromkeys(key for key, _, _ in changes(one, plan)))
    keys = [key for key in keys if not key.startswith("engine.head_chunk") and not key.startswith("engine.cache_gib")]
    fitting: list[Way] = []
    for count in range(1, TOGETHER + 1):
        for chosen in combinations(keys, count):
            if len(fitting) == SHOWN or any({*way.keys} <= {*chosen} for way in fitting):
                continue
            setting = _with(one, plan, chosen)
            peak = peak_of(setting) if setting else None
            if peak is not None:
                fitting.append(Way(chosen, peak))
    return fitting


def _with(one: Setting, plan: Plan, keys: tuple[str, ...]) -> Setting | None:
    """With all of these; None where one of them says nothing beside the others."""
    for key in keys:
        found = next((setting for name, setting, _ in changes(one, plan) if name == key), None)
        if found is None:
            return None
        one = found
    return one


def needed(one: Setting, start: int, peak_of: PeakOf) -> int:
    """Bytes of the smallest device on which a run fits that takes `start` at least."""

    def fits(room: float) -> bool:
        return peak_of(replace(one, room=int(room))) is not None

    low = high = float(start)
    while not fits(high):
        low, high = high, 1.5 * high
    while high > NEAR * low:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return int(high)


def largest(one: Setting, fits: Callable[[Shape, Setting], bool]) -> str:
    """The largest usual model that fits in bf16, with an adapter and gradient checkpointing; empty where none does."""
    leanest = replace(one, dtype="bfloat16", lora=one.lora or Lora(), checkpointing=True, asked=Asked(), others=())
    return next((name for name in reversed([*MODELS]) if fits(Shape.of_size(name), leanest)), "")
