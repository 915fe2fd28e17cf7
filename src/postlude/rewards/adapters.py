"""Reward functions written for verl and for OpenRLHF, called as they expect."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from postlude.errors import ConfigError, RewardError
from postlude.rewards.functions import Adapter, text_of


@dataclass(frozen=True)
class FromVerl(Adapter):
    """`compute_score(data_source, solution_str, ground_truth, extra_info)`, called once for each answer."""

    compute_score: Callable[..., Any]
    one_of: ClassVar[tuple[str, ...]] = ("ground_truth", "reward_model", "answer")
    """Columns of which the data must have one."""

    async def __call__(
        self,
        *,
        completions: Sequence[Any],
        data_source: Sequence[Any],
        log_metric: Callable[[str, float], None],
        log_extra: Callable[[str, Sequence[Any]], None],
        ground_truth: Sequence[Any] | None = None,
        reward_model: Sequence[Any] | None = None,
        answer: Sequence[Any] | None = None,
        extra_info: Sequence[Any] | None = None,
    ) -> list[Any]:
        n = len(completions)
        truths = zip(ground_truth or [None] * n, reward_model or [None] * n, answer or [None] * n, strict=True)
        rows = zip(data_source, map(text_of, completions), truths, extra_info or [None] * n, strict=True)
        results = [self._ask(source, text, _ground_truth(*truth), extra) for source, text, truth, extra in rows]
        if any(map(inspect.isawaitable, results)):
            results = await asyncio.gather(*results)
        for name in dict.fromkeys(k for f in results if isinstance(f, Mapping) for k in f if k != "score"):
            _log(
                "verl", name, [f.get(name) if isinstance(f, Mapping) else None for f in results], log_metric, log_extra
            )
        return [_score(f) for f in results]

    def check_row(self, columns: Mapping[str, Any]) -> str | None:
        """Why a row cannot be scored; None where it can."""
        try:
            _ground_truth(*(columns.get(name) for name in self.one_of))
        except RewardError as error:
            return error.what
        return None

    @property
    def wrapped(self) -> Callable[..., Any]:
        """The function it calls."""
        return self.compute_score

    def _ask(self, source: Any, text: str, truth: Any, extra: Any) -> Any:
        return self.compute_score(
            data_source=source, solution_str=text, ground_truth=truth, extra_info={} if extra is None else extra
        )


def _ground_truth(ground_truth: Any, reward_model: Any, answer: Any) -> Any:
    """The column `ground_truth`, else `reward_model.ground_truth`, else `answer`."""
    if ground_truth is not None:
        return ground_truth
    inside = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
    truth = answer if inside is None else inside
    if truth is None:
        raise RewardError(
            "a verl reward got a row without a ground truth: ground_truth and answer are missing or null, and "
            f"reward_model is {reward_model!r}. Give each row one, empty text where the function does not use it.",
            code="reward-arguments",
        )
    return truth


def _score(result: Any) -> Any:
    if not isinstance(result, Mapping):
        return result
    if "score" not in result:
        raise RewardError(
            f"a verl reward returned a dict without 'score': it has {', '.join(map(str, result))}.",
            code="bad-reward-value",
        )
    return result["score"]


@dataclass(frozen=True)
class FromOpenRLHF(Adapter):
    """`reward_func(queries, prompts, labels)`, called once with all answers; a query is prompt and answer together."""

    reward_func: Callable[..., Any]
    one_of: ClassVar[tuple[str, ...]] = ("label", "answer")
    """Columns of which the data must have one: its `labels`."""

    @property
    def wrapped(self) -> Callable[..., Any]:
        """The function it calls."""
        return self.reward_func

    async def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_metric: Callable[[str, float], None],
        log_extra: Callable[[str, Sequence[Any]], None],
        label: Sequence[Any] | None = None,
        answer: Sequence[Any] | None = None,
    ) -> Any:
        texts = [_prompt_text(p) for p in prompts]
        queries = [p + text_of(c) for p, c in zip(texts, completions, strict=True)]
        labels = list(label if label is not None else answer or [])
        result = self.reward_func(queries, texts, labels)
        if inspect.isawaitable(result):
            result = await result
        if not isinstance(result, Mapping):
            return result
        if "rewards" not in result:
            raise RewardError(
                f"an OpenRLHF reward returned a dict without 'rewards': it has {', '.join(map(str, result))}.",
                code="bad-reward-value",
            )
        logged = {"scores": result.get("scores"), **(result.get("extra_logs") or {})}
        for name, values in logged.items():
            if values is not None:
                _log("openrlhf", str(name), _list(values, len(completions)), log_metric, log_extra)
        return result["rewards"]


def _prompt_text(prompt: Any) -> str:
    """Text as it is; messages as `role: content` lines that end where the answer begins."""
    if isinstance(prompt, str):
        return prompt
    return "".join(f"{m['role']}: {m['content']}\n" for m in prompt) + "assistant: "


def _list(values: Any, n: int) -> list[Any]:
    """One value per answer from a tensor, an array or a list; a single number stands for all."""
    plain = values.tolist() if hasattr(values, "tolist") else values
    return list(plain) if isinstance(plain, Sequence) and not isinstance(plain, str) else [plain] * n


def _log(form: str, name: str, values: Sequence[Any], log_metric: Any, log_extra: Any) -> None:
    """Every value to the rollouts file, and the mean of those that are finite numbers to the step's event."""
    plain = [v.item() if hasattr(v, "item") else v for v in values]
    log_extra(f"{form}/{name}", plain)
    for value in plain:
        if isinstance(value, int | float) and math.isfinite(value):
            log_metric(name, value)


def from_verl(compute_score: Callable[..., Any]) -> FromVerl:
    """A reward from a function with verl's signature; a dict must hold `score`, its other entries are logged."""
    _must_take(compute_score, "verl", data_source="", solution_str="", ground_truth="", extra_info={})
    return FromVerl(compute_score)


def from_openrlhf(reward_func: Callable[..., Any]) -> FromOpenRLHF:
    """A reward from a function with OpenRLHF's signature; it returns values, or a dict with `rewards`."""
    _must_take(reward_func, "OpenRLHF", [], [], [])
    return FromOpenRLHF(reward_func)


def _must_take(function: Callable[..., Any], form: str, *args: Any, **kwargs: Any) -> None:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        wanted = ", ".join(kwargs) or "queries, prompts, labels"
        name = getattr(function, "__name__", function)
        raise ConfigError(
            f"reward {name} cannot be called as {form} does, with ({wanted}): {error}.", code="not-a-reward"
        ) from error
