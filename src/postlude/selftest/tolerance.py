"""How far two ways of computing the same numbers may lie apart, from the number format and the size of the model.

Each layer rounds what it adds to the hidden states. These roundings are as good as independent of one another, so over
L layers the relative error of a hidden state grows as the square root: u sqrt(L) in half precision, whose products are
summed in float32 and rounded once; u sqrt(L d) in float32, where each sum of d products is rounded at every step
(Higham and Mary, 2019, "A new approach to probabilistic rounding error analysis": a sum of n products errs by
u sqrt(n)). An error that points anywhere moves a logit by that share of what logits differ by, their standard
deviation s over the vocabulary. So a log-prob is off by about e s with e = u sqrt(L d) or u sqrt(L).

`SAFETY` times that is the limit: a layer rounds a dozen times, two ways are compared, each with its error, and the
largest of some hundred differences is four standard deviations: sqrt(12) sqrt(2) 4 = 20, times 0.8 for roundings that
are on average less than u.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from postlude.models.dtypes import Dtype

Kind = Literal["log-prob", "tempered", "gradient", "step", "merged", "exact"]
SAFETY = 16.0
UNIT: Mapping[Dtype, float] = {"float64": 2.0**-24, "float32": 2.0**-24, "bfloat16": 2.0**-8}
"""u, half the distance from 1 to the next number. Norms and rotary angles of a float64 model are in float32."""
WORDS: Mapping[Kind, str] = {
    "log-prob": "nats, the largest of all tokens",
    "tempered": "nats, at the temperature of sampling",
    "gradient": "of a tensor's gradient, the largest share of its norm",
    "step": "of what the step changed, as a share",
    "merged": "nats, in float32 whatever the model is held in",
    "exact": "bit by bit",
}
"""What a difference of each kind is counted in."""


@dataclass(frozen=True)
class Tolerances:
    """The limits of one model in one number format."""

    dtype: Dtype
    layers: int
    width: int
    """Of the hidden states."""
    spread: float
    """s: standard deviation of the logits of a position over the vocabulary, the mean over positions."""
    temperature: float

    def rounding(self, dtype: Dtype) -> float:
        """e: relative error of a hidden state."""
        return UNIT[dtype] * math.sqrt(self.layers * (1 if dtype == "bfloat16" else self.width))

    def _logprob(self, dtype: Dtype) -> float:
        """The last step, a log-prob of a few nats from logits, is in float32 at least, whatever the model is in."""
        return SAFETY * (self.rounding(dtype) * self.spread + 4 * UNIT["float32"])

    def of(self, kind: Kind) -> float:
        """The largest difference that rounding explains.

        A gradient's relative error is that of the hidden states, forth and back. AdamW's first step has the size of the
        learning rate and the gradient's sign: of a gradient with relative error g a share g/pi of the signs turns, and
        the step differs by 2 sqrt(g/pi) of itself.
        """
        gradient = SAFETY * self.rounding(self.dtype)
        limits: dict[Kind, float] = {
            "log-prob": self._logprob(self.dtype),
            "tempered": self._logprob(self.dtype) / min(1.0, self.temperature or 1.0),
            "gradient": gradient,
            "step": 2 * math.sqrt(min(1.0, gradient) / math.pi),
            "merged": self._logprob("float32"),
            "exact": 0.0,
        }
        return limits[kind]
