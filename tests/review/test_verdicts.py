"""What is put before reviewers, what becomes of their verdicts, and what these say together."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.doctor.human import RULES
from postlude.doctor.track import Track
from postlude.doctor.watching import diagnose
from postlude.errors import ConfigError, RunLocked
from postlude.review import figures, store
from postlude.review.answers import answers_of
from postlude.review.queue import KINDS, Kind, Queued, queue
from postlude.review.report import report
from postlude.review.store import Reviewer
from postlude.runs import read
from postlude.runs.figures import JUDGED, lookup
from postlude.runs.history import History
from postlude.runs.lock import acquire
from tests.reviewing import row, write


@pytest.fixture
def run(tmp_path: Path) -> History:
    """Two steps of two prompts with four answers each; the last answer to each prompt is right."""
    steps = {
        step: [row(f"{step}{p}", f"{step}{p}{i}", float(i == 3), -1.0 - i) for p in "ab" for i in range(4)]
        for step in (1, 2)
    }
    return write(tmp_path, steps)


def chosen(history: History, kinds: list[Kind], count: int, seed: int = 0, judged: Any = ()) -> list[Queued]:
    return queue(history, answers_of(history), kinds, count, seed, judged)[0]


def judge(history: History, kind: Kind, verdicts: str, **how: Any) -> list[Queued]:
    """Judge the first answers of a queue: + is good, - bad, . skips."""
    with Reviewer(history.folder, **how) as reviewer:
        judged = {place: one for (place, _), one in store.read(history.folder).items()}
        waiting, again = queue(history, answers_of(history), [kind], len(verdicts), reviewer.seed, judged)
        for one in again:
            reviewer.repeat(one, judged[one.answer.place])
        for one, mark in zip(waiting, verdicts, strict=True):
            reviewer.judge(one, {"+": "good", "-": "bad", ".": "skip"}[mark])  # type: ignore[arg-type]
    return waiting


# ------------------------------------------------------------------------------------------------------ queues


def test_random_is_the_same_order_however_many_answers_come_after(run: History, tmp_path: Path) -> None:
    before = [one.answer.place for one in chosen(run, ["random"], 16)]
    assert len({*before}) == 16 and before != sorted(before)
    assert [one.answer.place for one in chosen(run, ["random"], 5)] == before[:5]
    assert [one.answer.place for one in chosen(run, ["random"], 16, seed=1)] != before
    longer = write(run.folder, {3: [row("3a", f"new{i}", 0.0) for i in range(8)]})
    assert [p for p in (one.answer.place for one in chosen(longer, ["random"], 24)) if p.step < 3] == before


def test_highest_and_surprising_come_by_their_numbers(run: History) -> None:
    assert {one.answer.place.index for one in chosen(run, ["highest"], 4)} == {3}
    first = chosen(run, ["surprising"], 16)
    # reward 1 among 0, 0, 0, step deviation sqrt(3)/4: 2.309; first by reward and last by log-prob: 3/3 of the order
    assert [one.answer.place.index for one in first[:4]] == [3] * 4 and len(first) == 16
    assert first[0].why == (
        "reward 1, the prompt's other answers 0: +2.3 standard deviations; by reward number 1 of 4, by log-prob "
        "number 4"
    )
    assert "-0.8" in first[4].why  # 0 among 0, 0, 1


def test_flagged_are_answers_ranked_apart_and_steps_of_alarms(tmp_path: Path) -> None:
    rows = [row(f"p{i}", f"t{i}", i / 4, other=float(4 - i)) for i in range(5)]
    alarm = {"schema": 1, "kind": "note", "step": 2, "code": "alarm", "data": {"rule": "flood", "steps": [2]}}
    history = write(tmp_path, {1: rows, 2: [row("q", "alone", 1.0)]}, alarm)
    found = {one.answer.place.prompt: one.why for one in chosen(history, ["flagged"], 99)}
    assert found == {
        "p0": "the reward ranks it far from where other does",
        "p1": "the reward ranks it far from where other does",
        "p3": "the reward ranks it far from where other does",
        "p4": "the reward ranks it far from where other does",
        "q": "alarm flood",
    }


def test_no_answer_is_shown_twice_and_kinds_share_the_sitting(run: History) -> None:
    first = judge(run, "highest", "++")
    both = chosen(run, [*KINDS], 8, judged={one.answer.place for one in first})
    assert len({one.answer.place for one in both}) == len(both)
    assert not {one.answer.place for one in both} & {one.answer.place for one in first}
    assert {one.kind for one in both} >= {"random", "surprising"}


def test_an_answer_of_another_queue_that_random_comes_upon_is_of_the_sample_too(run: History) -> None:
    """Left out, the sample would lack those of high reward: no random sample any more."""
    judge(run, "highest", "++++")
    judge(run, "random", "-" * 12)
    whole = report(run)
    sample = whole.of("random")
    assert sample is not None and (sample.good, sample.bad) == (4, 12) and sample.share is not None
    assert sample.share[0] == 0.25 and len(whole.pairs) == 20
    assert sum(one.again for _, one in whole.pairs) == 4


# ---------------------------------------------------------------------------------------------------- the store


def test_what_is_taken_back_is_asked_again_and_said_to_be_no_longer_blind(run: History) -> None:
    waiting = chosen(run, ["random"], 2)
    with Reviewer(run.folder, "anna") as reviewer:
        reviewer.judge(waiting[0], "good")
        reviewer.note(waiting[1], "odd\x1b")
        reviewer.judge(waiting[1], "bad", "wrong")
        assert reviewer.undo() is not None and len(reviewer.done) == 1
        reviewer.judge(waiting[1], "good")
        with pytest.raises(RunLocked, match="somebody is reviewing"), Reviewer(run.folder):
            pass
    standing = [*store.read(run.folder).values()]
    assert [(one.verdict, one.reason, one.notes, one.by, one.reward_shown) for one in standing] == [
        ("good", None, (), "anna", False),
        ("good", None, ("odd\x1b",), "anna", True),
    ]
    rows = [json.loads(line) for line in (run.folder / store.FILE).read_text().splitlines()]
    assert [one["verdict"] for one in rows] == ["good", None, "bad", "undone", "good"]


def test_a_run_at_work_can_be_reviewed(run: History) -> None:
    with acquire(run.folder):
        assert read(run.folder).running
        judge(read(run.folder), "random", "+-")
    assert len(store.read(run.folder)) == 2


def test_a_torn_line_is_cut_off_and_a_damaged_file_named(run: History) -> None:
    judge(run, "random", "+")
    path = run.folder / store.FILE
    whole = path.read_text()
    path.write_text(whole + '{"schema": 1, "st')
    judge(run, "random", "-")
    assert path.read_text().startswith(whole) and len(store.read(run.folder)) == 2
    for broken, said in (("{}\n", "line 1 has schema None"), ("[1]\n\n{}\n", "line 1 is no JSON object")):
        path.write_text(broken)
        with pytest.raises(ConfigError, match=said):
            report(run)
    changed = {"step": "1", "queue": "x", "verdict": 1, "steps": [1]}
    texts = ("names no answer", "none of random", "good, bad, skip", "no .first, last")
    for (name, value), said in zip(changed.items(), texts, strict=True):
        path.write_text(json.dumps({**json.loads(whole), name: value}) + "\n")
        with pytest.raises(ConfigError, match=said):
            report(run)


# --------------------------------------------------------------------------------------------------- the report


def test_only_the_random_sample_is_an_estimate(run: History) -> None:
    judge(run, "random", "+" * 4 + "-" * 4)
    alone = report(run).of("random")
    judge(run, "highest", "-")
    judge(run, "surprising", "-.")
    whole = report(run)
    assert whole.of("random") == alone and {one.kind for one in whole.kinds} == {"random", "highest", "surprising"}
    assert figures(run)["human/judged"] == 8.0 and figures(run)["human/good"] == 0.5


def test_agreement_kappa_and_the_worst_by_hand(tmp_path: Path) -> None:
    """Ten prompts with one answer each; people and reward say the same of eight."""
    rows = [row(f"p{i}", f"t{i}", float(i < 5), other=float(i)) for i in range(10)]
    history = write(tmp_path, {1: rows})
    good = {0, 1, 2, 3, 9}  # the reward: 0 to 4
    with Reviewer(tmp_path) as reviewer:
        for one in chosen(history, ["random"], 10):
            reviewer.judge(one, "good" if int(one.answer.place.prompt[1:]) in good else "bad", "word")
    whole = report(history)
    sample = whole.of("random")
    assert sample is not None
    by_name = {one.measure: one for one in sample.agreements}
    reward, other = by_name["reward"], by_name["other"]
    assert (reward.kind, reward.value, reward.judged) == ("accuracy", 0.8, 10)
    assert (reward.low, reward.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson of 8 in 10
    assert (reward.kappa, reward.kappa_low, reward.kappa_high) == pytest.approx((0.6, -0.0196, 0.8866), abs=1e-4)
    assert (other.kind, other.value, other.kappa) == ("auc", 0.2, None)  # ranks 1 to 4 and 10: (20 - 15) / 25
    assert {(one.answer.place.prompt, one.judged.verdict) for one in whole.worst} == {("p4", "bad"), ("p9", "good")}
    assert all(lookup(name) for name in figures(history))
    assert figures(history)["human/agreement"] == 0.8 and figures(history)["human/agreement/auc"] == 0.0


def test_two_answers_to_a_prompt_are_no_two_prompts(tmp_path: Path) -> None:
    history = write(tmp_path, {1: [row(p, f"{p}{i}", 1.0) for p in "abcd" for i in range(4)]})
    with Reviewer(tmp_path) as reviewer:
        for one in chosen(history, ["random"], 16):
            reviewer.judge(one, "good" if one.answer.place.prompt in "ab" else "bad")
    sample = report(history).of("random")
    assert sample is not None and sample.prompts == 4
    assert sample.share == pytest.approx((0.5, 0.1500, 0.8500), abs=1e-4)  # Wilson of 2 in 4
    assert report(history).unmeasured == ("reward", "other") and sample.agreements == ()


def test_rules_fire_where_people_and_reward_part_and_not_before_they_must(tmp_path: Path) -> None:
    rng = random.Random(0)
    steps = {s: [row(f"{s}p{i}", f"{i}", min(1.0, s / 20 + rng.random() / 10)) for i in range(8)] for s in range(1, 11)}
    history = write(tmp_path, steps)

    def names() -> list[str]:
        track = Track("grpo")
        track.add(10, {"samples": 8.0, **figures(history)})
        return [rule.name for rule in RULES if rule.look(track)]

    assert figures(history) == {} and names() == []
    few = chosen(history, ["random"], 3)
    with Reviewer(tmp_path) as reviewer:
        for one in few:
            reviewer.judge(one, "good" if one.answer.place.step < 6 else "bad")
    assert figures(history)["human/good/change"] < 0 and names() == []
    with Reviewer(tmp_path) as reviewer:
        for one in chosen(history, ["random"], 40, judged={q.answer.place for q in few}):
            reviewer.judge(one, "good" if one.answer.place.step < 6 else "bad")
    assert names() == ["people-disagree", "people-see-decline"] and figures(history).keys() == JUDGED.keys()
    for step in range(1, 11):
        with (tmp_path / "events.jsonl").open("a") as file:
            file.write(json.dumps({"schema": 1, "kind": "step", "step": step, "samples": 8.0}) + "\n")
    seen = {one.shown.rule: one.shown for one in diagnose(read(tmp_path), RULES, figures(history)).seen}
    assert [*seen] == ["people-see-decline", "people-disagree"] and seen["people-disagree"].steps == (10,)
    doctor = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"])
    shown = {one["rule"]: one["samples"] for one in json.loads(doctor.output)["runs"][0]["findings"]}
    for name in ("people-disagree", "people-see-decline"):
        assert [len(shown[name]), {one["verdict"] for one in shown[name]} <= {"good", "bad"}] == [3, True]
    (tmp_path / store.FILE).write_text("{}\n")
    damaged = json.loads(CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"]).output)["runs"][0]
    assert "Looked at without what people said" in damaged["warnings"][-1] and "people-disagree" in damaged["unseen"]


def test_verdicts_on_answers_that_are_gone_do_not_count_until_they_come_back(run: History) -> None:
    judge(run, "random", "+" * 16)
    path = run.folder / "rollouts/step-000002.jsonl"
    text = path.read_text()
    path.unlink()
    assert report(read(run.folder)).lost == 8 and figures(read(run.folder))["human/judged"] == 8.0
    path.write_text(text.replace('"2a0"', '"another"'))
    assert report(read(run.folder)).lost == 1
    fresh = chosen(read(run.folder), ["random"], 9, judged={place for place, _ in store.read(run.folder)})
    assert [one.answer.place.prompt for one in fresh] == ["2a"]  # the new answer has been judged by nobody
    path.write_text(text)
    assert report(read(run.folder)).lost == 0 and figures(read(run.folder))["human/judged"] == 16.0


@pytest.mark.parametrize(("verdicts", "fires"), [(4, False), (5, False), (6, True)])
def test_a_handful_of_verdicts_is_no_finding(tmp_path: Path, verdicts: int, fires: bool) -> None:
    """The interval of none in 5 is 0.43 wide, of none in 6 it is 0.39."""
    rows = [row(f"p{i}", f"t{i}", float(i % 2)) for i in range(verdicts)]
    history = write(tmp_path, {1: rows})
    with Reviewer(tmp_path) as reviewer:
        for one in chosen(history, ["random"], verdicts):
            reviewer.judge(one, "good" if one.answer.reward == 0 else "bad")
    track = Track("grpo")
    track.add(1, {"samples": 8.0, **figures(history)})
    assert ("people-disagree" in [rule.name for rule in RULES if rule.look(track)]) == fires


def test_a_damaged_recipe_is_said_before_a_verdict_is_given(run: History) -> None:
    (run.folder / "config.yaml").write_text("foo: [\n")
    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read"):
        CliRunner().invoke(app, ["review", str(run.folder)], input="g\n", catch_exceptions=False)
    assert not (run.folder / store.FILE).exists()
