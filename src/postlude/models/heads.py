"""Scalar heads on Hugging Face models: reward models and critics, in the form of AutoModelForSequenceClassification."""

from __future__ import annotations

from typing import Any

from postlude.errors import EngineError

HEAD = "score"
"""The name transformers gives the linear map from a hidden state to one number."""
READS = "postlude_reads"
"""In a config: what the head was trained to read, where that is a `pair` of answers and not one."""
VALUE_HEAD = "value_head.safetensors"
"""In a checkpoint: the critic's map on the policy's own hidden states."""


def is_scorer(config: Any) -> bool:
    """Whether a config is that of a model with one output number."""
    names = config.architectures or []
    return any(name.endswith("ForSequenceClassification") for name in names) and config.num_labels == 1


def reads_pairs(config: Any) -> bool:
    """Whether a scorer reads two answers, one behind the other, and judges the first."""
    return getattr(config, READS, None) == "pair"


def scorer_class(config: Any) -> Any:
    """transformers' class for sequence classification, or one like it where the architecture has none of its own."""
    from transformers import PreTrainedModel
    from transformers.modeling_layers import GenericForSequenceClassification
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    )

    if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise EngineError(f"{config.model_type} models cannot carry a scalar head here", code="unsupported-model")
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    family = next(
        c for c in causal.__mro__ if issubclass(c, PreTrainedModel) and c.__name__.endswith("PreTrainedModel")
    )
    name = causal.__name__.removesuffix("ForCausalLM") + "ForSequenceClassification"
    return type(name, (GenericForSequenceClassification, family), {"__module__": __name__})
