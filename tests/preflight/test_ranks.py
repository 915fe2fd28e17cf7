"""What `postlude check` says of several trainers before one is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from postlude.check import check
from postlude.footprint import require_room_of_ranks, short_of_ranks
from postlude.preflight import ranks
from postlude.recipe.opening import document_of
from postlude.sizing.typical import MODELS
from tests.preflight.conftest import look, write
from tests.refusals import refused

TWO = ("engine.trainers=2", "engine.device=cpu")
DPO = ("model=chat", "data=pairs.jsonl", "engine.device=cpu")


def test_one_trainer_has_no_section(here: Path) -> None:
    report = look("dpo", *DPO, quick=True)
    assert "ranks" not in [section.name for section in report.sections]


def test_ranks_are_told_with_what_each_has_and_what_one_that_is_lost_costs(here: Path) -> None:
    report = look("dpo", *DPO, "engine.trainers=3", "engine.commit_every=4", "prompts_per_step=12", quick=True)
    section = report.section("ranks")
    assert section.summary == "3 ranks on this machine, on the CPU, FSDP2 float32"
    table = dict(section.table)
    assert table["an update"].startswith("12 rows over 3 ranks: the fullest has 1.0")
    assert table["commits"].startswith("one of ") and table["commits"].endswith(" every 4 steps; the newest stays")
    assert "said nothing for 600 s" in table["a lost rank"] and "3 times at most" in table["a lost rank"]
    assert section.figures["rank_bytes"] < section.figures["alone_bytes"]
    assert report.verdict == "ok"


def test_trainers_that_do_not_fit_their_machine_are_refused_before_one_is_started(here: Path) -> None:
    prepared = check(document_of(Path("dpo"), [*DPO, "engine.trainers=4"]))
    assert short_of_ranks(prepared) == ""
    (here / "large").mkdir()
    (here / "large" / "config.json").write_text(json.dumps(MODELS["72B"].values))
    model = replace(prepared.recipe.model, path=str(here / "large"))
    prepared = replace(prepared, recipe=replace(prepared.recipe, model=model))
    with refused("out-of-memory", said="4 trainers on this machine take at least") as caught:
        require_room_of_ranks(prepared)
    assert "while all load" in str(caught.value) and "Take a smaller model, or more memory." in str(caught.value)
    elsewhere = replace(prepared.recipe.engine, address="auto")
    assert short_of_ranks(replace(prepared, recipe=replace(prepared.recipe, engine=elsewhere))) == ""


def test_a_share_that_others_wait_for_is_a_warning(here: Path) -> None:
    rows = [{"prompt": "q", "chosen": "a" * 300, "rejected": "b" * 300}]
    rows += [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(7)]
    write(here / "one_long.jsonl", rows)
    report = look("dpo", "model=chat", "data=one_long.jsonl", "prompts_per_step=8", "engine.trainers=2", quick=True)
    assert report.codes("warning") == ["ranks-uneven"]
    assert report.section("ranks").figures["imbalance"] > 1.5


def test_answers_are_shared_out_once_they_are_there(here: Path) -> None:
    recipe = (
        "model=plain",
        "data=prompts.jsonl",
        "sampling.max_tokens=4",
        "reward=exact",
        "engine.trainers=2",
        "engine.device=cpu",
    )
    quick = look("grpo", *recipe, quick=True).section("ranks")
    assert dict(quick.table)["an update"] == "up to 128 answers, shared out by length once they are there"
    whole = look("grpo", *recipe, "prompts_per_step=4").section("ranks")
    assert dict(whole.table)["an update"].startswith("32 answers over 2 ranks: the fullest has 1.0")
    assert whole.figures["imbalance"] < 1.1


@pytest.mark.parametrize(
    ("settings", "gpus", "said"),
    [
        ((), 4, "2 ranks on this machine, a GPU each, FSDP2 float32"),
        (("engine.device=cpu",), 4, "2 ranks on this machine, on the CPU, FSDP2 float32"),
        (("engine.address=10.0.0.5:6379",), 0, "2 ranks on the Ray cluster at 10.0.0.5:6379, FSDP2 float32"),
    ],
)
def test_where_ranks_are(
    here: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], gpus: int, said: str
) -> None:
    monkeypatch.setattr(ranks, "gpus_here", lambda: gpus)
    section = look("sft", "model=chat", "data=sft.jsonl", "engine.trainers=2", *settings, quick=True).section("ranks")
    assert section.summary == said and dict(section.table)["sampling"] == "nothing is sampled"
