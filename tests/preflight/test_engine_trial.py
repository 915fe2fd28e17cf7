"""`postlude engine check` on trainer ranks, here plain processes: what it measures, and one that is killed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from postlude.cli.engine_view import show
from postlude.engines.ranks.crew import Blueprint, Crew, Start, Terms
from postlude.preflight.trial import TriedRanks, try_engine
from postlude.recipe.opening import document_of
from tests.ranks import Processes
from tests.refusals import refused

RECIPE = ("model=plain", "data=prompts.jsonl", "reward=exact", "sampling.max_tokens=4", "engine.device=cpu")


def crew(terms: Terms) -> Start:
    async def start(blueprint: Blueprint) -> Crew:
        return await Processes.start(blueprint, terms.size)

    return start


def test_ranks_are_tried_and_one_that_is_killed_comes_back_with_the_same_numbers(here: Path, tmp_path: Path) -> None:
    document = document_of(Path("grpo"), [*RECIPE, "engine.trainers=2"])
    tried = try_engine(document, tmp_path, lambda doing: None, kill=True, crew=crew)
    assert isinstance(tried, TriedRanks)
    ranks = tried.ranks
    assert ranks.topology == "2 trainer ranks on 1 host, FSDP2 float32" and len(ranks.ranks) == 2
    assert ranks.sampler is not None and ranks.sampler.largest < 1e-5, "the sampler has the weights of the update"
    assert ranks.restart is not None and ranks.restart.same and ranks.restart.rank == 1
    assert ranks.tokens > 0 and ranks.checkpoint > 10_000 and ranks.gather
    assert any("trainer rank 1 was lost" in note for note in tried.notes)
    assert json.loads(json.dumps(tried.to_json(), allow_nan=False))["ranks"]["restart"]["same"] is True
    printed = io.StringIO()
    show(tried, "grpo", Console(file=printed, width=100))
    said = printed.getvalue()
    assert "until the next pass: the same numbers to the last bit" in said and "0.01 is allowed in float32" in said


@pytest.mark.parametrize(
    ("settings", "kill", "code", "said"),
    [((), False, "missing-key", "engine=ray, or engine.servers="), ((), True, "no-effect", "engine.trainers is 1")],
)
def test_what_has_nothing_to_try_is_refused(
    here: Path, tmp_path: Path, settings: tuple[str, ...], kill: bool, code: str, said: str
) -> None:
    with refused(code, said=said):
        try_engine(document_of(Path("grpo"), [*RECIPE, *settings]), tmp_path, lambda doing: None, kill)
