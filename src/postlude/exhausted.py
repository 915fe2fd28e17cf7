"""Whether memory ran out: torch has a type for it on a GPU, and on a CPU a sentence."""

from __future__ import annotations

from postlude.lazy import torch

SENTENCES = (
    "can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc",
    "could not create a primitive\n", "could not create a memory",  # oneDNN
)  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed."""
    kinds = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return kinds or (isinstance(error, RuntimeError) and any(text in f"{error}\n" for text in SENTENCES))
