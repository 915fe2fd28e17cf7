"""Reward models and critics as folders: their config, their weights, whether they have a trained head."""

from __future__ import annotations

from typing import Any

from postlude.errors import ConfigError, EngineError, reason
from postlude.models import adapters
from postlude.models.dtypes import Dtype
from postlude.models.fit import read
from postlude.models.heads import HEAD, is_scorer, scorer_class
from postlude.models.paths import is_nowhere


def config_of(path: str) -> Any:
    """The config of a folder or hub id; of an adapter its model's, as a scorer's where the adapter makes it one.

    Raises ConfigError where its values are none, OSError or ValueError as transformers does where it is not there.
    """
    from transformers import AutoConfig

    base = adapters.base_path(path)
    try:
        config: Any = AutoConfig.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # what transformers stumbles over in a damaged file can be of any kind
        raise ConfigError(
            f"the config.json of {base!r} describes no model: {reason(error)}", code="bad-model-config"
        ) from error
    if not isinstance(config.architectures or [], list):
        raise ConfigError(
            f"the config.json of {base!r} has architectures {config.architectures!r}, which is no list.",
            code="bad-model-config",
        )
    if adapters.is_adapter(path) and adapters.makes_scorer(path):
        config.architectures = ["AdapterForSequenceClassification"]
        config.num_labels = adapters.outputs(path)
        for name, value in adapters.notes(path).items():
            setattr(config, name, value)
    return config


def load_scorer(path: str, pad: int | None, zero: bool = False, dtype: Dtype = "float32") -> Any:
    """A model with one output number; the head of a folder that has none is new.

    New heads are drawn from N(0, 1/(d+1)) (InstructGPT, 2203.02155 appendix C), or are zero. `pad` is what
    transformers skips when it looks for the last token; it must not end answers.
    """
    import torch

    config = config_of(path)
    known = is_scorer(config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = pad
    net = read(scorer_class(config), path, config, trunk_only=not known, dtype=dtype)
    if not hasattr(net, HEAD):
        raise EngineError(f"{type(net).__name__} keeps its head elsewhere than in {HEAD!r}", code="unsupported-model")
    if not known:
        weight = getattr(net, HEAD).weight
        with torch.no_grad():
            drawn = torch.empty_like(weight, dtype=torch.float64)  # float32's draws depend on the processor
            weight.copy_(drawn.zero_() if zero else drawn.normal_(0, (1 / (weight.shape[1] + 1)) ** 0.5))
    return net


def require_head(path: str, what: str) -> Any:
    """The config of a folder with a trained scalar head; an EngineError with what to do for any other."""
    if is_nowhere(path):
        raise EngineError(
            f"{what}: {path!r} does not exist. Give a folder, a run, or a hub id OWNER/NAME.", code="no-such-model"
        )
    try:
        config = config_of(path)
    except (OSError, ValueError, KeyError, ConfigError) as error:
        raise EngineError(
            f"{what}: cannot read {path!r}: {str(error).strip().splitlines()[0]}", code="cannot-read"
        ) from error
    if not is_scorer(config):
        architectures = ", ".join(config.architectures or ["no architecture"])
        raise EngineError(
            f"{what}: {path!r} has no scalar head (it holds {architectures}). Train one with `postlude train "
            "reward_model`, or give a folder of AutoModelForSequenceClassification with one label.",
            code="not-a-reward-model",
        )
    return config
