"""Questions in users' own words, and the topic that each has to reach first."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.cli.explain import commands_of
from postlude.errors import ConfigError
from postlude.explain import topics
from postlude.explain.of_recipes import FOREIGN
from postlude.explain.words import Index
from postlude.facts.asked import SAID

QUESTIONS = [
    # Written before the search was tried on them.
    ("my loss is nan", "not-finite"),
    ("gpu out of memory", "out-of-memory"),
    ("the kl keeps growing", "kl exploding"),
    ("why does my model repeat itself", "repetition"),
    ("answers get cut off", "cut-off"),
    ("entropy goes to zero", "entropy-collapse"),
    ("how do I stop the model from cheating", "reward hacking"),
    ("which method should I use", "choose a method"),
    ("what learning rate should I use", "rates"),
    ("can I train on several gpus", "several GPUs"),
    ("how do I merge the lora adapter", "export"),
    ("model forgets other skills", "alignment tax"),
    ("is my dataset any good", "data check"),
    ("how long will training take", "time"),
    ("does it work with vllm", "vllm servers"),
    ("vllm server", "vllm servers"),
    ("server does not come up", "server does not come up"),
    ("why do log-probs of the server differ", "servers disagree with the trainer"),
    ("log probs of chosen answers go down", "displacement"),
    ("all rewards are zero", "zero-signal groups"),
    ("judge prefers the first answer", "position bias"),
    ("how many answers per prompt", "group_size"),
    ("how do I resume a run", "train"),
    # What a new user asked.
    ("cuda oom", "out-of-memory"),
    ("qlora", "quantised training"),
    ("flash attention", "attention kernels"),
    ("nan loss", "not-finite"),
    ("model outputs gibberish", "outputs are gibberish"),
    ("how many prompts do I need", "how much data"),
    ("what is a reference model", "reference model"),
    ("why does my reward not go up", "reward not improving"),
    ("dpo vs ppo", "methods"),
    # Siblings of those.
    ("4bit", "quantised training"),
    ("bitsandbytes", "quantised training"),
    ("multi gpu", "several GPUs"),
    ("fsdp", "FSDP"),
    ("images", "images and audio"),
    ("how much data for dpo", "how much data"),
    ("why is the reward stuck", "reward not improving"),
    ("training is slow", "time"),
    ("grpo or ppo", "methods"),
    ("difference between dpo and kto", "methods"),
    ("answers too long", "length hacking"),
    ("gradient norm explodes", "gradient-growth"),
    ("model gets worse after training", "high reward, bad outputs"),
    ("what is a rollout", "rollout"),
]


HOMES = (*topics.HOMES, commands_of(get_command(app)))  # type: ignore[arg-type]
INDEX = Index(tuple(topic for home in HOMES if home.kind != FOREIGN.kind for topic in home.topics()))


def first(question: str) -> str:
    """As the command looks for it: by name, then by what topics speak of."""
    return (topics.named(question, more=HOMES[-1:]) or INDEX.search(question))[0].name


@pytest.mark.parametrize(("question", "name"), QUESTIONS)
def test_a_question_reaches_its_topic_first(question: str, name: str) -> None:
    assert first(question) == name


def test_words_of_users_are_for_topics_that_are_there() -> None:
    names = {(home.kind, name) for home in HOMES for name in home.names()}
    assert SAID.keys() - names == set()


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def test_what_is_not_here_is_said_with_what_there_is() -> None:
    code, text = run("qlora")
    assert code == 0 and "does not train on quantised weights" in text and "model.lora.rank" in text


def test_methods_are_compared_before_they_are_explained() -> None:
    assert run("dpo", "vs", "ppo")[1].startswith("Side by side: postlude methods --compare dpo ppo")


@pytest.mark.parametrize("asked", ["error 99", "error 0.99", "rank 13b", "derivation 9"])
def test_a_number_that_is_none_leads_to_no_other(asked: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no topic '{asked}'; there are {asked.split()[0]} .*--kind"):
        run(*asked.split())


def test_another_value_of_a_setting_leads_to_the_setting() -> None:
    assert "No topic is named 'beta 0.2'" in run("beta", "0.2")[1] and "beta how strongly" in run("beta", "0.2")[1]


@pytest.mark.parametrize(
    ("asked", "kind", "name"),
    [
        ("carry", "suite", "carry"),
        ("suite carry", "suite", "carry"),
        ("prefix-cache", "check of selftest", "prefix-cache"),
        ("selftest adapter-off", "check of selftest", "adapter-off"),
        ("kl-explosion", "alarm", "kl-explosion"),
        ("alarms.on", "key", "alarms.on"),
        ("alarms.ignore", "key", "alarms.ignore"),
        ("alarms.on.kl-explosion", "key", "alarms.on"),
        ("alarms", "key", "alarms"),
    ],
)
def test_suites_checks_rules_and_alarms_are_topics(asked: str, kind: str, name: str) -> None:
    topic = topics.find(asked)[0]
    assert (topic.kind, topic.name) == (kind, name)


def test_a_suite_gives_way_to_a_reward_of_its_name() -> None:
    text = run("code")[1]
    assert text.startswith("code reward") and "Also: code (suite)" in text


def test_the_checks_of_selftest_are_those_of_its_table() -> None:
    from postlude.selftest.table import CHECKS

    home = next(home for home in HOMES if home.kind == "check of selftest")
    assert [(topic.name, topic.title) for topic in home.topics()] == [(one.name, one.compares) for one in CHECKS]
