"""Compared and judged answers: what each kind of row becomes, and what each bad row is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Group
from postlude.errors import ConfigError
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from postlude.sources import file as rows
from postlude.sources.compared import Limits, compared, holds_compared, shared_start
from postlude.sources.formats import Reading
from postlude.sources.table import Kind
from tests.refusals import refused

EOS = 1
TURNS = "{% for m in messages %}{{ '<' + m['role'][0] + '>' + m['content'] + '<eos>' }}{% endfor %}"
CHAT = TURNS + "{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"
ALL: tuple[Kind, ...] = ("pair", "rated", "binary", "steps")
WIDE = Limits(None)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def renderer(chat_template: str | None = CHAT) -> Renderer:
    tokenizer = character_tokenizer(chat_template=chat_template)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


def table(folder: Path, *values: Any, name: str = "data.jsonl") -> rows.Table:
    path = folder / name
    path.write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in values))
    return rows.read(str(path))


def read(
    folder: Path, *values: Any, kinds: Sequence[Kind] = ALL, limits: Limits = WIDE, reading: Reading | None = None
) -> tuple[list[Group], rows.Table]:
    found = table(folder, *values)
    return compared(found, renderer(), limits, kinds, reading), found


def written(group: Group) -> list[tuple[str, float | None]]:
    """(text with its end, reward) of each answer of a group."""
    decode = renderer().tokenizer.decode
    return [(decode(c.tokens), c.reward) for c in group.completions]


def asked(group: Group) -> str:
    return renderer().tokenizer.decode(group.prompt.tokens)


# ------------------------------------------------------------------------------------------------ kinds of rows


def test_a_pair_is_two_answers_with_rewards_one_and_zero(tmp_path: Path) -> None:
    (group,), found = read(tmp_path, {"prompt": "1+1=", "chosen": "2", "rejected": "3", "level": 4})
    assert asked(group) == "1+1="
    assert written(group) == [("2<eos>", 1.0), ("3<eos>", 0.0)]
    assert group.prompt.columns == {"level": 4}
    assert (found.kind, found.form) == ("pair", "pairs (chosen, rejected, prompt)")


def test_a_pair_of_messages_goes_through_the_template(tmp_path: Path) -> None:
    row = {"prompt": [user("hi")], "chosen": [says("yo")], "rejected": [says("no")]}
    (group,), _ = read(tmp_path, row)
    assert asked(group) == "<u>hi<eos><a>"
    assert written(group) == [("yo<eos>", 1.0), ("no<eos>", 0.0)]


def test_several_turns_of_the_rejected_answer_are_trained_on_the_assistants_tokens(tmp_path: Path) -> None:
    row = {"prompt": [user("hi")], "chosen": [says("yo")], "rejected": [says("no"), user("why"), says("so")]}
    (group,), _ = read(tmp_path, row)
    second = group.completions[1]
    decode = renderer().tokenizer.decode
    assert decode([t for t, a in zip(second.tokens, second.has_action, strict=True) if a]) == "no<eos>so<eos>"
    assert second.has_action[-1]


def test_what_a_template_writes_behind_the_last_word_is_left_out(tmp_path: Path) -> None:
    """A scalar head is read at the last token: it must be the assistant's own."""
    row = {"prompt": [user("hi")], "chosen": [says("yo")], "rejected": [says("no")]}
    plain = "{% for m in messages %}{{ '<' + m['role'][0] + '>' + m['content'] + '<eos>\n' }}{% endfor %}"
    found = table(tmp_path, row)
    render = renderer(plain + "{% if add_generation_prompt %}{{ '<a>' }}{% endif %}")
    (group,) = compared(found, render, WIDE, ALL)
    assert [c.tokens[-1] for c in group.completions] == [EOS, EOS]
    assert [c.has_action[-1] for c in group.completions] == [True, True]


def test_a_probability_becomes_both_rewards(tmp_path: Path) -> None:
    base = {"prompt": "a ", "chosen": "b", "rejected": "c"}
    found, _ = read(tmp_path, *({**base, "probability": q} for q in (0.75, 1, 0, 0.5)))
    assert [[c.reward for c in g.completions] for g in found] == [[0.75, 0.25], [1, 0], [0, 1], [0.5, 0.5]]


def test_a_margin_reaches_the_batch(tmp_path: Path) -> None:
    from postlude.batch import pack

    base = {"prompt": "a ", "chosen": "b", "rejected": "c"}
    found, _ = read(tmp_path, {**base, "margin": 2}, {**base, "margin": None}, base)
    margin = pack(found).margin
    assert margin is not None
    assert margin.tolist() == [2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "numbers", "rewards"), [("scores", [0.5, -2, 7], [0.5, -2, 7]), ("ranks", [2, 3, 1], [-2, -3, -1])]
)
def test_scores_are_rewards_and_low_ranks_are_high_ones(
    tmp_path: Path, name: str, numbers: list[float], rewards: list[float]
) -> None:
    (group,), found = read(tmp_path, {"prompt": "a", "completions": ["x", "y", "z"], name: numbers})
    assert [r for _, r in written(group)] == rewards
    assert found.kind == "rated"


def test_rated_answers_may_be_messages(tmp_path: Path) -> None:
    row = {"prompt": [user("a")], "completions": [[says("x")], [says("y")]], "scores": [1, 2]}
    (group,), _ = read(tmp_path, row)
    assert written(group) == [("x<eos>", 1.0), ("y<eos>", 2.0)]


def test_ties_stay_in_a_list_and_make_no_pair_there(tmp_path: Path) -> None:
    import torch

    from postlude.algorithms import ALGORITHMS
    from postlude.batch import pack

    found, _ = read(tmp_path, {"prompt": "a", "completions": ["x", "y", "z"], "ranks": [1, 2, 2]})
    weighed = ALGORITHMS["reward_model"].objective.weigh(pack(found))
    assert weighed.pairs is not None
    assert weighed.pairs.tolist() == [[0, 1], [0, 2]]
    assert torch.allclose(weighed.pair_weight, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(("label", "reward"), [(True, 1.0), (False, 0.0), ("true", 1.0), ("False", 0.0)])
def test_a_label_is_the_reward_of_one_answer(tmp_path: Path, label: Any, reward: float) -> None:
    (group,), found = read(tmp_path, {"prompt": "a", "completion": "x", "label": label})
    assert written(group) == [("x<eos>", reward)]
    assert found.kind == "binary"


def test_labels_of_a_csv_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("prompt,completion,label\na,x,True\nb,y,false\n")
    found = rows.read(str(tmp_path / "data.csv"))
    groups = compared(found, renderer(), WIDE, ("binary",))
    assert [g.completions[0].reward for g in groups] == [1.0, 0.0]


def test_a_labelled_chat_answer(tmp_path: Path) -> None:
    (group,), _ = read(tmp_path, {"prompt": [user("a")], "completion": [says("x")], "label": False})
    assert written(group) == [("x<eos>", 0.0)]


def test_steps_are_labelled_at_their_last_token(tmp_path: Path) -> None:
    """The separator ends a step, the end of the answer the last one; a step without a label has none."""
    row = {"prompt": "a", "completions": ["xy", "z", "uvw"], "labels": [True, None, 0.25]}
    (group,), _ = read(tmp_path, row)
    (completion,) = group.completions
    assert written(group)[0][0] == "xy\nz\nuvw<eos>"
    assert completion.steps == ((2, 1.0), (8, 0.25))
    assert completion.tokens[8] == EOS


def test_a_step_may_end_with_the_separator(tmp_path: Path) -> None:
    (group,), _ = read(tmp_path, {"prompt": "a", "completions": ["b\n", "c"], "labels": [1, 0]})
    assert written(group)[0][0] == "b\n\nc<eos>"
    assert group.completions[0].steps == ((1, 1.0), (4, 0.0))


def test_steps_of_a_chat_answer(tmp_path: Path) -> None:
    row = {"prompt": [user("a")], "completions": ["x", "yz"], "labels": [False, True]}
    (group,), _ = read(tmp_path, row)
    assert written(group)[0][0] == "x\nyz<eos>"
    assert group.completions[0].steps == ((1, 0.0), (4, 1.0))


def test_text_becomes_chat_where_it_is_asked_for(tmp_path: Path) -> None:
    chat = Reading(chat=True)
    pair, rated, label, steps = (
        read(tmp_path, row, reading=chat)[0][0]
        for row in (
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": "a", "completions": ["b", "c"], "ranks": [1, 2]},
            {"prompt": "a", "completion": "b", "label": True},
            {"prompt": "a", "completions": ["b", "c"], "labels": [1, 0]},
        )
    )
    for group in (pair, rated, label, steps):
        assert asked(group) == "<u>a<eos><a>"
    assert written(pair) == [("b<eos>", 1.0), ("c<eos>", 0.0)]
    assert written(rated) == [("b<eos>", -1.0), ("c<eos>", -2.0)]
    assert written(label) == [("b<eos>", 1.0)]
    assert written(steps)[0][0] == "b\nc<eos>"


def test_columns_of_other_names_can_be_named(tmp_path: Path) -> None:
    row = {"question": "a", "good": "b", "bad": "c"}
    reading = Reading({"prompt": "question", "chosen": "good", "rejected": "bad"})
    (group,), _ = read(tmp_path, row, reading=reading)
    assert (asked(group), written(group)) == ("a", [("b<eos>", 1.0), ("c<eos>", 0.0)])


# ---------------------------------------------------------------------------------------------- implicit prompts


def test_shared_messages_are_the_prompt(tmp_path: Path) -> None:
    start = [user("hi"), says("yo"), user("so?")]
    (group,), _ = read(tmp_path, {"chosen": [*start, says("b")], "rejected": [*start, says("c")]})
    assert asked(group) == "<u>hi<eos><a>yo<eos><u>so?<eos><a>"
    assert written(group) == [("b<eos>", 1.0), ("c<eos>", 0.0)]


def test_anthropics_form_is_cut_behind_the_last_shared_turn(tmp_path: Path) -> None:
    start = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: so?\n\nAssistant:"
    prompt, chosen, rejected = shared_start(f"{start} beer is good", f"{start} beer is bad")
    assert (prompt, chosen, rejected) == (start, " beer is good", " beer is bad")


def test_plain_text_is_cut_behind_the_last_shared_word() -> None:
    assert shared_start("what is it? tea", "what is it? tin") == ("what is it? ", "tea", "tin")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("tea", "tin", "do not begin with the same words"),
        ([user("a"), says("b")], [user("c"), says("d")], "do not begin with the same messages"),
        ([user("a")], [user("a"), says("b")], "do not begin with the same messages"),
        ("is it", [user("is it"), says("so")], "must both be text or both be messages"),
    ],
)
def test_answers_without_a_shared_start_are_refused(tmp_path: Path, chosen: Any, rejected: Any, reason: str) -> None:
    good = {"chosen": "it is b", "rejected": "it is c"}
    groups, found = read(tmp_path, good, {"chosen": chosen, "rejected": rejected})
    assert len(groups) == 1
    (problem,) = found.problems
    assert problem.startswith(f"{found.path}:2: ")
    assert reason in problem


# ------------------------------------------------------------------------------------------------- others' forms


@pytest.mark.parametrize(
    ("strength", "better"), [(-3, "b"), (-1, "b"), (2, "c")], ids=["first by far", "first", "second"]
)
def test_helpsteer_says_by_its_sign_which_answer_is_better(tmp_path: Path, strength: int, better: str) -> None:
    row = {"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": strength}
    (group,), found = read(tmp_path, row)
    assert written(group)[0] == (f"{better}<eos>", 1.0)
    assert found.form.startswith("HelpSteer")


@pytest.mark.parametrize("chat", [False, True])
def test_helpsteer_three_answers_messages_with_text(tmp_path: Path, chat: bool) -> None:
    row = {"context": [user("a")], "response1": "b", "response2": "c", "overall_preference": -2}
    (group,), _ = read(tmp_path, row, reading=Reading(chat=chat))
    assert asked(group) == "<u>a<eos><a>"
    assert written(group) == [("b<eos>", 1.0), ("c<eos>", 0.0)]


def test_a_tie_of_helpsteer_is_a_bad_row(tmp_path: Path) -> None:
    row = {"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": -1}
    groups, found = read(tmp_path, row, {**row, "preference_strength": 0}, {**row, "preference_strength": "2"})
    assert len(groups) == 1
    assert [p.removeprefix(found.path) for p in found.problems] == [
        ':2: "preference_strength" is 0: neither answer is preferred',
        ":3: \"preference_strength\" must be a number, found '2'",
    ]


def test_nemos_lists_of_ranks(tmp_path: Path) -> None:
    """Rank 0 is the best there, and a completion is a list of messages."""
    items = [{"rank": 1, "completion": [says("b")]}, {"rank": 0, "completion": [says("c")]}]
    (group,), _ = read(tmp_path, {"context": [user("a")], "completions": items})
    assert asked(group) == "<u>a<eos><a>"
    assert written(group) == [("b<eos>", -1.0), ("c<eos>", 0.0)]


def test_nemos_list_without_a_rank_is_a_bad_row(tmp_path: Path) -> None:
    good = {"context": [user("a")], "completions": [{"rank": i, "completion": [says("bc"[i])]} for i in (0, 1)]}
    bad = {"context": [user("a")], "completions": [{"completion": [says("b")]}, {"rank": 1, "completion": [says("c")]}]}
    groups, found = read(tmp_path, good, bad)
    assert len(groups) == 1
    assert ":2" in found.problems[0] and '"rank"' in found.problems[0]


# ------------------------------------------------------------------------------------------------------ bad rows

PAIR = {"prompt": "a ", "chosen": "b", "rejected": "c"}
RANKED = {"prompt": "a", "completions": ["b", "c"], "ranks": [1, 2]}
SCORED = {"prompt": "a", "completions": ["b", "c"], "scores": [1, 2]}
LABEL = {"prompt": "a", "completion": "b", "label": True}
STEPS = {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}

BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "null chosen": (PAIR, {"chosen": None}, '"chosen" is null'),
    "empty rejected": (PAIR, {"rejected": ""}, '"rejected" is empty'),
    "white chosen": (PAIR, {"chosen": " \n\u200b"}, '"chosen" is empty'),
    "number as answer": (PAIR, {"chosen": 3}, '"chosen" must be text or a list of messages, found int'),
    "empty prompt": (PAIR, {"prompt": " "}, '"prompt" is empty'),
    "lone surrogate": (PAIR, {"chosen": "b\ud800"}, '"chosen" holds a lone surrogate at character 1'),
    "unknown role": (PAIR, {"prompt": [{"role": "bot", "content": "a"}]}, '"prompt" message 1 has role'),
    "the same answer": (PAIR, {"rejected": "b"}, '"chosen" and "rejected" are the same: such'),
    "the same tokens": (PAIR, {"chosen": "A", "rejected": "B"}, "are the same once they are tokens"),
    "text and messages": (PAIR, {"chosen": [says("b")]}, "must all be text or all be messages"),
    "no words of the assistant": (
        {"prompt": [user("a")], "chosen": [says("b")], "rejected": [says("c")]},
        {"rejected": [user("c")]},
        "the answer holds no message of the assistant",
    ),
    "probability above one": (PAIR, {"probability": 1.5}, '"probability" (that "chosen" is better) must lie in [0, 1]'),
    "probability as text": (PAIR, {"probability": "0.5"}, "must lie in [0, 1], found '0.5'"),
    "probability as truth": (PAIR, {"probability": True}, "must lie in [0, 1], found True"),
    "margin as text": (PAIR, {"margin": "big"}, "must be a number, at least 0, found 'big'"),
    "margin as a list": (PAIR, {"margin": [1]}, "must be a number, at least 0, found [1]"),
    "negative margin": (PAIR, {"margin": -1}, "must be a number, at least 0, found -1"),
    "too few ranks": (
        RANKED,
        {"ranks": [1]},
        '"ranks" must be a list with one number for each of 2 completions, found 1',
    ),
    "ranks of no list": (RANKED, {"ranks": 3}, "for each of 2 completions, found 3"),
    "null rank": (RANKED, {"ranks": [1, None]}, '"ranks" must hold numbers, found None'),
    "rank as text": (RANKED, {"ranks": [1, "2"]}, "\"ranks\" must hold numbers, found '2'"),
    "all tied": (RANKED, {"ranks": [2, 2]}, 'all "ranks" are equal: no answer is preferred'),
    "all scores equal": (SCORED, {"scores": [0, 0.0]}, 'all "scores" are equal'),
    "one answer": (RANKED, {"completions": ["b"], "ranks": [1]}, "must be a list of at least 2 answers"),
    "answers of no list": (RANKED, {"completions": "bc"}, "must be a list of at least 2 answers"),
    "null among answers": (RANKED, {"completions": ["b", None]}, '"completion 2 of 2" is null'),
    "one answer twice": (
        RANKED,
        {"completions": ["b", "b", "c"], "ranks": [1, 2, 3]},
        'the same answer stands twice with different "ranks"',
    ),
    "label as number": (LABEL, {"label": 1}, '"label" must be true or false, found 1'),
    "label as word": (LABEL, {"label": "good"}, "\"label\" must be true or false, found 'good'"),
    "null label": (LABEL, {"label": None}, '"label" must be true or false, found None'),
    "null answer": (LABEL, {"completion": None}, '"completion" is null'),
    "no steps": (STEPS, {"completions": [], "labels": []}, "must be a list with the steps of one answer"),
    "too many labels": (STEPS, {"labels": [1, 0, 1]}, '"labels" must hold one label for each of 2 steps, found 3'),
    "labels of no list": (STEPS, {"labels": True}, "for each of 2 steps, found True"),
    "label of a step above one": (STEPS, {"labels": [1, 2]}, '"labels" 2 must be true, false, null or a probability'),
    "no step labelled": (STEPS, {"labels": [None, None]}, '"labels" are all null'),
    "empty step": (STEPS, {"completions": ["b", " "]}, "\"completions\" step 2 must be text, found ' '"),
    "step of messages": (STEPS, {"completions": ["b", [says("c")]]}, '"completions" step 2 must be text'),
    "separator inside": (STEPS, {"completions": ["b\nd", "c"]}, '"completions" step 1 holds the separator'),
}
"""Kind -> (good row, what is changed, part of the reason)."""


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_rejected_by_its_line(tmp_path: Path, kind: str) -> None:
    good, change, reason = BAD[kind]
    groups, found = read(tmp_path, good, {**good, **change}, good)
    assert [g.prompt.place for g in groups] == [f"{found.path}:1", f"{found.path}:3"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{found.path}:2: ")
    assert reason in found.problems[0]
    assert (found.read, len(found.rows)) == (3, 2)


def test_a_row_too_long_for_the_context_is_rejected_whole(tmp_path: Path) -> None:
    fits = {"prompt": "abcd", "chosen": "xyz", "rejected": "x"}  # 4 + 3 + the end
    groups, found = read(tmp_path, fits, {**fits, "rejected": "wxyz"}, limits=Limits(8))
    assert len(groups) == 1
    assert found.problems == [f"{found.path}:2: prompt and answer take 9 tokens, the context holds 8"]


def test_a_token_beyond_the_vocabulary_is_rejected(tmp_path: Path) -> None:
    top = max(renderer().tokenizer("9a").input_ids)
    groups, found = read(tmp_path, {**PAIR, "prompt": "1", "chosen": "2", "rejected": "3"}, limits=Limits(None, top))
    assert len(groups) == 1
    groups, found = read(tmp_path, {**PAIR, "prompt": "1", "chosen": "9a", "rejected": "3"}, limits=Limits(None, top))
    assert not groups
    assert f"token id {top} is beyond the model's vocabulary of {top}" in found.problems[0]


def test_mixed_formats_are_counted_and_the_first_odd_row_is_named(tmp_path: Path) -> None:
    found = table(tmp_path, PAIR, PAIR, RANKED)
    with refused("mixed-rows", said=r"mixed formats: 2 rows look like pairs, 1 rows look like ranked.*:3"):
        compared(found, renderer(), WIDE, ALL)


def test_ranks_and_scores_in_one_file_are_mixed_formats(tmp_path: Path) -> None:
    with refused("mixed-rows"):
        read(tmp_path, RANKED, SCORED)


def test_a_row_that_lacks_a_column_is_a_bad_row(tmp_path: Path) -> None:
    groups, found = read(tmp_path, PAIR, {"prompt": "a", "chosen": "b"})
    assert len(groups) == 1
    assert found.problems == [f'{found.path}:2: "rejected" is missing']


def test_rows_of_none_of_the_forms_say_what_is_needed(tmp_path: Path) -> None:
    with refused("unknown-rows", said=r'rows of compared answers have "chosen".*Is \'chosenn\' meant to be "chosen"'):
        read(tmp_path, {"prompt": "a", "chosenn": "b", "rejected": "c"})
    with refused("unknown-rows", said=r"level, prompt\. These are prompts; `postlude pairs` makes pairs"):
        read(tmp_path, {"prompt": "a", "level": "2", "answer": "b"})


def test_rows_that_fit_two_forms_name_both_and_a_way_out(tmp_path: Path) -> None:
    reason = r"pairs \(chosen, rejected\) and labelled \(prompt, completion, label\).*remove the columns"
    with refused("ambiguous-rows", said=reason):
        read(tmp_path, {**PAIR, "completion": "b", "label": True})


def test_the_method_decides_between_two_forms(tmp_path: Path) -> None:
    row = {**PAIR, "completion": "b", "label": True}
    (group,), _ = read(tmp_path, row, kinds=("binary",))
    assert written(group) == [("b<eos>", 1.0)]
    (group,), _ = read(tmp_path, row, kinds=("pair", "rated"))
    assert written(group) == [("b<eos>", 1.0), ("c<eos>", 0.0)]


@pytest.mark.parametrize(("row", "kinds"), [(PAIR, ("binary",)), (LABEL, ("pair", "rated")), (STEPS, ("pair",))])
def test_a_kind_that_the_method_cannot_use_is_refused(
    tmp_path: Path, row: dict[str, Any], kinds: tuple[Kind, ...]
) -> None:
    with refused("wrong-rows", said="and this method learns from"):
        read(tmp_path, row, kinds=kinds)


def test_only_compared_rows_hold_compared(tmp_path: Path) -> None:
    assert holds_compared(table(tmp_path, PAIR, PAIR))
    assert not holds_compared(table(tmp_path, PAIR, {"prompt": "a"}))
    assert not holds_compared(table(tmp_path, {"prompt": "a", "answer": "b"}))


def test_a_separator_that_is_no_token_of_its_own_is_told(tmp_path: Path) -> None:
    """Two steps that end in one token cannot be told apart."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", "<unk>", "a", "b", "\n", "c", "d", "b\n", "c\n", "b\nc\n"]
    merges = [("b", "\n"), ("c", "\n"), ("b\n", "c\n")]
    inner = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>"))
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    found = table(tmp_path, {"prompt": "a", "completions": ["b", "c", "d"], "labels": [1, 0, 1]})
    groups = compared(found, Renderer(tokenizer, frozenset({1})), WIDE, ALL)
    assert not groups
    assert "the tokenizer merges steps: 3 steps end at 2 different tokens" in found.problems[0]


# --------------------------------------------------------------------------------------------- counts and repeats


def test_contradicting_pairs_are_noted_and_both_used(tmp_path: Path) -> None:
    swapped = {**PAIR, "chosen": "c", "rejected": "b"}
    groups, found = read(tmp_path, PAIR, {**PAIR, "prompt": "other "}, swapped)
    assert len(groups) == 3
    (note,) = found.notes
    assert "1 pairs stand in the file the other way round" in note
    assert f"{found.path}:1 and {found.path}:3" in note


def test_repeated_pairs_are_no_contradiction_and_have_ids_of_their_own(tmp_path: Path) -> None:
    groups, found = read(tmp_path, PAIR, PAIR, {**PAIR, "note": 1})
    assert len({g.prompt.id for g in groups}) == 3
    assert not found.notes


def prepare(folder: Path, model: Path, **values: Any) -> Any:
    from postlude.check import check
    from postlude.recipe.documents import Document

    base = {"method": "dpo", "model": {"path": str(model)}, "data": {"path": str(folder / "data.jsonl")}}
    return check(Document({**base, **values}))


def test_counts_of_a_checked_recipe_add_up(tmp_path: Path, model_folder: Path) -> None:
    path = table(tmp_path, PAIR, {**PAIR, "chosen": None}, PAIR, "nonsense", {**PAIR, "rejected": "b"}).path
    with pytest.raises(ConfigError) as error:
        prepare(tmp_path, model_folder)
    for line in (2, 4, 5):
        assert f"{path}:{line}: " in str(error.value)
    data = {"path": path, "on_bad_row": "skip"}
    done = prepare(tmp_path, model_folder, data=data)
    assert done.counts == {f"{path} read": 5, f"{path} used": 2, f"{path} rejected": 3}
    assert len(done.rejected) == 3
    assert len(done.items) == 2
    assert any("2 of 5 rows, pairs" in note for note in done.notes)


@pytest.mark.parametrize(
    ("method", "row", "reason"),
    [
        ("dpo", LABEL, "rows are labelled answers"),
        ("kto", RANKED, "rows are lists"),
        ("reward_model_process", PAIR, "rows are pairs"),
        ("reward_model_soft", RANKED, "rows are lists"),
        ("reward_model", STEPS, "rows are labelled steps"),
    ],
)
def test_a_method_refuses_the_wrong_kind_of_rows(
    tmp_path: Path, model_folder: Path, method: str, row: dict[str, Any], reason: str
) -> None:
    table(tmp_path, row)
    with refused("wrong-rows", said=reason):
        prepare(tmp_path, model_folder, method=method)


def test_held_out_prompts_that_are_trained_on_are_refused(tmp_path: Path, model_folder: Path) -> None:
    path = table(tmp_path, PAIR).path
    with refused("held-out-overlap", said="1 of 1 held-out prompts are also trained on"):
        prepare(tmp_path, model_folder, data={"path": path, "eval": path})


def test_pairs_can_be_held_out_beside_a_reward(tmp_path: Path, model_folder: Path) -> None:
    """The same file gives prompts to sample from and pairs to measure the loss on."""
    table(tmp_path, PAIR)
    (tmp_path / "eval.jsonl").write_text(json.dumps({**PAIR, "prompt": "e ", "answer": "b"}) + "\n")
    data = {"path": str(tmp_path / "data.jsonl"), "eval": str(tmp_path / "eval.jsonl")}
    done = prepare(tmp_path, model_folder, data=data, reward=["exact"])
    assert (len(done.held_out), len(done.judged)) == (1, 1)


# -------------------------------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize("name", ["chosen", "rejected"])
@pytest.mark.parametrize("prompt", [True, False], ids=["with a prompt", "with a shared start"])
def test_an_answer_that_the_user_ends_is_bad(tmp_path: Path, name: str, prompt: bool) -> None:
    start = [] if prompt else [user("a")]
    good = {"chosen": [*start, says("b")], "rejected": [*start, says("c")]} | (
        {"prompt": [user("a")]} if prompt else {}
    )
    groups, found = read(tmp_path, good, {**good, name: [*good[name], user("d")]})
    assert len(groups) == 1
    assert f':2: "{name}" ends with a message of the user; it must be the assistant\'s' in found.problems[0]


def test_a_prompt_that_the_assistant_ends_is_bad(tmp_path: Path) -> None:
    good = {"prompt": [user("a")], "chosen": [says("b")], "rejected": [says("c")]}
    groups, found = read(tmp_path, good, {**good, "prompt": [user("a"), says("b")]})
    assert len(groups) == 1 and '"prompt" ends with an assistant message' in found.problems[0]


def test_answers_to_other_prompts_are_bad(tmp_path: Path) -> None:
    good = {"chosen": [user("a"), says("b")], "rejected": [user("a"), says("c")]}
    other = {"chosen": [user("a"), user("b"), says("b")], "rejected": [user("a"), user("c"), says("c")]}
    groups, found = read(tmp_path, good, other)
    assert len(groups) == 1 and '"chosen" begins with a message of the user' in found.problems[0]


WHOLE = {
    "text and conversations": ("a ", [user("a"), says("b")], [user("a"), says("c")]),
    "messages and conversations": ([user("a")], [user("a"), says("b")], [user("a"), says("c")]),
    "one answer alone": ([user("a")], [user("a"), says("b")], [says("c")]),
}
"""Kind -> (prompt, chosen, rejected), which all say the same."""


@pytest.mark.parametrize("kind", WHOLE)
def test_answers_that_hold_their_prompt_lose_it(tmp_path: Path, kind: str) -> None:
    prompt, chosen, rejected = WHOLE[kind]
    (group,), _ = read(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert asked(group) == "<u>a<eos><a>"
    assert written(group) == [("b<eos>", 1.0), ("c<eos>", 0.0)]


def test_a_whole_conversation_is_read_in_lists_and_labels_too(tmp_path: Path) -> None:
    answers = [[user("a"), says("b")], [user("a"), says("c")]]
    for row in (
        {"prompt": "a", "completions": answers, "scores": [2, 1]},
        {"prompt": "a", "completion": answers[0], "label": True},
    ):
        (group,), _ = read(tmp_path, row)
        assert asked(group) == "<u>a<eos><a>" and written(group)[0][0] == "b<eos>"


def test_later_turns_of_a_whole_conversation_stay_in_the_answer(tmp_path: Path) -> None:
    turns = [user("a"), says("b"), user("d")]
    row = {"prompt": "a", "chosen": [*turns, says("x")], "rejected": [*turns, says("y")]}
    (group,), _ = read(tmp_path, row)
    assert asked(group) == "<u>a<eos><a>"
    assert [text for text, _ in written(group)] == ["b<eos><u>d<eos><a>x<eos>", "b<eos><u>d<eos><a>y<eos>"]


def test_a_conversation_that_begins_with_another_prompt_is_bad(tmp_path: Path) -> None:
    good = {"prompt": "a", "chosen": [user("a"), says("b")], "rejected": [user("a"), says("c")]}
    groups, found = read(tmp_path, good, {**good, "prompt": "d"})
    assert len(groups) == 1
    assert ':2: "chosen" is a whole conversation, but it does not begin with "prompt"' in found.problems[0]


# ------------------------------------------------------------------------------------- prompts under another name


ASKED_ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "question": ({"question": "what is two"}, "what is two"),
    "query": ({"query": "what is two"}, "what is two"),
    "input": ({"input": "what is two"}, "what is two"),
    "problem": ({"problem": "what is two"}, "what is two"),
}


@pytest.mark.parametrize("name", ASKED_ELSEWHERE)
@pytest.mark.parametrize(
    "judged",
    [
        {"chosen": "it is 2", "rejected": "it is 3"},
        {"completions": ["it is 2", "it is 3"], "scores": [1, 0]},
        {"completion": "it is 2", "label": True},
        {"completions": ["one", "two"], "labels": [True, False]},
    ],
)
def test_the_usual_names_of_prompts_are_read_beside_judged_answers(
    tmp_path: Path, name: str, judged: dict[str, Any]
) -> None:
    row, prompt = ASKED_ELSEWHERE[name]
    (group,), table = read(tmp_path, {**row, **judged}, kinds=ALL)
    assert group.prompt.messages == prompt, "not the first words that both answers share"
    assert f"data.jsonl: in 1 of 1 row the prompt is taken from {name}" in "\n".join(table.notes)


def test_the_prompt_of_pairs_of_messages_is_not_the_system_message_alone(tmp_path: Path) -> None:
    row = {"system": "be kind", "question": "what is two", "chosen": "2", "rejected": "3"}
    (group,), _ = read(tmp_path, row, reading=Reading(chat=True))
    assert group.prompt.messages == [{"role": "system", "content": "be kind"}, user("what is two")]
    nobody = {"system": "be kind", "topic": "two", "chosen": "2", "rejected": "3"}
    _, table = read(tmp_path, nobody, reading=Reading(chat=True))
    assert "all that" in table.problems[0] and "is what the system says" in table.problems[0]


def test_a_conversation_that_waits_for_an_answer_is_the_prompt(tmp_path: Path) -> None:
    row = {
        "conversations": [{"from": "human", "value": "hi"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    }
    (group,), _ = read(tmp_path, row)
    assert group.prompt.messages == [user("hi")]
    assert [c.text for c in group.completions] == ["yes", "no"]


def test_a_prompt_that_may_stand_in_two_columns_makes_the_row_bad(tmp_path: Path) -> None:
    two = {"question": "a", "query": "b", "chosen": "c", "rejected": "d"}
    _, found = read(tmp_path, two, {"prompt": "a", "chosen": "c", "rejected": "d"})
    assert "the prompt may stand in question or query" in found.problems[0]


def test_a_prompt_that_is_guessed_or_stands_twice_is_told(tmp_path: Path) -> None:
    _, guessed = read(tmp_path, {"chosen": "the end is near", "rejected": "the end is far"})
    assert "the first words that both answers share are taken for it" in guessed.notes[0]
    twice = {"prompt": "two and two", "chosen": "two and two are 4", "rejected": "two and two are 5"}
    _, told = read(tmp_path, twice, {**twice, "rejected": "no"})
    assert "in 1 of 2 rows answers begin with the prompt" in told.notes[0]
    _, silent = read(tmp_path, {"prompt": "two", "chosen": "two it is", "rejected": "two or three"})
    assert not silent.notes, "one word says little"


@pytest.mark.parametrize("given", [True, False])
def test_a_users_turn_within_an_answer_written_as_text_makes_the_row_bad(tmp_path: Path, given: bool) -> None:
    asked = "\n\nHuman: hi\n\nAssistant:"
    answers = {"chosen": " yes\n\nHuman: and then\n\nAssistant: more", "rejected": " no"}
    row = {"prompt": asked, **answers} if given else {k: asked + v for k, v in answers.items()}
    _, table = read(tmp_path, row)
    assert "goes on with a turn of the user" in table.problems[0]
