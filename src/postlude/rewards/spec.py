"""One reward of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from postlude.bounds import Bounds, Finite, Line, Seconds, Share, hold

CONCURRENCY = 64


@dataclass(frozen=True)
class RewardSpec:
    """One reward of a recipe."""

    use: Line
    """A built-in name, `my_rewards.py:fn` or `package.module:name`; with `verl:` or `openrlhf:` before it, theirs."""
    weight: Annotated[float, Bounds(-1e6, 1e6)] = 1.0
    """In the sum. 0 only measures: it does not make an answer a scored one."""
    outcome: bool | None = None
    """Whether it says if an answer is correct (1 right, 0 wrong). Default: the first reward that is no gate does."""
    name: Line | None = None
    """What it is logged as. Default: the function's name."""
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of a built-in."""
    steps: str | None = None
    """Where it is set, the function gives a list for each answer, a number per step; steps stand between this text."""
    tokens: bool = False
    """The function gives a list for each answer, a number per token: the reward of the answer up to and with it. The
    arguments `completion_ids` and `prefixes` (the texts up to and with each token) hold them."""
    whole: Literal["mean", "sum", "last", "min", "product"] | None = None
    """What one number stands for an answer whose steps or tokens are rewarded: it is logged, and methods that do not
    reward steps train on it, where it is set. Default: the mean, or what a built-in says."""
    gate: Finite | None = None
    """An answer that scores less than this here is not correct, is not shown to the other rewards, and counts 0 for
    them. Gates come first."""
    clip: tuple[Finite, Finite] | None = None
    """Bounds of the number as the function gave it."""
    shift: Finite = 0.0
    """Taken off after `clip`."""
    scale: Finite = 1.0
    """What the number is multiplied with after `shift`."""
    squash: Literal["sigmoid", "tanh"] | None = None
    """Applied after `scale`: sigmoid into (0, 1), tanh into (-1, 1)."""
    normalise: Literal["group", "batch"] | None = None
    """(x - mean) / standard deviation, before the weight: over the answers to the prompt (GDPO), or over the draw."""
    abstain: Share | None = None
    """A step in which more than this share of the answers shown to it could not be scored is not trained on; three in
    a row stop the run. Default: 1, or what a built-in sets."""
    errors: Share = 0.0
    """The share of a draw's calls that may raise or time out; their answers abstain. Above it the run stops."""
    concurrency: Annotated[int, Bounds(1, 65_536)] = CONCURRENCY
    """Of an async function: calls under way at a time."""
    timeout: Seconds | None = None
    """Seconds for one call. Default: 300 for an async function, none for a plain one; built-ins have limits of their
    own."""
    cache: bool | Line = False
    """Keep every score and ask only for answers that have none: true in the run folder, or the path of a file."""

    def __post_init__(self) -> None:
        hold(self)
        if self.scale == 0:
            raise ValueError("scale is 0, which makes every score the same; to only measure, set weight to 0")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip is [low, high] with low < high, got {list(self.clip)}")
        if self.tokens and self.steps is not None:
            raise ValueError("steps and tokens are both set: a reward is of steps or of single tokens")
        if self.steps == "":
            raise ValueError('steps is empty text; it is what stands between steps, such as "\\n"')
        if self.cache == "":
            raise ValueError("cache is empty text; give true, or the path of a file")

    @property
    def label(self) -> str:
        return self.name or self.use.rpartition(":")[2]

    @property
    def shapes(self) -> bool:
        """Whether the number that is weighed can be another than the function gave."""
        changed = self.clip or self.squash or self.normalise
        return bool(changed) or (self.shift, self.scale) != (0.0, 1.0)
