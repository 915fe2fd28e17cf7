"""How much memory a run takes: arithmetic on the shape of a model and the settings of a run. Needs no torch."""

from postlude.sizing.estimate import Estimate as Estimate
from postlude.sizing.estimate import estimate as estimate
from postlude.sizing.setting import Setting as Setting
from postlude.sizing.shape import Shape as Shape
