"""Part `answers`: how fast one core reads what servers answer, and checks it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from bench.scale.material import cpu_seconds, table
from postlude.engines.servers.replies import read
from postlude.engines.settings import Sampling

LENGTHS = (32, 512, 8192)
TOKENS = 65_536
"""Of all answers of a length together."""
PROMPT = tuple(range(100))


def run(folder: Path) -> bool:
    """Answers as vLLM's /inference/v1/generate has them."""
    rows: list[tuple[str, ...]] = []
    for length in LENGTHS:
        body, times = answer(length), TOKENS // length
        sampling = Sampling(temperature=1.0, max_tokens=length)
        seconds = cpu_seconds(lambda: [read(body, PROMPT, sampling) for _ in range(times)])  # noqa: B023
        rate = times * length / seconds
        rows.append((f"{length:,}", f"{len(body) / length:.0f}", f"{rate:,.0f}", f"{times / seconds:,.0f}"))
    table(("tokens of an answer", "bytes a token", "tokens/s", "answers/s"), rows)
    return True


def answer(length: int) -> bytes:
    """With `logprobs: 0`, in which each token stands with its own log-prob."""
    draw = random.Random(0)
    ids = draw.choices(range(50_000), k=length)
    rows = [
        {"token_id": t, "logprob": x, "rank": 1, "top_logprobs": [{"token_id": t, "logprob": x, "rank": 1}]}
        for t, x in ((t, -draw.expovariate(1)) for t in ids)
    ]
    choice = {
        "index": 0,
        "finish_reason": "length",
        "stop_reason": None,
        "token_ids": ids,
        "logprobs": {"content": rows},
        "weight_versions": [{"version": "7", "start": 0, "end": length}],
    }
    usage = {"prompt_tokens": len(PROMPT), "completion_tokens": length, "total_tokens": len(PROMPT) + length}
    return json.dumps({"request_id": "1", "model": "policy", "choices": [choice], "usage": usage}).encode()
