"""LoRA adapters on a model: a fresh one, one on top of another, and how a checkpoint keeps them.

A policy that starts from an adapter (of SFT, say) keeps it, frozen, beside the one that is trained: switching only the
new one off gives the policy's start, which is the reference. A checkpoint holds both joined to one adapter on the model
underneath, so that every tool can load it, and the new one alone in `trainer/adapter`, to go on from.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.errors import ConfigError, EngineError, Problem
from postlude.models import files, joining
from postlude.models.fit import PREFIX
from postlude.models.lora import TOKEN_LAYERS
from postlude.models.pieces import Pieces
from postlude.models.spread import UNDIVIDED, Spread, by_first, gathered
from postlude.runs.sealed import Hashes, Sealed

NEW, START = "default", "start"
"""Names of the adapter that is trained, and of the one the policy starts from."""
BASE = "base_model_name_or_path"
"""In an adapter's config: the model it belongs to."""
NOTES = "postlude.json"
"""In an adapter's folder: settings of the whole model's config that the adapter's own has no place for."""
TWICE = {"modules_to_save", "token_adapter", "original_module"}
"""Parts of names under which peft saves a changed embedding a second time, and never reads it."""
BELOW = "base/"
"""Before the names of the base's files, among the fingerprints of a run that began from an adapter."""
OWN = Path("trainer") / "adapter"
"""Where a checkpoint keeps the trained adapter by itself, if it stands on another."""


def is_adapter(path: str) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(path).expanduser() / files.ADAPTER_CONFIG).exists()


def base_path(path: str) -> str:
    """The model under an adapter folder, or the folder itself."""
    folder = Path(path).expanduser()
    return path if not is_adapter(path) or (folder / "config.json").exists() else read_config(path)[BASE]


def changed_base(folder: Path, base: Path) -> str | None:
    """The first weights file of a base folder that is not what it was when a run began to train this adapter on it;
    None where all are, and of an adapter that no run's checkpoint holds."""
    inputs = Sealed.at(folder).manifest.get("inputs", {}).get("model", {})
    stands_on_adapter = any(name.startswith(BELOW) for name in inputs)
    prints = {
        name.removeprefix(BELOW): one
        for name, one in inputs.items()
        if name.startswith(BELOW) == stands_on_adapter and name.endswith(".safetensors")
    }
    there = {file.name: file for file in base.glob("*.safetensors")} if prints else {}
    hashes = Hashes()
    for name in sorted({*prints, *there}):
        if name not in there or name not in prints or hashes.of(there[name]) != prints[name].get("sha256"):
            return name
    return None


def read_config(path: str) -> dict[str, Any]:
    """The config of an adapter folder."""
    return plain_json.read(Path(path).expanduser() / files.ADAPTER_CONFIG)


def makes_scorer(path: str) -> bool:
    """Whether an adapter was trained with a scalar head on its model."""
    return read_config(path).get("task_type") == "SEQ_CLS"


def outputs(path: str) -> int:
    """Numbers that the head of an adapter gives; 1 where it holds none."""
    tensors = files.adapter(Path(path).expanduser())
    return next((one.shape[0] for name, one in tensors.items() if name.endswith(".score.weight")), 1)


def notes(path: str) -> dict[str, Any]:
    """What this library says of an adapter beside its config, for the config of the whole model."""
    file = Path(path).expanduser() / NOTES
    return plain_json.read(file) if file.exists() else {}


def with_adapter(net: Any, config: Any, start: str | None, checkpoint: str | None) -> Any:
    """The model with an adapter to train, a fresh one of `config` or a checkpoint's, on a frozen one of `start`."""
    from peft import get_peft_model

    net.name_or_path = net.config._name_or_path = _lasting(net.name_or_path)  # what peft writes into README.md
    if start is None:
        if checkpoint:
            return opened(net, checkpoint, trainable=True)
        adapted = get_peft_model(net, config)
        adapted.peft_config[NEW].base_model_name_or_path = net.name_or_path
        return adapted
    _require_same_rows(net, start)
    adapted = opened(net, start, START)
    adapted.peft_config[START].base_model_name_or_path = net.name_or_path
    if checkpoint:
        adapted.load_adapter(str(Path(checkpoint) / OWN), adapter_name=NEW, is_trainable=True)
    else:
        adapted.add_adapter(NEW, config)
    _activate(adapted, [START, NEW])
    for name, p in adapted.named_parameters():
        p.requires_grad_(f".{NEW}." in name)
    return adapted


def _require_same_rows(net: Any, start: str) -> None:
    """Raise EngineError where an adapter brings an embedding that is not its model's: joining would lose it."""
    import torch
    from peft import load_peft_weights

    for name, tensor in load_peft_weights(start, device="cpu").items():
        if name.endswith(".base_layer.weight"):
            trained = net.get_parameter(name.removeprefix(PREFIX).replace(".base_layer", ""))
            if trained.shape != tensor.shape or not torch.equal(trained.detach().cpu().to(tensor.dtype), tensor):
                raise EngineError(
                    f"{start}: this adapter holds {name}, which is not its model's, and another adapter cannot stand "
                    f"on that. Merge it first (postlude export {start} FOLDER), and train that.",
                    code="adapter-cannot-stack",
                )


def _lasting(path: str) -> str:
    """A folder by its whole path: a relative one would only work from this folder."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def rank_of(net: Any) -> int | None:
    """The rank of the adapter that `save` writes, on what it begins from; None of a model without one."""
    configs = getattr(net, "peft_config", {}).values()
    return sum(max(config.r, *config.rank_pattern.values(), 0) for config in configs) or None


def is_trained(name: str) -> bool:
    """Whether a tensor of a model is one of its trained adapter."""
    return NEW in name.split(".")


def has_start(net: Any) -> bool:
    """Whether the trained adapter stands on a frozen one."""
    return START in getattr(net, "peft_config", {})


@contextmanager
def without_trained(net: Any) -> Iterator[None]:
    """The policy as it started: the trained adapter off, one that it stands on still on."""
    if not has_start(net):
        with net.disable_adapter():
            yield
        return
    _activate(net, [START])
    try:
        yield
    finally:
        _activate(net, [START, NEW])


def _activate(net: Any, names: Sequence[str]) -> None:
    """Which adapters take part. Not peft's own way, which also changes what is trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in net.modules():
        if isinstance(module, BaseTunerLayer):
            module._active_adapter = list(names)


# ------------------------------------------------------------------------------------------------ opening


def opened(net: Any, folder: str, name: str = NEW, trainable: bool = False) -> Any:
    """The model with a folder's adapter on it. Raises ConfigError unless every tensor of it has its place."""
    from peft import PeftModel, load_peft_weights

    make_room(net, folder)
    try:
        adapted = PeftModel.from_pretrained(net, folder, adapter_name=name, is_trainable=trainable)
        problems = misfits(adapted, load_peft_weights(folder, device="cpu"), name)
    except (ValueError, TypeError, KeyError, RuntimeError, OSError, ImportError, NotImplementedError) as error:
        raise ConfigError(
            f"{folder}: this adapter cannot be put on its model: {_first(error)}", code="bad-adapter"
        ) from error
    if problems:
        raise ConfigError([problem.within(f"{folder}: ") for problem in problems])
    return adapted


def misfits(adapted: Any, tensors: dict[str, Any], name: str) -> list[Problem]:
    """Put an adapter's tensors into a model that has it, on the meta device or with memory; what did not fit."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    try:
        result = set_peft_model_state_dict(adapted, tensors, adapter_name=name)
    except KeyError as error:
        return [
            Problem("bad-adapter", f"the adapter's weights lack {error.args[0]}. Save or download the adapter again.")
        ]
    except RuntimeError as error:  # of torch: every size mismatch on a line of its own
        lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        return [
            Problem(
                "bad-adapter",
                f"the adapter was made for a model of another size: {lines[0] if lines else _first(error)}",
            )
        ]
    expected = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    missing = sorted({*expected} - {*tensors})
    converted = not result.unexpected_keys and {*tensors} - {*expected}  # names of an older transformers
    strange = sorted(name for name in result.unexpected_keys if not TWICE.intersection(name.split(".")))
    problems: list[Problem] = []
    if strange:
        problems.append(
            Problem(
                "bad-adapter",
                f"{len(strange)} of the adapter's tensors have no place in its model: {files.some(strange)}. It was "
                "made for another model.",
            )
        )
    if missing and not converted:
        problems.append(
            Problem(
                "bad-adapter", f"{len(missing)} tensors are missing from the adapter's weights: {files.some(missing)}."
            )
        )
    return problems


def tried(net: Any, folder: Path) -> list[Problem]:
    """What does not fit of an adapter on its model, both without memory; the model is changed."""
    import torch
    from peft import PeftConfig, get_peft_model

    make_room(net, str(folder))
    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
        config.init_lora_weights = True  # others read the weights
        with warnings.catch_warnings(action="ignore"):
            adapted = get_peft_model(net, config)
        tensors = {name: torch.empty(one.shape, device="meta") for name, one in files.adapter(folder).items()}
        return misfits(adapted, tensors, NEW) + _homeless_biases(adapted)
    except (ValueError, TypeError, RuntimeError, ImportError, NotImplementedError) as error:
        return [Problem("bad-adapter", f"this adapter cannot be put on its model: {_first(error)}")]


def _homeless_biases(adapted: Any) -> list[Problem]:
    """Biases of LoRA itself on maps that have none: no whole model has a place for them."""
    from peft.tuners.lora import LoraLayer

    layers = [(n, m) for n, m in adapted.named_modules() if isinstance(m, LoraLayer) and m.lora_bias.get(NEW)]
    names = [name.removeprefix(PREFIX) for name, m in layers if m.get_base_layer().bias is None]
    if not names:
        return []
    return [
        Problem(
            "bad-adapter",
            f"the adapter has biases (lora_bias) on {len(names)} maps of the model that have none "
            f"({files.some(names)}), so no merged model of this kind can hold them. Train it without lora_bias.",
        )
    ]


def make_room(net: Any, folder: str) -> None:
    """Give the model as many rows in its vocabulary as the adapter's own embedding has, where it holds one."""
    rows = vocabulary(folder)
    if rows and rows != net.get_input_embeddings().weight.shape[0]:
        net.resize_token_embeddings(rows, mean_resizing=False)


def vocabulary(folder: str) -> int | None:
    """Rows of the embedding or the output layer that an adapter holds whole; None where it holds none."""
    tensors = files.adapter(Path(folder).expanduser())
    whole = [
        one.shape[0]
        for name, one in tensors.items()
        if name.endswith(".weight") and ".lora_" not in name and not {*name.split(".")}.isdisjoint(TOKEN_LAYERS)
    ]
    return max(whole, default=None)


def problems_of_config(folder: Path) -> list[Problem]:
    """What is wrong with an adapter folder, from its config and the headers of its weights."""
    try:
        config = plain_json.read(folder / files.ADAPTER_CONFIG)
        kind = str(config.get("peft_type"))
    except (ValueError, AttributeError, OSError) as error:
        return [
            Problem(
                "bad-adapter",
                f"{folder}: {files.ADAPTER_CONFIG} cannot be read: {_first(error)}. Save the adapter again.",
            )
        ]
    if kind != "LORA":
        return [
            Problem(
                "bad-adapter",
                f"{folder}: this adapter is of type {kind}, and only LoRA can be opened. Merge it into its model with "
                "peft (merge_and_unload, then save_pretrained), and give the merged folder.",
            )
        ]
    problems = [problem.within(f"{folder}: ") for problem in joining.unopenable(config)]
    if (folder / "config.json").exists():
        problems.append(
            Problem(
                "not-a-model",
                f"{folder} holds a whole model (config.json) and an adapter ({files.ADAPTER_CONFIG}), and it is not "
                "said which counts. Move one of them to a folder of its own.",
            )
        )
    try:
        files.adapter(folder)
    except ConfigError as error:
        problems += error.problems
    return problems


def require_known_fields(folder: Path) -> list[Problem]:
    """Settings of an adapter that the installed peft does not know, and would leave out."""
    from peft import LoraConfig

    config = plain_json.read(folder / files.ADAPTER_CONFIG)
    strange = [k for k, v in config.items() if v and k not in LoraConfig.__dataclass_fields__ and k != "peft_version"]
    if not strange:
        return []
    return [
        Problem(
            "bad-adapter",
            f"{folder}: the adapter was built with settings that the installed peft does not know: "
            f"{files.some(strange)}. Upgrade peft, or merge the adapter with the version that made it.",
        )
    ]


# ------------------------------------------------------------------------------------------ saving, loading


def save(net: Any, folder: Path, spread: Spread = UNDIVIDED) -> None:
    """One adapter that any tool can load; beside it the trained one by itself where it stands on another."""
    state = _gathered(net, spread)
    _save_joined(net, folder, spread, state)
    if has_start(net):
        by_first(spread, lambda: _write_own(net, folder, state))


def save_joined(net: Any, folder: Path) -> None:
    """The trained adapter and one that it stands on as one adapter on the model underneath, read again and compared."""
    _save_joined(net, folder, UNDIVIDED, _gathered(net, UNDIVIDED))


def _gathered(net: Any, spread: Spread) -> dict[str, Any]:
    """The model's tensors by name, those of the trained adapter whole on rank 0."""
    live: dict[str, Any] = net.state_dict(keep_vars=True)
    return live | gathered(spread, {name: one for name, one in live.items() if is_trained(name)})


def _save_joined(net: Any, folder: Path, spread: Spread, state: Mapping[str, Any]) -> None:
    _state(net, NEW)  # in which peft compares shapes with the adapter's config
    joined = joining.joined(net, START, NEW, whole=spread.whole) if has_start(net) else None
    by_first(spread, lambda: _write_joined(net, folder, state, joined))


def _write_joined(net: Any, folder: Path, state: Mapping[str, Any], joined: tuple[Any, dict[str, Any]] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    notes = {k: v for k, v in net.config.to_dict().items() if k.startswith("postlude_")}
    if notes:
        (folder / NOTES).write_text(json.dumps(notes))
    joining.put_in_order(net.peft_config[NEW])
    if joined is None:
        _write_alone(net, folder, state)
        _require_same(_state(net, NEW, state), folder)
        return
    config, tensors = joined
    config.base_model_name_or_path = net.peft_config[START].base_model_name_or_path
    joining.write(config, tensors, folder)
    _require_same(tensors, folder)


def _write_alone(net: Any, folder: Path, state: Mapping[str, Any]) -> None:
    """The trained adapter as peft writes it."""
    net.save_pretrained(folder, selected_adapters=[NEW], save_embedding_layers=False, state_dict=dict(state))


def _write_own(net: Any, folder: Path, state: Mapping[str, Any]) -> None:
    """The trained adapter in a folder of its own: peft writes the one called `default` to the folder it is given,
    others to folders of their names."""
    _write_alone(net, folder / OWN.parent, state)
    target = folder / OWN
    target.mkdir(parents=True, exist_ok=True)
    for name in (files.ADAPTER_CONFIG, files.ADAPTER):
        shutil.move(folder / OWN.parent / name, target / name)
    _require_same(_state(net, NEW, state), target)


def _state(net: Any, name: str, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An adapter's tensors under the names that its file has."""
    from peft import get_peft_model_state_dict

    tensors = None if state is None else dict(state)
    return get_peft_model_state_dict(net, state_dict=tensors, adapter_name=name, save_embedding_layers=False)


def _require_same(tensors: dict[str, Any], folder: Path) -> None:
    from postlude.models.saved import require_same

    require_same(tensors, [folder / files.ADAPTER])


def load(net: Any, folder: str, device: str, spread: Spread = UNDIVIDED) -> None:
    """Put a checkpoint's trained adapter into the model."""
    from peft import load_peft_weights

    place = str(Path(folder) / OWN) if has_start(net) else folder
    if spread.size == 1:
        problems = misfits(net, load_peft_weights(place, device=device), NEW)
    else:
        problems = _filled(net, Path(place), spread)
    if problems:
        raise EngineError([problem.within(f"{place}: ") for problem in problems])


def _filled(net: Any, place: Path, spread: Spread) -> list[Problem]:
    """Put into the trained adapter this rank's share of each tensor of a file; what did not fit. Names are those of
    today: of an older transformers', one process alone reads."""
    live = _state(net, NEW)
    with Pieces([place / files.ADAPTER]) as pieces:
        odd = sorted(pieces.names ^ {*live})
        if odd:
            return [
                Problem(
                    "bad-adapter",
                    f"{len(odd)} tensors are in one of adapter and model only: {files.some(odd)}. Go on with "
                    "engine.trainers=1 once, which writes it under today's names.",
                )
            ]
        for name, tensor in live.items():
            pieces.fill(tensor.detach(), name, spread)
    return []


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
