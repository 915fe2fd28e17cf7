"""What of a run's memory depends on the processor it runs on. Needs no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape

COPIES_BELOW = 100_000_000
"""Parameters of the layers up to which decoding keeps its own copy of the weights, fused and transposed."""
PACKS_BELOW = 400_000_000
"""The same where the copy is packed, which makes it faster at any size: here memory is the limit."""
AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


@cache
def packs() -> bool:
    """Whether this processor is one for which oneDNN's products are the faster ones: AVX-512, and not Intel's."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    lines = [line.partition(":") for line in text.split("\n\n")[0].splitlines()]
    words = {name.strip(): value.strip() for name, _, value in lines}
    return words.get("vendor_id", "GenuineIntel") != "GenuineIntel" and {*words.get("flags", "").split()} >= AVX512


def decoded_copy(shape: Shape, setting: Setting) -> int:
    """Bytes of the copy that decoding makes of a small model; 0 of a large one."""
    packed = packs() and setting.device == "cpu"
    layers = shape.layers * shape.of_layer
    if layers > (PACKS_BELOW if packed else COPIES_BELOW):
        return 0
    output = shape.embedding if packed and setting.dtype == "float32" else 0
    return setting.size * (layers + output)
