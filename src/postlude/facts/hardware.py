"""What GPUs can do by their data sheets, and what of that is reached: the numbers of `postlude plan`, with sources.

A rate that is reached was never measured here: postlude has trained on few GPUs so far, and the runs that the plan is
checked against (docs/scale.md) are others'. None of these numbers is fitted on those runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Gpu:
    """A GPU, and the host it usually stands in."""

    name: str
    flops: float
    """Floating-point operations a second of matrix products in bfloat16, dense (without 2:4 sparsity)."""
    flops32: float
    """The same in float32, without TF32."""
    bandwidth: float
    """Bytes a second between its memory and its cores."""
    memory: float
    """Bytes."""
    link: float
    """Bytes a second to another GPU of its host, one way."""
    network: float
    """Bytes a second to other hosts, of each GPU, one way."""
    source: str


NVLINK = "half of its NVLink is one way"
DGX = "network as in a DGX, for each GPU"
HOME = "PCIe 4.0; network assumed: 100 Gb/s a host of 8"


def _gpu(name: str, flops: float, flops32: float, tera: float, gb: float, link: float, network: float, by: str) -> Gpu:
    """TFLOP/s, TFLOP/s, TB/s, GiB (which data sheets call GB), GB/s one way, GB/s of each GPU."""
    return Gpu(name, flops * TERA, flops32 * TERA, tera * TERA, gb * 2**30, link * GIGA, network * GIGA, by)


GPUS: Mapping[str, Gpu] = {
    "h100": _gpu(
        "H100 SXM", 989, 67, 3.35, 80, 450, 50, f"NVIDIA H100 data sheet (SXM); {NVLINK}, 900 GB/s; {DGX}, 400 Gb/s"
    ),
    "h200": _gpu(
        "H200 SXM", 989, 67, 4.8, 141, 450, 50, f"NVIDIA H200 data sheet; {NVLINK}, 900 GB/s; {DGX}, 400 Gb/s"
    ),
    "h800": _gpu(
        "H800 SXM",
        989,
        67,
        3.35,
        80,
        200,
        50,
        f"an H100 with NVLink of 400 GB/s (2412.19437); {DGX}, 400 Gb/s",
    ),
    "h20": _gpu("H20", 148, 44, 4.0, 96, 450, 50, f"NVIDIA H20 data sheet; {NVLINK}, 900 GB/s; {DGX}, 400 Gb/s"),
    "b200": _gpu(
        "B200", 2250, 75, 8.0, 180, 900, 50, f"NVIDIA HGX B200 data sheet; {NVLINK}, 1,800 GB/s; {DGX}, 400 Gb/s"
    ),
    "a100": _gpu(
        "A100 SXM 80GB",
        312,
        19.5,
        2.039,
        80,
        300,
        25,
        f"NVIDIA A100 data sheet (SXM); {NVLINK}, 600 GB/s; {DGX}, 200 Gb/s",
    ),
    "a800": _gpu("A800 SXM 80GB", 312, 19.5, 2.039, 80, 200, 25, f"an A100 with NVLink of 400 GB/s; {DGX}, 200 Gb/s"),
    "l40s": _gpu(
        "L40S",
        362,
        91.6,
        0.864,
        48,
        32,
        3.1,
        "NVIDIA L40S data sheet; PCIe 4.0; network assumed: 200 Gb/s a host of 8",
    ),
    "l4": _gpu(
        "L4", 121, 30.3, 0.3, 24, 32, 1.6, f"NVIDIA L4 data sheet (half of what it gives with sparsity); {HOME}"
    ),
    "a10": _gpu("A10", 125, 31.2, 0.6, 24, 32, 1.6, f"NVIDIA A10 data sheet; {HOME}"),
    "rtx3090": _gpu("RTX 3090", 71, 35.6, 0.936, 24, 32, 1.6, f"NVIDIA GA102 whitepaper, sums in float32; {HOME}"),
    "rtx4090": _gpu("RTX 4090", 165, 82.6, 1.008, 24, 32, 1.6, f"NVIDIA Ada whitepaper, sums in float32; {HOME}"),
    "rtx5090": _gpu(
        "RTX 5090",
        209.5,
        104.8,
        1.792,
        32,
        64,
        1.6,
        "NVIDIA RTX Blackwell whitepaper, sums in float32; PCIe 5.0; network assumed: 100 Gb/s a host of 8",
    ),
}
"""Name on the command line -> GPU. One without bfloat16 in its tensor cores (T4, V100) has no place here."""
PER_HOST = 8
"""GPUs of a host."""


@dataclass(frozen=True)
class Rate:
    """A share of what is possible, a time or a speed."""

    value: float
    means: str
    source: str


COMPUTE = Rate(
    0.38,
    "share of a GPU's peak that forward and backward passes reach",
    "Llama 3 (2407.21783), table 4: 430, 400 and 380 TFLOP/s of an H100's 989; the lowest",
)
READING = Rate(
    0.8,
    "share of the memory's bandwidth that decoding reaches",
    "Qwen2.5-72B on 2 H100 under vLLM, 30.9 ms a token of one answer (tt-inference-server issue 143): 145 GB in 27 ms "
    "beside the time of a step",
)
STEP = Rate(
    4e-3,
    "seconds of a decoding step beside reading and computing",
    "QwQ-32B on 8 H200 under vLLM, 6.7 ms a token of one answer (vllm issue 18725): 2.1 ms of it are reading",
)
HELD = Rate(0.9, "share of its GPU that a server takes", "vLLM's default, --gpu-memory-utilization")
LINK = Rate(
    0.65,
    "share of the links inside a host that collectives reach",
    "calculon (SC 2023), systems/a100_80g.json: NVLink",
)
NETWORK = Rate(
    0.9, "share of the network that collectives reach", "calculon (SC 2023), systems/a100_80g.json: the second network"
)
HOP = Rate(2e-5, "seconds from host to host in a ring", "calculon (SC 2023), systems/a100_80g.json: latency")
GATHER = Rate(
    8e9,
    "bytes a second that rank 0 gathers and sends to servers (engine.publish: stream)",
    "assumed. Published: 1.2 GB/s (70B) to 3.1 (7B) of OpenRLHF (2405.11143, table 5), 32 of Tülu 3 405B",
)
WRITE = Rate(
    2e9, "bytes a second that a process writes to the run's disk", "assumed: a shared file system; yours differs"
)
READ = Rate(4e9, "bytes a second at which a server reads them", "assumed: from the page cache of a shared file system")
PARSE = Rate(
    930e3, "tokens a second of servers' answers that one core of the driver reads", "measured here (make bench-scale)"
)
PACK = Rate(
    2e-7,
    "seconds of the driver for each token of a draw: packing, advantages, weights, sharing out, shipping",
    "measured here at 995 thousand tokens (make bench-scale)",
)
SHIP = Rate(49, "bytes of each token that go to the ranks", "measured here: the columns of a batch, as they are sent")
SHIPPING = Rate(1e9, "bytes a second through Ray's object store", "assumed; on a loaded machine 400 MB took 1.2 s")

RATES: Mapping[str, Rate] = {
    "compute": COMPUTE,
    "reading": READING,
    "step": STEP,
    "held": HELD,
    "link": LINK,
    "network": NETWORK,
    "hop": HOP,
    "gather": GATHER,
    "write": WRITE,
    "read": READ,
    "parse": PARSE,
    "pack": PACK,
    "ship": SHIP,
    "shipping": SHIPPING,
}
"""All of them, by the name that a recipe's plan shows."""
