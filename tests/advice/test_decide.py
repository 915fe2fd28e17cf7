"""From evidence to advice: each rule, and answers that change when the evidence does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postlude.advice.advise import Wishes, advise, evidence_of
from postlude.advice.decide import Advice, decide
from postlude.advice.evidence import Base, Device, Evidence, Lengths, Model, Part, Share
from postlude.advice.goals import goal_of
from postlude.advice.measures import share
from postlude.advice.reading import read_all
from postlude.advice.shapes import Feedback
from postlude.algorithms import ALGORITHMS
from postlude.runs.figures import lookup
from postlude.sizing.shape import Shape
from postlude.statistics import clustered
from tests.advice import rows as r
from tests.advice.rows import Row, save

GPU = Device("gpu", 24.0, 1, "a guess", 4e13)


def part(feedback: Feedback, n: int = 500, **others: Any) -> Part:
    base = Part(
        feedback, n, ("data.jsonl",), n, n, 0, False, Lengths(50, 80, 100, 50 * n), Lengths(100, 150, 200, 100 * n),
        up=n // 2 if feedback == "thumbs" else 0, size=2.0,
    )  # fmt: skip
    return replace(base, **others)


def sized(size: str) -> Model:
    shape = Shape.of_size(size)
    return Model(size, shape.parameters / 1e9, "its name", shape=shape)


def base(right: float, prompts: int = 16) -> Base:
    n = 8 * prompts
    values = [1.0] * round(right * n) + [0.0] * (n - round(right * n))
    low, high = clustered(values, [i % prompts for i in range(n)])
    at_ends = prompts if right in (0, 1) else 0
    return Base(
        prompts, 8, Share(right * n, n, low, high), share(at_ends if right == 0 else 0, prompts),
        share(at_ends if right == 1 else 0, prompts), share(0 if at_ends else prompts, prompts), 0.0, 60.0, 500.0,
    )  # fmt: skip


def on(*parts: Part, **others: Any) -> Advice:
    return decide(Evidence(tuple(parts), sum(p.rows for p in parts), **others))


def of_rows(rows: list[Row], **wishes: Any) -> Advice:
    return advise([save(Path("data.jsonl"), rows)], Wishes(prompts=0, **wishes)).advice


# ------------------------------------------------------------------------------------------------- base pass rate


def test_the_base_pass_rate_decides_whether_there_is_anything_to_reinforce() -> None:
    golds = part("golds", readable=500)
    assert on(golds, base=base(0.0)).plan == ("rft", "grpo")
    assert on(golds, base=base(0.0)).verdict == "first"
    assert on(golds, base=base(0.4)).plan == ("grpo",)
    done = on(golds, base=base(1.0))
    assert (done.verdict, done.method) == ("do not train", None)
    assert "nothing to learn" in done.headline and "100%" in done.reasons[0].evidence


def test_where_nothing_is_solved_written_answers_come_first() -> None:
    advice = on(part("golds"), part("answers", 300, others=True), base=base(0.0))
    assert advice.plan == ("sft", "grpo")


def test_a_target_that_is_met_is_no_reason_to_train() -> None:
    golds = part("golds")
    met = on(golds, base=base(0.8), goal=goal_of("at least 50% accuracy"))
    assert (met.verdict, met.headline) == ("do not train", "do not train: the target is met")
    assert on(golds, base=base(0.4), goal=goal_of("at least 50% accuracy")).plan == ("grpo",)


def test_few_groups_with_a_signal_are_drawn_anew() -> None:
    rare = replace(base(0.1), signal=share(3, 16))
    assert on(part("golds"), base=rare).method == "dapo"


def test_nothing_solved_is_never_grpo_and_cut_off_answers_are_measured_again() -> None:
    cut = replace(base(0.0), cut_off=0.8, room=256)
    for parts, plan in (
        ([part("golds", readable=500)], ("rft", "grpo")),
        ([part("golds"), part("answers", others=True)], ("sft", "grpo")),
    ):
        for prompts in (2, 8, 16):
            advice = on(*parts, base=replace(cut, prompts=prompts), model=Model("m", 0.1, "its name"))
            assert advice.plan == plan and "base pass rate 0%" in advice.reasons[0].evidence
            assert "postlude advise DATA --model m --max-tokens 1024" in advice.first
    assert on(part("prompts"), base=base(0.0), reward={"use": "a.py:b"}).plan == ("rft", "grpo")
    assert on(part("golds"), base=replace(base(0.3), cut_off=0.8)).plan == ("grpo",)
    assert on(part("golds"), base=replace(base(1.0), cut_off=0.0)).verdict == "do not train"


# --------------------------------------------------------------------------------------------------------- kinds


def test_start_with_dpo_where_pairs_exist_and_say_the_order() -> None:
    advice = on(part("pairs"), part("golds", 500))
    assert advice.plan == ("dpo", "grpo")
    assert any("start with DPO" in reason.text for reason in advice.reasons)
    assert on(part("golds")).plan == ("grpo",)


def test_a_few_pairs_beside_much_else_decide_nothing() -> None:
    assert on(part("thumbs", 5000), part("pairs", 10)).method == "kto"
    assert on(part("thumbs", 5000), part("pairs", 1000)).plan == ("dpo", "kto")


def test_a_mixture_is_put_in_order() -> None:
    advice = on(part("answers", 600), part("pairs", 500), part("golds", 400))
    assert advice.plan == ("sft", "dpo", "grpo")


def test_contradicted_pairs_are_smoothed_and_beyond_a_third_refused() -> None:
    assert on(part("pairs", 500, conflicts=30)).method == "cdpo"
    refused = on(part("pairs", 500, conflicts=100))
    assert refused.verdict == "do not train" and "contradict" in refused.headline


def test_thumbs_of_one_kind() -> None:
    assert on(part("thumbs", up=500)).method == "sft"
    assert on(part("thumbs", up=0)).verdict == "do not train"
    lopsided = on(part("thumbs", 500, up=450))
    weights = {s.key: s.value for s in lopsided.settings}
    ratio = 450 / (50 * weights["objective.link.lam_undesirable"])
    assert lopsided.method == "kto" and 1 <= ratio <= 4 / 3 + 0.01


def test_a_lone_thumb_of_one_kind_gets_no_huge_weight() -> None:
    few = on(part("thumbs", 300, up=297))
    assert (few.method, few.evidence.parts[0].down) == ("sft", 3) and "297 up, 3 down" in few.reasons[0].evidence
    assert on(part("thumbs", 300, up=3)).verdict == "do not train"
    for up, key in ((1900, "objective.link.lam_undesirable"), (100, "objective.link.lam_desirable")):
        advice = on(part("thumbs", 2000, up=up))
        (weight,) = [s for s in advice.settings if s.key == key]
        assert advice.method == "kto" and weight.value == 10 and "10 at most" in weight.why


def test_the_method_that_is_advised_is_not_rejected_by_another_name() -> None:
    for one in (part("lists"), part("pairs"), part("answers"), part("thumbs", up=500)):
        advice = on(one)
        family = str(advice.method).partition("_")[0]
        assert not [x.name for x in advice.rejected if x.name in (family, f"{family} on lists", f"{family} first")], (
            advice.method
        )


def test_a_judge_is_counted_in_what_does_not_fit_and_in_what_would() -> None:
    advice = on(part("prompts"), model=sized("8B"), device=GPU)
    room = advice.room
    assert room is not None and not room.fits and room.part("judge") == pytest.approx(4 * 8.03e9 / 2**30, rel=0.01)
    assert 0 < room.largest < 5 and "with a judge as large" in advice.headline
    assert any("the judge, counted as large" in text for text in advice.warnings)


# --------------------------------------------------------------------------------------------------------- stops


@pytest.mark.parametrize(
    "name, rows",
    [
        ("too little data", r.pairs(5)),
        ("too little data", [*r.pairs(5)] * 100),
        ("all rows ask the same", [{**row, "prompt": "Say something."} for row in r.pairs()]),
        ("the right answer is always the same", [{**row, "answer": "42"} for row in r.golds()]),
        ("every answer is a bad one", r.thumbs(up=lambda i: False)),
        (
            "the data contradict themselves",
            r.pairs(60) + [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in r.pairs(60)],
        ),
    ],
)
def test_when_not_to_train(name: str, rows: list[Row]) -> None:
    advice = of_rows(rows)
    assert (advice.verdict, advice.method) == ("do not train", None)
    assert name in advice.headline and advice.instead and advice.unless
    assert all(reason.evidence for reason in advice.reasons)


def test_facts_are_looked_up_and_forms_asked_for() -> None:
    assert "retrieval" in of_rows(r.texts(), goal="it should know our product manuals").headline
    assert "prompt" in of_rows(r.written(100), goal="always answer in JSON").headline
    assert of_rows(r.written(), goal="a friendlier tone").method == "sft"


# ----------------------------------------------------------------------------------------------------------- goals


def test_goals_change_the_answer() -> None:
    assert of_rows(r.golds(), goal="shorter answers").method == "drpo"
    assert of_rows(r.golds(), goal="answers should not be shorter").method == "grpo"
    assert of_rows(r.pairs(), goal="a reward model").method == "reward_model"
    assert of_rows(r.pairs(), goal="I need a judge").method == "reward_model_pair"
    assert of_rows(r.lists(), goal="a reward model").method == "reward_model_listwise"
    assert of_rows(r.thumbs(), goal="a reward model").method == "reward_model_binary"


def test_goals_that_the_data_speak_against_are_warned_of() -> None:
    assert any("teach the opposite" in text for text in of_rows(r.longer(), goal="shorter answers").warnings)
    assert any("right answers or tests" in text for text in of_rows(r.pairs(), goal="better reasoning").warnings)
    assert any("constitution" in text for text in of_rows(r.prompts(), goal="safer answers").warnings)


def test_goals_that_change_nothing_are_said_to() -> None:
    for goal in ("shorter answers", "longer answers"):
        assert any("changes nothing of this run" in text for text in of_rows(r.lists(), goal=goal).warnings)


def test_what_was_not_understood_of_a_goal_is_said() -> None:
    goal = goal_of("shorter answers for our frobnicators")
    assert (goal.names, goal.unread) == (("shorter",), ("frobnicators",))
    assert goal_of("do not make it shorter").refused == ("shorter",)
    nothing = of_rows(r.pairs(), goal="frobnicate the gizmos")
    assert any("nothing of --goal" in text for text in nothing.warnings)


@pytest.mark.parametrize(
    "text, names",
    [
        ("shorter answers", ("shorter",)),
        ("safer", ("safer",)),
        ("better reasoning on maths", ("reasoning",)),
        ("train a judge", ("judge",)),
        ("less verbose and more harmless", ("shorter", "safer")),
        ("a reward model for RLHF", ("reward model", "ppo")),
        ("cheap and quick", ("cheap",)),
        ("not shorter but longer answers", ("longer",)),
        ("longer answers, not shorter ones", ("longer",)),
        ("not only shorter but safer", ("shorter", "safer")),
        ("not verbose", ("shorter",)),
        ("never toxic", ("safer",)),
        ("shorter instead of longer answers", ("shorter",)),
    ],
)
def test_goals_are_read(text: str, names: tuple[str, ...]) -> None:
    assert goal_of(text).names == names
    assert goal_of(text).unread == ()


# ------------------------------------------------------------------------------------------------------ metamorphic


@pytest.mark.parametrize("make", [r.pairs, r.thumbs, r.golds, r.lists, r.written, r.steps, r.tests])
def test_the_order_of_rows_changes_nothing_and_repeats_do_not_count_as_more(make: Any) -> None:
    rows = make(60)
    mixed = [*rows]
    random.Random(1).shuffle(mixed)
    first, second = (evidence_of(read_all([save(Path(f"{i}.jsonl"), some)])) for i, some in enumerate((rows, mixed)))
    same = replace(second, parts=tuple(replace(p, files=first.parts[i].files) for i, p in enumerate(second.parts)))
    assert first == same
    twice = evidence_of(read_all([save(Path("2.jsonl"), [*rows, *rows, *rows[:7]])]))
    assert [p.distinct for p in twice.parts] == [p.distinct for p in first.parts]
    once, again = decide(first), decide(twice)
    assert (once.method, list(once.settings)) == (again.method, list(again.settings))


def test_more_memory_takes_all_weights_instead_of_an_adapter() -> None:
    model = sized("8B")
    held = {gib: on(part("golds"), model=model, device=replace(GPU, gib=gib)).room for gib in (8.0, 24.0, 48.0, 240.0)}
    assert [held[gib].fits for gib in held if held[gib] is not None] == [False, True, True, True]  # type: ignore[union-attr]
    assert held[24.0] is not None and held[24.0].holding.lora
    assert held[240.0] is not None and not held[240.0].holding.lora


def test_seven_billion_on_eight_gigabytes_do_not_fit_and_the_largest_that_does_is_said() -> None:
    advice = on(part("pairs"), model=sized("7B"), device=replace(GPU, gib=8.0))
    assert advice.room is not None and not advice.room.fits
    assert 0.5 <= advice.room.largest <= 4
    assert "does not fit" in advice.headline and f"{advice.room.largest:g} B" in advice.headline


def test_how_far_the_policy_may_move_sets_beta() -> None:
    values = [
        next(s.value for s in on(part("pairs"), moves=moves).settings if s.key == "objective.link.beta")
        for moves in ("far", "usual", "little", "hardly")
    ]
    assert values == [0.05, 0.1, 0.5, 1.0]


def test_rank_and_rate_go_with_size_and_kind_of_training() -> None:
    model, device = sized("8B"), replace(GPU, gib=28.0)
    for parts, rank, rate in ((part("golds"), 8, 1e-5), (part("answers"), 64, 2e-4), (part("pairs"), 32, 1e-5)):
        settings = {s.key: s.value for s in on(parts, model=model, device=device).settings}
        assert settings["model.lora.rank"] == rank
        assert settings["schedule.lr"] == pytest.approx(rate)


def test_length_bias_is_measured_with_an_interval_and_balanced_pairs_have_none() -> None:
    biased, plain = (
        evidence_of(read_all([save(Path(f"{i}.jsonl"), rows)])).parts[0]
        for i, rows in enumerate((r.longer(200), r.pairs(200)))
    )
    assert biased.longer is not None and plain.longer is not None
    assert biased.longer.value == 0.95
    assert 0.90 < biased.longer.low < 0.95 < biased.longer.high < 0.98
    assert biased.correlation is not None and plain.correlation is not None
    assert biased.correlation > 0.8 > 0.2 > abs(plain.correlation)
    assert decide(Evidence((replace(biased, longer=share(120, 200)),))).method == "dpo"


# ---------------------------------------------------------------------------------------------------------- answers


def test_forty_prompts_with_tests_are_few_and_what_to_do_is_said() -> None:
    advice = of_rows(r.tests(40))
    assert advice.method == "grpo"
    assert any("memorise" in text and "Put 8 aside by hand" in text for text in advice.warnings)


def test_a_language_other_than_english_is_noticed() -> None:
    german = [
        {
            "prompt": f"Was ist der Unterschied zwischen {i} und {i + 1}, und wie ist das mit der Summe?",
            "answer": str(i),
        }
        for i in range(60)
    ]
    advice = of_rows(german)
    assert advice.evidence.language == "German"
    assert any("German" in text for text in advice.warnings)
    chinese = [{"prompt": f"请用中文解释一下第{i}个问题", "answer": str(i)} for i in range(60)]
    assert of_rows(chinese).evidence.language == "Chinese"
    assert of_rows(r.golds()).evidence.language == "English"


def test_much_data_on_a_processor_is_warned_of() -> None:
    cpu = Device("cpu", 16.0, 1, "measured", 5e10)
    advice = on(part("pairs", 400_000), device=cpu, model=sized("7B"))
    assert any("on a CPU" in text for text in advice.warnings)
    assert advice.time is not None and advice.time.low > 86_400 and "rough" in advice.time.rests_on


def test_everything_that_is_named_exists_and_every_reason_has_evidence() -> None:
    feedbacks: tuple[Feedback, ...] = (
        "steps",
        "lists",
        "pairs",
        "thumbs",
        "tests",
        "golds",
        "answers",
        "text",
        "prompts",
    )
    for feedback in feedbacks:
        advice = on(part(feedback))
        assert advice.method in ALGORITHMS
        assert all(stage.method in ALGORITHMS for stage in advice.then)
        assert all(reason.text and reason.evidence for reason in advice.reasons)
        assert all(one.why and one.unless for one in advice.rejected) and len(advice.rejected) >= 8
        assert all(lookup(name) is not None for name, _ in advice.watch), advice.watch
