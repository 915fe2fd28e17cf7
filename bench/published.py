"""Runs whose times others have published, beside what `postlude plan` says of them: the table in docs/scale.md.

`python -m bench.published` writes it. No rate is fitted on them: those are of `facts/hardware.py`. What a source does
not say of a run is in `assumed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postlude.facts.hardware import GPUS
from postlude.sizing.cost import Cost, Run, Way, cost_on
from postlude.sizing.draw import Draw
from postlude.sizing.layout import Layout
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape, of_values
from postlude.sizing.typical import Known
from postlude.sizing.work import Work

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- made by python -m bench.published -->", "<!-- end of what is published -->"

LLAMA_2_7B = Known("Llama-2-7B", "llama", 32, 4096, 32, 32, 11_008, 32_000, False)
LLAMA_2_70B = Known("Llama-2-70B", "llama", 80, 8192, 64, 8, 28_672, 32_000, False)
QWEN3_32B = Known("Qwen3-32B", "qwen3", 64, 5120, 64, 8, 25_600, 151_936, False, 128)
LLAMA_405B = Known("Llama-3.1-405B", "llama", 126, 16_384, 128, 8, 53_248, 128_256, False)
QWEN3_30B = of_values(
    {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 48,
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "moe_intermediate_size": 768,
        "intermediate_size": 6144,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "vocab_size": 151_936,
        "tie_word_embeddings": False,
    },
    "Qwen3-30B-A3B",
)

STEP = "a step"
PARTS: Mapping[str, tuple[str, ...]] = {
    "sampling": ("sampling", "the longest answer"),
    "passes without a gradient": ("passes without a gradient",),
    "training": ("forward and backward", "links between ranks", "optimiser"),
    "publishing": ("publish",),
}
"""What a source gives seconds of -> parts of a plan."""


@dataclass(frozen=True)
class Published:
    """A run as its source describes it."""

    name: str
    gpus: str
    plan: Cost
    seconds: Mapping[str, float]
    """Of `STEP`, or of the parts that the source gives."""
    source: str
    assumed: str
    why: str = ""
    """What the plan does not know of it."""

    def planned(self, part: str) -> float:
        """Seconds by the plan."""
        if part == STEP:
            return self.plan.seconds
        return sum(one.seconds for one in self.plan.parts if one.name in PARTS[part])


def _shape(known: Known) -> Shape:
    return of_values(known.values, known.name)


def _plan(shape: Shape, draw: Draw, gpu: str, layout: Layout, **more: object) -> Cost:
    """Of a run in bfloat16 that publishes from memory and saves nothing."""
    checkpointing, critic = bool(more.get("checkpointing", False)), more.get("critic")
    group = int(draw.prompt + draw.group * draw.longest)
    whole = int(draw.longest_sequence)
    work = Work(sequence=whole, piece=whole, update=draw.prompts * group // draw.updates, draw=draw.prompts * group)
    setting = Setting(
        work=work,
        reference=True,
        dtype="bfloat16",
        checkpointing=checkpointing,
        critic="own" if critic else None,
    )
    way: Way = "stream"
    concurrency = more.get("concurrency", 256)
    assert isinstance(concurrency, int)
    run = Run(shape, setting, draw, way=way, commit_every=0, concurrency=concurrency)
    return cost_on(run, GPUS[gpu], layout)


def _nemo(sequence: int, lag: int = 0) -> Draw:
    """64 prompts x 32 answers, sequences of at most 4,096 tokens, four updates; log-probs of the old policy and of the
    reference."""
    return Draw(64, 32, 100, sequence - 100, 3996, updates=4, readings=2, lag=lag)


def _ppo() -> Draw:
    """1,024 prompts of 1,024 tokens with one answer of 1,024 tokens each, eight updates."""
    return Draw(1024, 1, 1024, 1024, 1024, updates=8, readings=2)


NEMO = "NeMo RL 0.4, docs/about/performance-summary.md and its recipes (github.com/NVIDIA-NeMo/RL)"
NEMO_ASSUMED = "prompts of 100 tokens (the mean length of whole sequences is given)"
OPEN = "OpenRLHF (arXiv 2405.11143v4), tables 3 and 5"
OPEN_ASSUMED = (
    "prompts and answers of 1,024 tokens, the most in its example scripts, and a policy and a critic on the same 8 "
    "ranks, which had 4 GPUs each"
)
VERL = "verl, docs/advance/fully_async.md, colocate sync (github.com/volcengine/verl)"
VERL_ASSUMED = (
    "answers of 1,500 tokens, which are not published: with these the pass of the old policy takes on 32 GPUs about "
    "what it took (108 s, planned 100); prompts of 150 tokens"
)
OPEN_WHY = (
    "how long prompts and answers really were; four models were read at the same time on GPUs of their own; weights "
    "went to servers at 3.1 (7B) and 1.2 GB/s (70B), where the plan has 8"
)
TULU = "Ai2, allenai.org/blog/tulu-3-405B, read as others cite it"
APART = "training was tensor and pipeline parallel, for which it has FSDP2"


def runs() -> list[Published]:
    """All of them."""
    llama, qwen = Shape.of_size("8B"), _shape(QWEN3_32B)
    h100, a800 = "h100", "a800"
    return [
        Published(
            "GRPO, Llama-3.1-8B, on-policy", "16 H100",
            _plan(llama, _nemo(1060), h100, Layout(16, 16, 1, turns=True), checkpointing=True),
            {STEP: 97.7}, NEMO, NEMO_ASSUMED, APART,
        ),
        Published(
            "GRPO, Llama-3.1-8B, one step off", "8 + 8 H100",
            _plan(llama, _nemo(1129, 1), h100, Layout(8, 8, 1), checkpointing=True),
            {STEP: 74.6}, NEMO, NEMO_ASSUMED, APART,
        ),
        Published(
            "GRPO, Qwen3-32B, on-policy", "32 H100",
            _plan(qwen, _nemo(3206), h100, Layout(32, 8, 4, turns=True)),
            {STEP: 393}, NEMO, NEMO_ASSUMED, APART,
        ),
        Published(
            "GRPO, Qwen3-32B, one step off", "32 + 32 H100",
            _plan(qwen, _nemo(3207, 1), h100, Layout(32, 8, 4)),
            {STEP: 215}, NEMO, NEMO_ASSUMED, APART,
        ),
        Published(
            "GRPO, Qwen3-30B-A3B, on-policy", "32 H100",
            _plan(QWEN3_30B, _nemo(3154), h100, Layout(32, 8, 4, turns=True)),
            {STEP: 225}, NEMO, NEMO_ASSUMED,
            "of a mixture of experts, how much less of a GPU its small products reach",
        ),
        *(_verl(count, seconds) for count, seconds in ((32, 790.1), (64, 365.28), (128, 356.3))),
        Published(
            "PPO, Llama-2-7B", "4 + 8 A800",
            _plan(_shape(LLAMA_2_7B), _ppo(), a800, Layout(8, 4, 1), checkpointing=True, critic=True, concurrency=16),
            {"sampling": 262.96, "publishing": 4.32, "passes without a gradient": 32.7, "training": 171.13},
            OPEN, OPEN_ASSUMED, OPEN_WHY,
        ),
        Published(
            "PPO, Llama-2-70B", "16 + 8 A800",
            _plan(_shape(LLAMA_2_70B), _ppo(), a800, Layout(8, 4, 4), checkpointing=True, critic=True, concurrency=4),
            {"sampling": 2252.79, "publishing": 111.65, "passes without a gradient": 323.38, "training": 1800.71},
            OPEN, OPEN_ASSUMED, OPEN_WHY,
        ),
        Published(
            "RLVR, Llama-3.1-405B", "16 + 240 H100",
            _plan(_shape(LLAMA_405B), Draw(64, 1, 500, 500, 1000), h100, Layout(240, 1, 16)),
            {"publishing": 25.0}, TULU, "nothing: bytes and a rate", "they went at 32 GB/s, where it has 8",
        ),
    ]  # fmt: skip


def _verl(count: int, seconds: float) -> Published:
    """512 prompts x 16 answers of at most 28 Ki tokens in 16 updates, DAPO, without a reference."""
    draw = Draw(512, 16, 150, 1500, 28_672, updates=16, readings=1)
    plan = _plan(Shape.of_size("7B"), draw, "h20", Layout(count, count, 1, turns=True), checkpointing=True)
    why = "lengths change as a run learns, and differently in each; on 128 GPUs sampling took longer than on 64"
    return Published("DAPO, Qwen2.5-Math-7B, on-policy", f"{count} H20", plan, {STEP: seconds}, VERL, VERL_ASSUMED, why)


def table() -> str:
    """As it stands in the page."""
    lines = ["| run | GPUs | seconds of | published | planned | planned / published |", "|---|---|---|---|---|---|"]
    for run in runs():
        for part, seconds in run.seconds.items():
            planned = run.planned(part)
            cells = (run.name, run.gpus, part, _of(seconds), _of(planned), f"{planned / seconds:.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}"


def notes() -> str:
    """Sources, what they leave open, and why a plan is off."""
    lines: list[str] = []
    every = runs()
    for source in dict.fromkeys(run.source for run in every):
        those = [run for run in every if run.source == source]
        why = "; ".join(dict.fromkeys(run.why for run in those))
        lines.append(f"* {source}. Assumed: {those[0].assumed}. What the plan does not know: {why}.")
    return "\n".join(lines)


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{notes()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
