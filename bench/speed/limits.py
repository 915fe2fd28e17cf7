"""What the machine itself can do: matrix products and memory reads on one thread, measured in the same run."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.speed.cells import Cell


@dataclass(frozen=True)
class Machine:
    """Rates on one thread."""

    gemm: dict[str, float]
    """Floating-point operations per second of a large matrix product, by dtype."""
    bandwidth: float
    """Bytes per second read and written by a large copy."""

    def serves(self, dtype: str) -> bool:
        """Whether products in a type are computed by the processor rather than emulated."""
        return self.gemm[dtype] > self.gemm["float32"] / 4

    @property
    def run(self) -> str:
        """The day and the processor."""
        model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = model[0].partition(":")[2].strip() if model else platform.machine()
        return f"{time.strftime('%Y-%m-%d')} ({name}, {torch_capability()}; {self.text})"

    @property
    def text(self) -> str:
        rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in self.gemm.items())
        return f"one thread: {rates}; copy {self.bandwidth / 1e9:.1f} GB/s"


def torch_capability() -> str:
    """The instruction set torch uses, such as AVX2."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def measure() -> Machine:
    """Best of several repetitions, in CPU seconds."""
    import torch

    from postlude.engines.local.products import multiply

    torch.set_num_threads(1)

    def best(run: Any, times: int = 5) -> float:
        seconds = []
        for _ in range(times):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        return min(seconds)

    gemm = {}
    for name in ("float32", "bfloat16"):
        a, b = (torch.randn(1024, 1024).to(getattr(torch, name)) for _ in range(2))
        gemm[name] = 2 * 1024**3 / best(lambda a=a, b=b: multiply(a, b))
    source = torch.empty(1 << 26)
    target = torch.empty_like(source)
    return Machine(gemm, 2 * source.nbytes / best(lambda: target.copy_(source)))


def share(cell: Cell, machine: Machine, tokens: float, seconds: float) -> float:
    """How many times longer our step took than its matrix products and weight reads at the machine's rates.

    Counted: the linear layers (2 operations per weight and token forward, 4 backward) and the output layer, for prompts
    once, and the reference's; weights read once per decoding step. An adapter's frozen weights have no gradient.
    Attention, sampling and the optimiser are not counted.
    """
    gemm = machine.gemm[cell.dtype]
    size = 2 if cell.dtype == "bfloat16" else 4
    linear, head = cell.shape.linear, cell.shape.vocabulary * cell.shape.width
    if cell.kind == "sft":
        rows = tokens + cell.prompts * 48
        return seconds / (6 * (linear * rows + head * tokens) / gemm)
    if cell.compared:
        return seconds / (_compared(cell, tokens) / gemm)
    rows = tokens + cell.prompts * cell.prompt
    passes = (4 if cell.lora else 6) + (2 if cell.beta else 0)
    train = passes * (linear * rows + head * tokens) / gemm
    decode = (2 * linear * rows + 2 * head * tokens) / gemm
    read = cell.completion * (linear + head) * size / machine.bandwidth
    return seconds / (train + max(decode, read))


def _compared(cell: Cell, tokens: float) -> float:
    """Operations of a step on compared answers of so many tokens, prompts once."""
    linear, head = cell.shape.linear, cell.shape.vocabulary * cell.shape.width
    rows = tokens + cell.prompts * cell.prompt
    if cell.kind == "reward_model":
        return 6 * linear * rows
    # a forward pass of the reference; KTO has two more, over as many answers under other prompts
    return {"dpo": 8, "kto": 12}[cell.kind] * (linear * rows + head * tokens)
