"""What `make bench-scale` measures is what a run does: updates as they are shared out, answers as servers give them."""

from __future__ import annotations

import json

import pytest

from bench.scale.answers import PROMPT, answer
from bench.scale.driver import measured
from bench.scale.material import groups_of
from postlude.engines.ranks.shares import Effort
from postlude.engines.servers.replies import read
from postlude.engines.settings import Sampling


def test_an_update_is_about_as_large_as_is_asked_for_and_has_53_bytes_a_token() -> None:
    row = measured(2_000, Effort())
    assert row.tokens == pytest.approx(2_000, rel=0.2)
    assert row.nbytes == pytest.approx(53 * row.tokens, rel=0.02)  # 57 with the old policy's log-probs
    assert row.driver == row.pack + row.weigh + row.share + row.ship > 0
    assert {len(group.completions) for group in groups_of(2_000)} == {8}


def test_an_answer_is_one_that_is_taken() -> None:
    taken = read(answer(32), PROMPT, Sampling(max_tokens=32))
    assert len(taken.tokens) == len(taken.logprobs) == 32
    assert list(taken.tokens) == json.loads(answer(32))["choices"][0]["token_ids"]
