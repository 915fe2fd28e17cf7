"""Every number of a recipe has bounds: what no run can mean is an error with its own key, before anything loads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.bounds import Bounds, bounds_of, hold
from postlude.engines.settings import Optimizer, Sampling
from postlude.objectives.surrogates import Clip
from postlude.recipe import documents
from postlude.recipe import schema as recipe
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve_with_problems
from postlude.validation import members

ODD = (math.nan, math.inf, -1, 0, 1e30)
ZERO = """
    seed watchdog sampler.retries sampling.temperature sampling.top_k schedule.warmup schedule.final evaluate.every
    engine.restarts
    checkpoints.every optimizer.beta1 optimizer.beta2 optimizer.weight_decay optimizer.max_grad_norm reward.0.weight
    reward.0.shift reward.0.errors reward.0.gate reward.0.abstain critic.warmup max_lag
    keep.max_rounds keep.tolerance keep.margin shaping.0.cache shaping.0.factor shaping.1.factor shaping.0.alpha
    shaping.0.beta shaping.0.weight
    objective.entropy objective.kl.coef objective.hinge.beta objective.hinge.delta objective.value.coef
    objective.correction.low objective.surrogate.low objective.surrogate.high objective.surrogate.ratio_min
    objective.advantage.kl_coef  objective.off_policy_mask.delta
    objective.link.smoothing objective.link.margin objective.link.center objective.link.lam_desirable
    objective.link.lam_undesirable objective.link.shift objective.nll objective.link_coef
""".split()  # noqa: SIM905
"""Where 0 is off, none, or a number like any other."""
NO_CHOICE = ("sampling.temperature", "rollout")
"""At 0 every answer of a group is the same."""
NEGATIVE = {f"reward.0.{name}" for name in ("weight", "shift", "scale", "gate")} | {
    "objective.link.margin",
    "objective.link.shift",
}
"""Where a negative number is one like any other."""
INFINITE = {"objective.advantage.lam"}
"""DRPO's limit, in which all right answers weigh alike."""
SET = {
    "reward": [{"use": "exact", "gate": 0.5, "abstain": 0.5, "timeout": 5.0}],
    "model": {"path": "m", "lora": {"rank": 4}},
    "threads": 1,
    "cache_gib": 1.0,
    "stop_kl": 0.1,
    "kl_control": {"kind": "ziegler"},
    "sampler": {"url": "http://localhost:1"},
    "pretrain": "t.jsonl",
    "critic": {"lr": 1e-4},
    "schedule": {"lr": 1e-5},
    "evaluate": {"stop_at": 0.5},
    "data": {"mix": [{"path": "a.jsonl", "weight": 2.0}]},
}
"""What is null unless set, so that the walk meets it."""


def numbers(method: str) -> list[str]:
    """Dotted keys of every number of a recipe of this method."""
    found, _ = resolve_with_problems(Document({"method": method, **deepcopy(SET)}))
    assert found is not None
    values = documents.flat(asdict(found))
    return [path for path, value in values if isinstance(value, int | float) and not isinstance(value, bool)]


@pytest.mark.parametrize(
    "method", ["grpo", "ppo_ptx", "drpo", "cispo", "dapo", "disco", "kto", "cdpo", "drpo_value", "hapo"]
)
def test_a_number_that_no_run_can_mean_is_an_error_with_its_key(method: str) -> None:
    for path in numbers(method):
        for value in ODD:
            document = Document({"method": method, **deepcopy(SET)})
            documents.assign(document, path, value, "command line")
            above, _, last = path.rpartition(".")
            told = (f"command line: {path} ", f"{above}: {last} ")
            said = [p for p in resolve_with_problems(document)[1] if p.startswith(told)]
            gae = method.startswith("ppo") and path == "objective.advantage.lam"
            allowed = (
                (value == 0 and path in ZERO and (path, ALGORITHMS[method].source) != NO_CHOICE)
                or (value == 0 and gae)
                or (value == -1 and path in NEGATIVE)
                or (value == math.inf and path in INFINITE and not gae)
            )
            assert bool(said) != allowed, f"{method}: {path}={value}: {said}"


def numeric(schema: Any) -> Iterator[tuple[str, Any]]:
    for kind in recipe._all:
        for name, hint in get_type_hints(kind, include_extras=True).items():
            kinds = members(hint)
            if name in {f.name for f in fields(kind)} and (int in kinds or float in kinds):
                yield f"{kind.__name__}.{name}", hint


def test_every_number_of_the_schema_says_what_it_may_be() -> None:
    without = [name for name, hint in numeric(recipe.Recipe) if not isinstance(bounds_of(hint), Bounds)]
    assert without == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", 10**23, "seed must be at most 9223372036854775807, got 1"),
        ("threads", 100_000, "threads must be at most 1024, got 100000"),
        ("group_size", 10**8, "group_size must be at most 65536, got 1e8"),
        ("group_size", 1e8, "group_size must be a whole number, found 100000000.0"),
        ("schedule.lr", 1e5, "schedule.lr must lie in (0, 1], got 100000"),
        ("sampling.max_tokens", 10**9, "sampling.max_tokens must be at most 16777216"),
        ("sampling.top_p", 2, "sampling.top_p must lie in (0, 1], got 2"),
        ("schedule.warmup", 101, "schedule.warmup is 101 steps, more than the run's 100"),
        ("steps", True, "steps must be a whole number, found true"),
        ("steps", "1e2", 'steps must be a whole number, found "1e2"'),
        ("steps", None, "steps must be a whole number, found null"),
        ("model.packed", 1, "engine.packed must be true or false, found 1"),
        ("output", 2024, "output must be text, found 2024. Put it into quotes."),
        ("output", True, "output must be text, found true. In YAML yes, no, on and off are true and false"),
        ("output", "a\x00b", "output must be one line of plain text, got 'a\\x00b'"),
        ("data.path", "a\nb", "data.path must be one line of plain text"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_its_key(key: str, value: Any, said: str) -> None:
    document = Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"})
    documents.assign(document, key, value, "command line")
    problems = resolve_with_problems(document)[1]
    assert any(said in p for p in problems), problems


def test_everything_out_of_bounds_is_told_at_once() -> None:
    document = Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"})
    documents.override(document, ["seed=-1", "group_size=0", "schedule.lr=-1", "steps=0", "reward.0.errors=2"])
    problems = resolve_with_problems(document)[1]
    assert [p.split()[2] for p in problems] == ["reward.0.errors", "seed", "steps", "group_size", "schedule.lr"]


def test_values_made_in_python_are_held_to_the_same() -> None:
    with pytest.raises(
        ValueError, match=r"temperature must lie in \[0, 100\], got -1; top_p must lie in \(0, 1\], got 3"
    ):
        Sampling(temperature=-1, top_p=3)
    with pytest.raises(ValueError, match="eps must be a finite number, got nan"):
        Optimizer(eps=math.nan)
    with pytest.raises(ValueError, match="dual must be above 1, got 1"):
        Clip(dual=1.0)
    hold(Clip())


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (Bounds(1), "at least 1"),
        (Bounds(0, 1, above=True), "(0, 1]"),
        (Bounds(0, above=True), "above 0"),
        (Bounds(1, 10**9), "[1, 1e9]"),
        (Bounds(0, 1e9, above=True, infinite=True), "(0, 1e9], or .inf"),
        (Bounds(), "finite"),
    ],
)
def test_bounds_in_words(bounds: Bounds, text: str) -> None:
    assert str(bounds) == text


def test_catalogue_keeps_its_own_bounds() -> None:
    """Every method's defaults pass the check."""
    for name in ALGORITHMS:
        document = Document({"method": name, "model": "m", "data": "d.jsonl"})
        problems = resolve_with_problems(document)[1]
        assert not [p for p in problems if "must" in p and "missing" not in p], problems


def test_dataclasses_of_the_schema_are_frozen() -> None:
    assert all(is_dataclass(kind) and kind.__dataclass_params__.frozen for kind in recipe._all)  # type: ignore[attr-defined]
