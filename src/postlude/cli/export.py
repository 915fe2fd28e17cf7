"""postlude export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postlude.errors import ConfigError, EngineError
from postlude.terminal import Screen

TOLERANCE = 1e-3
"""Largest difference of a logit that merging in float32 may make."""


def export(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint, or the folder of a LoRA adapter.")],
    folder: Annotated[Path, typer.Argument(help="Where the whole model goes; must not exist.")],
) -> None:
    """Write a whole model that needs no adapter: the adapter is merged, and the result compared before it counts.

    postlude export runs/grpo-1 my-model
    """
    from postlude.models.adapters import is_adapter
    from postlude.run import latest_model

    source = latest_model(model)
    if folder.exists():
        raise ConfigError(f"{str(folder)!r} exists already; choose another folder.")
    if not is_adapter(source):
        raise ConfigError(f"{model!r} holds no LoRA adapter: {source} is a whole model already. Copy that folder.")
    difference = _merge(source, folder)
    Screen().print(
        f"{folder}: a whole model in float32; its logits differ from the adapter's by at most {difference:.1e}",
        soft_wrap=True,
    )


def _merge(source: str, folder: Path) -> float:
    """Largest difference between the logits of the written model and those of the adapter on its base."""
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoTokenizer

    from postlude.models.load import base_path, open_causal, open_scorer, quiet

    with quiet(), torch.no_grad():
        scorer = PeftConfig.from_pretrained(source).task_type == "SEQ_CLS"
        base = open_scorer(base_path(source)) if scorer else open_causal(base_path(source), merge=False)
        adapted = PeftModel.from_pretrained(base, source).eval()
        ids = (torch.arange(32).reshape(1, 32) * 7919 + 13) % base.get_input_embeddings().weight.shape[0]
        expected = adapted(input_ids=ids).logits
        adapted.merge_and_unload().save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        again = open_scorer(str(folder)) if scorer else open_causal(str(folder), merge=False)
        difference = float((again.eval()(input_ids=ids).logits - expected).abs().max())
    if difference > TOLERANCE:
        raise EngineError(
            f"{folder}: the merged model's logits differ by {difference:.1e} from those with the adapter (limit "
            f"{TOLERANCE:.0e}); do not use it."
        )
    return difference
