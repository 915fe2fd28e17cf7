"""The terminal view of a run. It only reads events; without a terminal it prints a line per step."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from postlude.errors import printable, visible
from postlude.runs.events import End, Event, Figures, Finished, Note, Opened, Phase, Progress, Said, Stopping
from postlude.words import counted

_BARS = "▁▂▃▄▅▆▇█"

ROWS = {
    "rollout": (
        ("reward", "reward/mean", "mean of the step, after shaping"),
        ("accuracy", "sampled_accuracy", "share of sampled answers that are right"),
        ("held-out greedy", "greedy/accuracy", "most likely answer"),
        ("held-out sampled", "sampled/accuracy", "at the training temperature"),
        ("length", "completion_length/mean", "tokens"),
        ("cut off", "truncated_frac", "share that hit the length limit"),
        ("entropy", "entropy", "nats per token; near 0 means no exploration left"),
        ("KL to old", "kl_old/k3", "nats per token moved since sampling"),
        ("KL to start", "kl_ref/k3", "nats per token from the reference"),
        ("KL coefficient", "kl_coef", "as the controller sets it"),
        ("critic", "value/explained_variance", "share of the returns' variance that the values explain; 1 is all"),
        ("margin", "rewards/margin", "implicit reward of the better answer minus the worse one's"),
        ("text loss", "pretrain/loss/policy", "nats per token of the text mixed in"),
        ("held-out text", "pretrain/held_out/loss/policy", "nats per token; what it rises by is the alignment tax"),
        ("useless groups", "frac_zero_std_groups", "all answers equally good: no signal"),
        ("gradient", "grad_norm", "norm before clipping"),
    ),
    "file": (
        ("loss", "loss/policy", "nats per token"),
        ("entropy", "entropy", "nats per token"),
        ("held-out greedy", "greedy/accuracy", "most likely answer"),
        ("held-out loss", "held_out/loss/policy", "nats per token"),
        ("held-out sampled", "sampled/accuracy", "at temperature 1"),
        ("held-out length", "sampled/length", "tokens"),
        ("gradient", "grad_norm", "norm before clipping"),
    ),
    "preference": (
        ("loss", "loss/pairs", "mean over pairs"),
        ("loss", "loss/points", "mean over answers"),
        ("loss", "loss/lists", "mean over lists"),
        ("loss", "loss/steps", "mean over labelled steps"),
        ("accuracy", "rewards/accuracy", "pairs in which the preferred answer scores higher"),
        ("margin", "rewards/margin", "score of the preferred answer minus the other's"),
        ("chosen", "rewards/chosen", "score of the preferred answer; below 0 it became less likely"),
        ("rejected", "rewards/rejected", "score of the other"),
        ("held-out loss", "held_out/loss/pairs", "same, on held-out rows"),
        ("held-out loss", "held_out/loss/points", "same, on held-out rows"),
        ("held-out loss", "held_out/loss/lists", "same, on held-out rows"),
        ("held-out loss", "held_out/loss/steps", "same, on held-out rows"),
        ("held-out accuracy", "held_out/rewards/accuracy", "same, on held-out rows"),
        ("held-out greedy", "greedy/accuracy", "most likely answer"),
        ("held-out sampled", "sampled/accuracy", "at temperature 1"),
        ("held-out length", "sampled/length", "tokens"),
        ("gradient", "grad_norm", "norm before clipping"),
    ),
}
"""Source -> (label, event field, what it means). Policy-gradient losses are not shown: their value means nothing."""

PHASES = {
    "load": "loading",
    "sample": "sampling",
    "score": "scoring",
    "train": "training",
    "evaluate": "evaluating",
    "save": "saving",
}


def sparkline(values: list[float], width: int = 24) -> str:
    """The last `width` values as bars between their own minimum and maximum."""
    values = values[-width:]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[min(int((v - low) / span * len(_BARS)), len(_BARS) - 1)] for v in values)


def shown(value: float) -> str:
    """A number in at most seven characters."""
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1e}"


def duration(seconds: float) -> str:
    """12s, 3m05s, 2h10m."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


class LiveView:
    """A listener that draws the run; use as a context manager."""

    def __init__(self, console: Console, title: str = "") -> None:
        self.console, self.title = console, title
        self.history: dict[str, list[float]] = {}
        self.opened: Opened | None = None
        self.phase, self.progress, self.note = "load", "", ""
        self.step, self.first = 0, 0
        self._began = time.monotonic()
        self._steps_began = self._began
        self._live = Live(self, console=console, refresh_per_second=4, transient=False) if console.is_terminal else None

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.refresh()
            self._live.stop()

    # -------------------------------------------------------------------------------------------- listening

    def __call__(self, event: Event) -> None:
        self.step = max(self.step, event.step)
        match event:
            case Opened():
                self.opened, self.first = event, event.step
                self._steps_began = time.monotonic()
                self._say(self._headline(event))
            case Phase():
                self.phase, self.progress = event.phase, ""
            case Progress():
                self.progress = event.text
            case Figures():
                for name, value in event.figures.items():
                    self.history.setdefault(name, []).append(value)
                self._say(self._line(event))
            case Said():
                self._say(f"  {event.text}")
            case Note():
                self.note = visible(event.text)
                self._say(f"  note: {self.note}")
            case Stopping():
                self.note = "finishing this step, then saving. Ctrl-C stops at once."
                self._say(self.note)
            case Finished():
                self._say(f"already finished: {event.step} of {counted(event.steps, 'step')}.")
            case End():
                self.phase, self.progress = "done" if event.reason == "done" else "stopped", ""
            case _:
                pass

    def _say(self, text: str) -> None:
        """One plain line, where there is no terminal to draw on."""
        if self._live is None:
            self.console.print(text, soft_wrap=True)

    def _headline(self, opened: Opened) -> str:
        start, engine = opened.start, opened.start.engine
        size = engine["parameters"]
        count = f"{size / 1e9:.2f} B" if size >= 1e9 else f"{size / 1e6:.2f} M"
        trained = "" if engine["trainable"] == size else f" ({engine['trainable'] / 1e6:.2f} M trained)"
        why = f" ({engine['path_reason']})" if engine["path_reason"] else ""
        return (
            f"{start.method}: {engine['architecture']} {count}{trained}, {engine['device']} {engine['dtype']}, "
            f"{engine['path']} path{why}\n{start.sizes}, lr {opened.lr:g} -> {opened.folder}"
            + "".join(f"\n{line}" for line in start.data)
            + (f"\n{engine['memory']}" if engine.get("memory") else _memory(engine.get("memory_mb", {})))
            + (f"\nnote: {engine['warning']}" if engine.get("warning") else "")
            + (f"\nnote: {engine['slow']}" if engine.get("slow") else "")
        )

    def _line(self, event: Figures) -> str:
        rows = ROWS[self.opened.source if self.opened else "rollout"]
        parts = [f"{label} {shown(event.figures[name])}" for label, name, _ in rows if name in event.figures]
        parts = parts or [f"{name} {shown(value)}" for name, value in event.figures.items()]
        steps = self.opened.start.steps if self.opened else "?"
        return f"{event.kind} {event.step}/{steps}  " + "  ".join(parts)

    # ---------------------------------------------------------------------------------------------- drawing

    def __rich__(self) -> RenderableType:
        if self.opened is None:
            return Text(f"{self.title} {PHASES.get(self.phase, self.phase)} ...", style="dim")
        steps = self.opened.start.steps
        parts: list[RenderableType] = [Text(self._headline(self.opened), style="dim"), Text("")]
        bar = Table.grid(padding=(0, 1))
        over = self.phase in ("done", "stopped")  # said with the time it took
        doing = PHASES.get(self.phase, self.phase) + (f": {self.progress}" if self.progress else "")
        bar.add_row(
            Text(f"step {self.step}/{steps}", style="bold"),
            ProgressBar(total=steps, completed=self.step, width=28),
            Text(self._left(steps)),
            Text("" if over else doing, style="cyan"),
        )
        parts += [bar, Text("")]
        table = Table.grid(padding=(0, 2))
        for label, name, meaning in ROWS[self.opened.source]:
            values = self.history.get(name)
            always_zero = name.startswith("kl_") and not any(values or ())  # one update per draw: nothing moved
            if values and not always_zero:
                style = "bold green" if label.startswith("held-out") else "bold"
                table.add_row(
                    label,
                    Text(shown(values[-1]), style=style),
                    Text(sparkline(values), style="blue"),
                    Text(meaning, style="dim"),
                )
        parts.append(table)
        if self.note:
            parts += [Text(""), Text(self.note, style="yellow")]
        title = Text(printable(self.title or f"postlude {self.opened.start.method}"))
        return Panel(Group(*parts), title=title, title_align="left", border_style="dim")

    def _left(self, steps: int) -> str:
        done = self.step - self.first
        spent = time.monotonic() - self._steps_began
        if self.phase in ("done", "stopped"):
            return f"{self.phase} in {duration(time.monotonic() - self._began)}"
        if not done:
            return f"{duration(spent)} so far"
        at_most = "at most " if self.opened and self.opened.stop_at is not None else ""
        return f"{at_most}{duration(spent / done * (steps - self.step))} left"


def _memory(parts: Mapping[str, float]) -> str:
    """What is held for the length of the run, largest first; activations and caches come on top."""
    if not parts:
        return ""
    unit, scale = ("GB", 1000) if sum(parts.values()) >= 1000 else ("MB", 1)
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {size / scale:.1f}" for name, size in ordered)
    return (
        f"\nmemory for parameters: {sum(parts.values()) / scale:.1f} {unit} ({listed}), activations and caches on top"
    )
