"""No answer is trained on whose weights nobody published, or that are older than the run allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.engines.protocol import Engine
from postlude.errors import TrainingError
from postlude.lag import lags, require_known
from postlude.runs.folder import Run
from postlude.sources.source import Drawn


@dataclass
class At:
    """An engine whose newest weights are those after a step; version v was published after step v - 10."""

    step: int

    def lag(self, version: int) -> int | None:
        return self.step - (version - 10) if version >= 10 else None


def group(*versions: int | tuple[tuple[int, int], ...], place: str = "p.jsonl line 3") -> Group:
    answers = [
        Completion(
            (1, 2, 3),
            reward=1.0,
            policy_version=v if isinstance(v, int) else v[0][0],
            spans=() if isinstance(v, int) else v,
        )
        for v in versions
    ]
    return Group(Prompt("id", "?", place=place), tuple(answers))


def look(tmp_path: Path, drawn: Drawn, most: int) -> dict[str, float]:
    engine = cast(Engine, At(4))
    require_known(Run(tmp_path, step=4), engine, [drawn], most)
    return lags(engine, [drawn])


def of(*groups: Group, sampled: Any = None) -> Drawn:
    return Drawn([*groups], [*groups] if sampled is None else sampled)


def test_an_answer_is_as_old_as_its_oldest_part(tmp_path: Path) -> None:
    assert look(tmp_path, of(group(14, 14)), 0) == {"lag/mean": 0.0, "lag/max": 0.0}
    assert look(tmp_path, of(group(14, ((13, 0), (14, 2)))), 1) == {"lag/mean": 0.5, "lag/max": 1.0}
    assert look(tmp_path, Drawn([group(3)]), 0) == {}, "of written answers nothing is known, and nothing asked"


@pytest.mark.parametrize(
    ("versions", "most", "said"),
    [
        (
            [14, 9],
            1,
            "answer 2 to p.jsonl line 3 comes, from token 0 on, from version 9 of the weights, which this run",
        ),
        ([((14, 0), (9, 2))], 1, "from token 2 on, from version 9 of the weights, which this run never published"),
        ([13], 0, "from version 13 of the weights, 1 step ago, and max_lag is 0"),
        ([((13, 0), (14, 1))], 0, "from token 0 on, from version 13"),
        ([15], 1, "from version 15 of the weights, which is of a later step"),
    ],
)
def test_one_that_is_too_old_or_of_nobody_ends_the_run_before_it_is_learnt_from(
    tmp_path: Path, versions: Any, most: int, said: str
) -> None:
    with pytest.raises(TrainingError) as error:
        look(tmp_path, of(group(*versions)), most)
    assert said in str(error.value) and str(error.value).startswith("step 5: ") and error.value.code == "stale-answer"
    assert (
        f"Nothing of this draw was trained on. Go on from the newest checkpoint with: postlude train {tmp_path}"
        in str(error.value)
    )


def test_a_group_that_dynamic_sampling_kept_may_be_older_and_is_known_all_the_same(tmp_path: Path) -> None:
    kept, fresh = group(12), group(14)
    assert look(tmp_path, of(kept, fresh, sampled=[fresh]), 0) == {"lag/mean": 1.0, "lag/max": 2.0}
    with pytest.raises(TrainingError, match="never published"):
        look(tmp_path, of(group(1), fresh, sampled=[fresh]), 0)
