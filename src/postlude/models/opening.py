"""Folders and hub ids to models with their weights, and all that is known to be wrong with them before that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, Problem
from postlude.models import adapters, files, fit, heads, joining, merging, scorers
from postlude.models.dtypes import Dtype
from postlude.models.lora import Lora


def problems_of_weights(
    path: str, config: Any, scalar: bool = False, lora: Lora | None = None, what: str = "model"
) -> list[Problem]:
    """What is wrong with the weights of a model, with its adapter or with LoRA on it, from the headers of its files.

    `config` is what `inspect` read. `scalar`: it is to have one output number instead of a vocabulary. Of a hub id only
    the config is known here.
    """
    base = adapters.base_path(path)
    problem = fit.unfit(config, path)
    if heads.is_scorer(config) and not scalar:
        problem = Problem("reward-model-cannot-write", f"{path!r} is a reward model, which cannot write.")
    if problem:
        return [problem.within(f"{what}: ")]
    problems: list[Problem] = []
    net = None
    try:
        made_scorer = scalar and (not adapters.is_adapter(path) or adapters.makes_scorer(path))
        here = Path(base).expanduser().is_dir()
        stored = files.whole(Path(base).expanduser()) if here else None
        net = fit.skeleton(scorers.config_of(base), made_scorer, stored, base)
    except ConfigError as error:
        problems += [problem.within(f"{what}: ") for problem in error.problems]
    if adapters.is_adapter(path):
        problems += [
            problem.within(f"{what}: ") for problem in _problems_of_adapter(path, net, stacked=lora is not None)
        ]
    elif lora and net is not None:
        problems += fit.problems_of_targets(net, lora.targets, "SEQ_CLS" if scalar else "CAUSAL_LM")
    return problems


def _problems_of_adapter(path: str, net: Any, stacked: bool) -> list[Problem]:
    """Of an adapter folder; on `net`, a model without memory, where there is one, and below another if `stacked`."""
    folder = Path(path).expanduser()
    problems = adapters.problems_of_config(folder) or adapters.require_known_fields(folder)
    if not problems and net is not None:
        problems = [problem.within(f"{folder}: ") for problem in adapters.tried(net, folder)]
    more = _beyond_joining(path) if stacked and not problems else []
    if more:
        problems.append(
            Problem(
                "adapter-cannot-stack",
                f"{folder}: model.lora cannot stand on an adapter with {', '.join(more)}: both are saved as one, which "
                f"has no place for that. Merge it first (postlude export {path} FOLDER), and train that.",
            )
        )
    return problems


def _beyond_joining(path: str) -> list[str]:
    """What an adapter has that would be lost in one that it is joined to."""
    base = scorers.config_of(adapters.base_path(path)).get_text_config()
    more = joining.more_than_matrices(adapters.read_config(path), files.adapter(Path(path).expanduser()))
    resized = adapters.vocabulary(path) not in (None, base.vocab_size)
    return [*more, *["a vocabulary of another size"] * resized]


def causal(path: str, merge: bool, dtype: Dtype = "float32") -> Any:
    """The language model of a folder or hub id; an adapter that it holds is merged, unless another will stand on it."""
    if merge and adapters.is_adapter(path):
        return merged(path, dtype).net
    base = adapters.base_path(path)
    config = scorers.config_of(base)
    net = fit.read(fit.model_class(config, False), base, config, dtype=dtype)
    merging.say_sharing(net)  # where the config says one matrix, and the files hold two, the files are right
    return net


def scorer(path: str, zero: bool = False, dtype: Dtype = "float32") -> Any:
    """A scalar head on a folder's model; on top of an adapter that it may hold, of a policy or a scorer."""
    if adapters.is_adapter(path) and adapters.makes_scorer(path):
        return merged(path, dtype).net
    net = scorers.load_scorer(adapters.base_path(path), _padding(path), zero, dtype)
    if adapters.is_adapter(path):
        trunk = causal(path, merge=True, dtype=dtype)
        setattr(net, net.base_model_prefix, trunk.base_model)
        net.config.get_text_config().vocab_size = trunk.config.get_text_config().vocab_size
    return net


def merged(path: str, dtype: Dtype = "float32") -> merging.Merged:
    """An adapter folder as a whole model: a language model, or a scorer where the adapter makes it one."""
    base = adapters.base_path(path)
    if not adapters.makes_scorer(path):
        return merging.merge(causal(base, merge=False, dtype=dtype), path)
    result = merging.merge(scorers.load_scorer(base, _padding(path), dtype=dtype), path)
    for name, value in adapters.notes(path).items():
        setattr(result.net.config, name, value)
    return result


def _padding(path: str) -> int | None:
    """The id that pads, where it does not end answers as well."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    return tokenizer.pad_token_id if tokenizer.pad_token_id != tokenizer.eos_token_id else None
