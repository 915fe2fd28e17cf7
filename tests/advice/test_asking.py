"""The base pass rate: sampled, judged, with an interval that counts prompts; and what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.advice.advise import Wishes, advise
from postlude.advice.asking import EACH, base_of
from postlude.data import Completion, Group, Prompt
from postlude.preflight.sampled import Sampled
from postlude.statistics import wilson
from tests.advice import rows as r
from tests.advice.rows import save


def sampled(*rewards: list[float], truncated: bool = False) -> Sampled:
    groups = [
        Group(
            Prompt(f"p{i}", "ask", tokens=(5, 6)),
            tuple(Completion((7, 8, 9), "said", stop="length" if truncated else "eos", reward=x) for x in one),
        )
        for i, one in enumerate(rewards)
    ]
    return Sampled(groups, sampling=2.0)


def test_figures_of_answers() -> None:
    base = base_of(sampled([1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]), 256, 256)
    assert (base.right.count, base.right.of, base.right.value) == (7, 16, 7 / 16)
    assert base.right.low < wilson(7, 16)[0] < wilson(7, 16)[1] < base.right.high  # answers to one prompt are alike
    assert (base.none.count, base.all.count, base.prompts) == (1, 1, 4)
    assert (base.tokens, base.longest, base.cut_off, base.rate) == (3.0, 3, 0.0, 24.0)
    assert base.graded and not base_of(sampled([0.5, 0.2]), 256, 256).graded
    cut = base_of(sampled([0, 0], truncated=True), 256, 512)
    assert cut.cut_off == 1.0 and "256 tokens only" in cut.remark


def test_nothing_sampled_is_no_pass_rate() -> None:
    assert base_of(Sampled(), 256, 256).prompts == 0


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_a_model_that_is_here_is_asked(reader: str, value: float) -> None:
    Path("fixed.py").write_text(f"def score(completions, **columns):\n    return [{value}] * len(completions)\n")
    data = save(Path("data.jsonl"), r.golds(60))
    told: list[str] = []
    wishes = Wishes(model=reader, reward={"use": "fixed.py:score"}, prompts=8)
    advice = advise([data], wishes, told.append).advice
    assert advice.evidence.base is not None
    assert (advice.evidence.base.prompts, advice.evidence.base.right.of) == (8, 8 * EACH)
    assert advice.evidence.base.right.value == value
    assert any("asking the model" in text for text in told)
    if value:
        assert advice.verdict == "do not train"
    else:
        assert advice.method == "rft" and ("--max-tokens" in advice.first) == (advice.evidence.base.cut_off > 0.5)
