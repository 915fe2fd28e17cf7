"""Fingerprints of models and tokenizers: of a folder the files that are read of it, of a hub id the commit."""

from __future__ import annotations

from pathlib import Path

from postlude.inputs.prints import Print, Prints, of_file, of_json
from postlude.models.adapters import BASE, BELOW, NOTES, base_path
from postlude.models.files import ADAPTER_CONFIG
from postlude.models.load import GENERATION

CONFIGS = ("config.json", GENERATION, NOTES)
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = (
    "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
TEMPLATE = "chat_template"
"""Of a tokenizer's config: the template is looked at by itself, as it is in force."""


def of_model(path: str, known: dict[Path, Print] | None = None) -> Prints:
    """Of the model of a path: every weights file, index and config; of an adapter also those of its base. `known`:
    files that were read already, since a model can have several parts in a run."""
    known = {} if known is None else known
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return {path: of_hub_id(path)}
    files = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.safetensors.index.json"))]
    files += [folder / name for name in CONFIGS if (folder / name).is_file()]
    known |= {file.resolve(): of_file(file) for file in files if file.resolve() not in known}
    prints: Prints = {file.name: known[file.resolve()] for file in files}
    if (folder / ADAPTER_CONFIG).is_file():
        prints[ADAPTER_CONFIG] = of_json(folder / ADAPTER_CONFIG, {BASE})  # where the base lies is no matter
    base = base_path(path)
    return prints if base == path else prints | {f"{BELOW}{name}": one for name, one in of_model(base, known).items()}


def of_tokenizer(path: str) -> Prints:
    """Of every file of a model folder that says how text becomes tokens, but for the chat template."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return {path: of_hub_id(path)}
    prints: Prints = {name: of_file(folder / name) for name in TOKENIZER if (folder / name).is_file()}
    if (folder / TOKENIZER_CONFIG).is_file():
        prints[TOKENIZER_CONFIG] = of_json(folder / TOKENIZER_CONFIG, {TEMPLATE})
    return prints


def of_hub_id(name: str) -> Print:
    """The commit of a hub id that is opened here; its name where that is not known."""
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name that the hub could have
        cached = None
    return {"commit": Path(cached).parent.name if isinstance(cached, str) else "unknown", "name": name}
