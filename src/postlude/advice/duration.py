"""How long a run takes: rough, by counting operations, and saying what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from postlude.advice.evidence import Evidence, Part
from postlude.advice.room import Room
from postlude.advice.routes import Fit
from postlude.advice.settings import entry_of, group_of, max_tokens, sizes_of

SAMPLING = 0.15
"""Share of what training gets out of a device that sampling does: it reads all weights for few tokens."""


@dataclass(frozen=True)
class Time:
    """Seconds, as an order of magnitude."""

    low: float
    high: float
    rests_on: str


def time_of(e: Evidence, fit: Fit, part: Part, room: Room | None) -> Time | None:
    """None where model or device are not known. 6 operations a parameter and token of training, 2 of reading."""
    if e.model is None or not e.model.billions or e.device is None or not e.device.flops:
        return None
    entry, sizes = entry_of(fit), sizes_of(part, entry_of(fit))
    lora, again = (room.holding.lora, room.holding.checkpointing) if room else (False, False)
    each = 6 * (2 / 3 if lora else 1) * (4 / 3 if again else 1)
    rows = sizes.steps * sizes.batch
    per_row = part.asked.median + part.answered.median * max(1.0, part.size if part.feedback == "lists" else 1.0)
    per_row *= 2 if part.feedback == "pairs" else 1
    sampled = 0.0
    if entry.source == "rollout":
        group = group_of(entry)
        answer = e.base.tokens if e.base else 0.5 * max_tokens(e, part)
        sampled, per_row = rows * group * answer, group * answer + part.asked.median
    trained = rows * per_row * (each + 2) * e.model.billions * 1e9 / e.device.flops
    asked = 2 * sampled * e.model.billions * 1e9 / (SAMPLING * e.device.flops)
    by = f"{sizes.steps} steps of {sizes.batch} rows, about {per_row:,.0f} tokens each, and {e.device.known_by}"
    if sampled and e.base is not None and e.base.rate and e.device.kind == "cpu":
        asked, by = sampled / e.base.rate, f"{by}; sampling as measured here, {e.base.rate:,.0f} tokens a second"
    total = trained + asked
    return Time(total / 3, 3 * total, f"rough, within a factor of three: {by}")
