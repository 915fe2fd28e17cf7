"""Every topic of every table: its places exist, what it names is there, and what people ask for leads to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.cli.explain import commands_of
from postlude.explain import places, topics
from postlude.explain.home import Home, plain
from postlude.explain.words import search
from postlude.facts.erratum import KIND as CORRECTED
from postlude.facts.methods import METHODS
from postlude.facts.topic import Topic
from postlude.facts.written import TABLES
from postlude.runs.figures import lookup

COMMANDS = commands_of(get_command(app))  # type: ignore[arg-type]
HOMES = (*topics.HOMES, COMMANDS)


def every() -> Iterator[Topic]:
    for home in HOMES:
        yield from home.topics()


EVERY = list(every())


def test_a_name_is_unique_in_its_kind_and_every_topic_says_something() -> None:
    names = [(topic.kind, topic.name) for topic in EVERY]
    assert len(names) == len(set(names))
    assert [topic.name for topic in EVERY if not topic.meaning.strip() or not topic.title.strip()] == []
    assert {topic.kind for topic in EVERY} == {home.kind for home in HOMES}


def test_every_place_in_the_code_exists() -> None:
    wrong = [
        (topic.name, place)
        for topic in EVERY
        for place in (topic.place or "").split("; ")
        if place and not places.exists(place)
    ]
    assert wrong == []


def test_what_has_a_place_by_its_nature_has_one() -> None:
    placed = {"figure", "key", "method", "reward", "section of check", "finding in data"}
    assert [topic.name for topic in EVERY if topic.kind in placed and not topic.place] == []


def test_figures_are_placed_where_they_are_computed() -> None:
    at = {topic.name: topic.place or "" for topic in EVERY if topic.kind == "figure"}
    assert at["ratio/max"].startswith(("objectives/", "engines/"))
    assert at["reward/mean"] == "objectives/token.py:_group_report"
    assert at["grad_norm"].startswith("engines/local/trainer.py") and at["loss/policy"].startswith(
        "objectives/token.py"
    )
    assert at["drpo/kl"].startswith("objectives/token.py")
    assert at["rewards/accuracy"] == "objectives/contrast.py:ContrastObjective._figures"
    elsewhere = {name for name, place in at.items() if not place.startswith((*places.MAKERS, "runs/stats.py"))}
    assert elsewhere == set()


def test_what_a_topic_points_to_is_there() -> None:
    names = sorted({name for topic in EVERY for name in topic.see})
    assert [name for name in names if not topics.find(name, more=(COMMANDS,))] == []


def test_formulas_of_the_derivation_fit_a_narrow_terminal() -> None:
    lines = [line for topic in EVERY if topic.kind == "derivation" for line in (topic.formula or "").split("\n")]
    assert lines and max(map(len, lines)) <= 67


def test_the_commands_that_show_a_topic_are_there() -> None:
    names = {name.split()[0] for name in COMMANDS.names()}
    shown = {text for topic in EVERY for text in topic.shows}
    assert [text for text in shown if not text.startswith(("postlude ", "make "))] == []
    assert [text for text in shown if text.startswith("postlude ") and text.split()[1] not in names] == []


ASKED = [
    ("mdp", "mdp"),
    ("MDP", "mdp"),
    ("Markov decision process", "mdp"),
    ("bradley terry", "bradley-terry"),
    ("BT", "bradley-terry"),
    ("grpo", "grpo"),
    ("objective.kl.coef", "objective.kl.coef"),
    ("objective.kl.coef=0.1", "objective.kl.coef"),
    ("kl.coef", "objective.kl.coef"),
    ("schedule.lr", "schedule.lr"),
    ("reward[0].weight", "reward[].weight"),
    ("reward.weight", "reward[].weight"),
    ("model.dtype", "engine.dtype"),
    ("group-size", "group_size"),
    ("Trained tokens", "trained_tokens"),
    ("reward/maths", "reward/maths"),
    ("greedy/accuracy", "greedy/accuracy"),
    ("held_out/rewards/accuracy", "held_out/rewards/accuracy"),
    ("unknown-key", "unknown-key"),
    ("[unknown-key]", "unknown-key"),
    ("beta 0.5", "beta 0.5"),
    ("beta=0.1", "beta 0.1"),
    ("ppo clip ratio", "ppo clip ratio"),
    ("num_generations", "num_generations"),
    ("Step 0", "step_0"),
    ("thumbs", "binary feedback"),
    ("no critic", None),
    ("why no critic", "no value model"),
    ("data check", "data check"),
    ("postlude train", "train"),
    ("decision tree", "choose a method"),
    ("why is my reward flat?", "reward not improving"),
]


@pytest.mark.parametrize(("asked", "name"), ASKED)
def test_what_is_asked_for_is_the_first_that_is_given(asked: str, name: str | None) -> None:
    several = topics.find(asked, more=(COMMANDS,))
    assert (several[0].name if several else None) == name


def test_a_name_under_a_prefix_that_does_not_take_it_leads_to_those_that_do() -> None:
    assert [topic.name for topic in topics.find("held_out/reward/maths")] == [
        "greedy/reward/maths",
        "sampled/reward/maths",
        "reward/maths",
    ]


def test_a_mistyped_name_is_no_label_without_a_word_on_the_fixed_one() -> None:
    (topic,) = topics.find("reward/meen")
    assert "reward/mean" in topic.see


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("my kl goes through the roof and is exploding", "kl exploding"),
        ("answers get longer and longer", "length hacking"),
        ("how much gpu memory does ppo take", "memory of ppo"),
        ("which lora rank for rl", "lora for rl"),
        ("model forgets other tasks", "alignment tax"),
        ("all answers are wrong", "zero-signal groups"),
        ("difference between dpo and ppo", "derivation of dpo"),
        ("reward goes up but outputs are bad", "high reward, bad outputs"),
        ("training crashed after a spike", "reward spikes then crashes"),
    ],
)
def test_a_question_leads_to_a_topic_that_speaks_of_it(question: str, name: str) -> None:
    assert name in [topic.name for topic in search(question, EVERY)[:4]]


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_a_page_holds_its_parts() -> None:
    code, text = run("gae")
    assert code == 0
    for part in (
        "delta_t = r_t + gamma V_{t+1} - V_t",
        "usual",
        "bad at",
        "1506.02438",
        "objectives/advantages.py: GAE",
    ):
        assert part in text


def test_a_topic_of_the_very_spelling_is_shown_though_others_are_spelt_alike() -> None:
    assert run("sampled/accuracy")[1].startswith("sampled/accuracy  figure")
    assert run("beta")[1].startswith("beta  setting") and "Also: beta (foreign name)" in run("beta")[1]
    assert run("what", "is", "dpo")[1].startswith("dpo  method")


def test_what_only_speaks_of_the_words_is_said_to_be_no_topic_of_that_name() -> None:
    code, text = run("ppo", "vs", "dpo")
    assert code == 0 and "No topic is named 'ppo vs dpo'" in text
    assert "postlude methods --compare ppo dpo" in text
    assert json.loads(run("rewards", "of", "answers", "--json")[1])["named"] is False


def test_figures_and_keys_that_the_written_topics_name_are_there() -> None:
    keys = {name.replace("[]", "") for name in next(h for h in topics.HOMES if h.kind == "key").names()}
    texts = {
        f"{topic.kind} {topic.name}": " ".join(filter(None, (topic.meaning, topic.healthy, topic.bad_at)))
        for topic in EVERY
        if topic.kind in {kind for kind, _, _ in TABLES} and topic.kind != CORRECTED
    }
    texts |= {name: " ".join((f.best_for, f.cost, *f.limits)) for name, f in METHODS.items()}
    figures = [(n, w) for n, text in texts.items() for w in re.findall(r"(?<![\w./])[a-z_]+/[a-z_/0-9]+\b", text)]
    dotted = [
        (n, w) for n, text in texts.items() for w in re.findall(r"(?<![\w./])[a-z_]+(?:\.[a-z_]+)+\b(?![/(:])", text)
    ]
    assert [(n, w) for n, w in figures if lookup(w) is None and not w.startswith("runs/")] == []
    assert [(n, w) for n, w in dotted if w not in keys and not w.startswith("args.")] == []


def test_several_matches_are_listed() -> None:
    code, text = run("lr")
    assert code == 0 and "schedule.lr" in text and "critic.lr" in text and "figure" in text
    assert "Of the policy in this step" in run("lr", "--kind", "figure")[1]


def test_an_unknown_topic_is_an_error_with_the_nearest_names() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from postlude.cli import main; main()", "explain", "gpro"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Did you mean 'grpo'" in done.stderr and "[unknown-name]" in done.stderr


def test_the_overview_names_every_kind() -> None:
    code, text = run()
    assert code == 0 and all(home.several in text for home in HOMES)


def test_json_holds_what_the_page_does() -> None:
    code, text = run("schedule.lr", "--json")
    (topic,) = json.loads(text)["topics"]
    assert code == 0 and topic["kind"] == "key" and topic["place"] == "recipe/schema.py:Schedule"
    assert "grpo" in json.loads(run("--json")[1])["kinds"]["method"]


def test_nothing_heavy_is_imported_for_any_topic() -> None:
    code = (
        "import sys; from postlude.explain import topics\n"
        "from postlude.explain.words import search\n"
        "search('reward', topics.every()); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_table_that_is_empty_would_be_noticed() -> None:
    assert all(home.names() for home in HOMES)
    assert isinstance(COMMANDS, Home) and plain(" A_b c") == "a-b-c"
