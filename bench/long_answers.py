"""A task whose right answers are sometimes long: two sums modulo 10, of the digits at odd and at even places.

Of three or four digits the result can be said at once. Of six or seven it needs its working, and one guess in a
hundred is right. The teachers write more than either needs: they hum after most steps, and work out what could be said.
A policy taught by them is long everywhere, so that a preference for short answers has much to gain on the short
prompts, and the working of the long ones to lose.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from postlude.sources.tasks import held_out

SHORT, LONG = (3, 4), (6, 7)
"""Digits of the two kinds of prompts."""
HUM = "hm,"


def is_long(prompt: str) -> bool:
    """Whether a prompt needs a working."""
    return len(prompt) - 1 >= LONG[0]


def draw(rng: random.Random) -> str:
    digits = rng.choice(LONG if rng.random() < 0.5 else SHORT)
    return "".join(rng.choice("12345") for _ in range(digits)) + "="


def _sums(prompt: str) -> list[int]:
    """After each digit, the sum of those at the places of its kind, modulo 10."""
    totals, result = [0, 0], []
    for place, digit in enumerate(prompt[:-1]):
        totals[place % 2] = (totals[place % 2] + int(digit)) % 10
        result.append(totals[place % 2])
    return result


def solve(prompt: str) -> str:
    last = _sums(prompt)[-2:]
    return f"{last[0]}{last[1]}"


def working(prompt: str, rng: random.Random, humming: float) -> str:
    """Each digit and its sum so far; after a step a hum with probability `humming`."""
    steps = zip(prompt[:-1], _sums(prompt), strict=True)
    return "".join(f"+{digit}={total}" + (HUM if rng.random() < humming else "") for digit, total in steps)


def teach(prompt: str, rng: random.Random) -> str:
    """A tenth of the long prompts is answered at once and three tenths are worked out plainly, the rest with hums; of
    the short ones a quarter, a quarter and the rest."""
    direct, plain = (0.1, 0.4) if is_long(prompt) else (0.25, 0.5)
    how = rng.random()
    if how < direct:
        return "#" + solve(prompt)
    return working(prompt, rng, 0.0 if how < plain else 0.9) + "#" + solve(prompt)


def prompts(long: bool, count: int, held: bool, seed: int) -> list[str]:
    """Up to so many distinct prompts of a kind; there are about 650 short ones to train on, and 90 held out."""
    rng, seen = random.Random(f"{seed}:{long}:{held}"), dict[str, None]()
    for _ in range(50 * count):
        prompt = draw(rng)
        if is_long(prompt) == long and held_out(prompt) == held and len(seen) < count:
            seen[prompt] = None
    return [*seen]


def write(folder: Path, seed: int = 0) -> None:
    """`sft.jsonl` with demonstrations, `prompts.jsonl` to train on, and `choose.jsonl` and `report.jsonl`, two held-out
    parts: half short and half long each."""
    rng = random.Random(seed)
    short, long = (prompts(kind, 640, False, seed) for kind in (False, True))
    more = prompts(True, 2560, False, seed + 1)
    taught = [(p, teach(p, rng)) for p in [*(4 * short), *more]]
    rng.shuffle(taught)
    mixed = [*short, *long]
    rng.shuffle(mixed)
    held = [prompts(kind, 90, True, seed) for kind in (False, True)]
    parts = {
        "choose": [p for kind in held for p in kind[::3]],
        "report": [p for kind in held for at in (1, 2) for p in kind[at::3]],
    }
    rows = {name: [{"prompt": p, "answer": solve(p)} for p in some] for name, some in parts.items()}
    rows["prompts"] = [{"prompt": p, "answer": solve(p)} for p in mixed]
    rows["sft"] = [{"prompt": p, "completion": text, "answer": solve(p)} for p, text in taught]
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
