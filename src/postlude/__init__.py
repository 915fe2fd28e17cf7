"""postlude: post-training of language models with reinforcement learning.

What is listed here is public; everything else may change. Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

PUBLIC = {
    # a run, from the outside
    "train": "postlude.api:train",
    "train_async": "postlude.api:train_async",
    "compare": "postlude.api:compare",
    "check_recipe": "postlude.api:check_recipe",
    "check_run": "postlude.api:check_run",
    "memory": "postlude.api:memory",
    "advise": "postlude.api:advise",
    "runs": "postlude.runs",
    "events": "postlude.runs.events",
    "Run": "postlude.runs.folder:Run",
    "methods": "postlude.algorithms:ALGORITHMS",
    "Algorithm": "postlude.method:Algorithm",
    "Recipe": "postlude.recipe.schema:Recipe",
    # rewards
    "reward": "postlude.api:reward",
    "Rewards": "postlude.rewards.rewards:Rewards",
    "RewardSpec": "postlude.rewards.spec:RewardSpec",
    # data
    "Prompt": "postlude.data:Prompt",
    "Completion": "postlude.data:Completion",
    "Group": "postlude.data:Group",
    "Batch": "postlude.batch:Batch",
    "pack": "postlude.batch:pack",
    "minibatches": "postlude.batch:minibatches",
    # the maths
    "objectives": "postlude.objectives",
    "TokenObjective": "postlude.objectives:TokenObjective",
    "ContrastObjective": "postlude.objectives:ContrastObjective",
    "Outputs": "postlude.objectives:Outputs",
    "Loss": "postlude.objectives:Loss",
    # engines
    "LocalEngine": "postlude.engines.local.engine:LocalEngine",
    "Engine": "postlude.engines.protocol:Engine",
    "Trainer": "postlude.engines.protocol:Trainer",
    "Sampler": "postlude.engines.protocol:Sampler",
    "Request": "postlude.engines.protocol:Request",
    "Weights": "postlude.engines.protocol:Weights",
    "Part": "postlude.engines.protocol:Part",
    "Rates": "postlude.engines.protocol:Rates",
    "Sampling": "postlude.engines.settings:Sampling",
    "Optimizer": "postlude.engines.settings:Optimizer",
    "Source": "postlude.sources.source:Source",
    "answer": "postlude.rollouts.rollout:answer",
    "measure": "postlude.evaluate:measure",
    # what can go wrong
    "PostludeError": "postlude.errors:PostludeError",
    "ConfigError": "postlude.errors:ConfigError",
    "DataError": "postlude.errors:DataError",
    "RewardError": "postlude.errors:RewardError",
    "EngineError": "postlude.errors:EngineError",
    "TrainingError": "postlude.errors:TrainingError",
}
"""Public name -> where it is."""

__all__ = ["__version__", *PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from postlude import objectives as objectives
    from postlude import runs as runs
    from postlude.algorithms import ALGORITHMS as methods  # noqa: F401
    from postlude.api import advise as advise
    from postlude.api import check_recipe as check_recipe
    from postlude.api import check_run as check_run
    from postlude.api import compare as compare
    from postlude.api import memory as memory
    from postlude.api import reward as reward
    from postlude.api import train as train
    from postlude.api import train_async as train_async
    from postlude.batch import Batch as Batch
    from postlude.batch import minibatches as minibatches
    from postlude.batch import pack as pack
    from postlude.data import Completion as Completion
    from postlude.data import Group as Group
    from postlude.data import Prompt as Prompt
    from postlude.engines.local.engine import LocalEngine as LocalEngine
    from postlude.engines.protocol import Engine as Engine
    from postlude.engines.protocol import Part as Part
    from postlude.engines.protocol import Rates as Rates
    from postlude.engines.protocol import Request as Request
    from postlude.engines.protocol import Sampler as Sampler
    from postlude.engines.protocol import Trainer as Trainer
    from postlude.engines.protocol import Weights as Weights
    from postlude.engines.settings import Optimizer as Optimizer
    from postlude.engines.settings import Sampling as Sampling
    from postlude.errors import ConfigError as ConfigError
    from postlude.errors import DataError as DataError
    from postlude.errors import EngineError as EngineError
    from postlude.errors import PostludeError as PostludeError
    from postlude.errors import RewardError as RewardError
    from postlude.errors import TrainingError as TrainingError
    from postlude.evaluate import measure as measure
    from postlude.method import Algorithm as Algorithm
    from postlude.objectives import ContrastObjective as ContrastObjective
    from postlude.objectives import Loss as Loss
    from postlude.objectives import Outputs as Outputs
    from postlude.objectives import TokenObjective as TokenObjective
    from postlude.recipe.schema import Recipe as Recipe
    from postlude.rewards.rewards import Rewards as Rewards
    from postlude.rewards.spec import RewardSpec as RewardSpec
    from postlude.rollouts.rollout import answer as answer
    from postlude.runs import events as events
    from postlude.runs.folder import Run as Run
    from postlude.sources.source import Source as Source


def __getattr__(name: str) -> Any:
    where = PUBLIC.get(name)
    if where is None:
        raise AttributeError(f"postlude has no public name {name!r}; it has {', '.join(PUBLIC)}")
    module, _, inside = where.partition(":")
    loaded = importlib.import_module(module)
    value = getattr(loaded, inside) if inside else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
