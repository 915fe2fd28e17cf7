"""The terminal view of a run. It only reads events; without a terminal it prints a line per step."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from postlude.errors import printable, visible
from postlude.runs.events import (
    End,
    Event,
    Figures,
    Finished,
    Note,
    Opened,
    Phase,
    Progress,
    Said,
    Step,
    Stopping,
    Timed,
    Used,
    Waiting,
)
from postlude.runs.figures import Figure, lookup
from postlude.runs.figures.truth import is_headline
from postlude.words import counted

_BARS = "▁▂▃▄▅▆▇█"

_HELD_OUT = ("greedy/accuracy", "sampled/accuracy", "sampled/length")
_RANKS = ("ranks/imbalance", "seconds/restart")
_LOSSES = ("loss/pairs", "loss/points", "loss/lists", "loss/steps")
ROWS: dict[str, tuple[str, ...]] = {
    "rollout": (
        "reward/mean", "sampled_accuracy", "greedy/accuracy", "sampled/accuracy", "completion_length/mean",
        "truncated_frac", "entropy", "kl_old/k3", "kl_ref/k3", "kl_coef", "value/explained_variance", "rewards/margin",
        "pretrain/loss/policy", "pretrain/held_out/loss/policy", "frac_zero_std_groups", "grad_norm", "lag/mean",
        "lag/max", "seconds/wait", "seconds/publish", *_RANKS,
    ),
    "file": ("loss/policy", "entropy", "held_out/loss/policy", *_HELD_OUT, "grad_norm", *_RANKS),
    "preference": (
        *_LOSSES, "rewards/accuracy", "rewards/margin", "rewards/chosen", "rewards/rejected",
        *(f"held_out/{name}" for name in (*_LOSSES, "rewards/accuracy")), *_HELD_OUT, "grad_norm", *_RANKS,
    ),
}  # fmt: skip
"""Source -> the figures that are shown of it. Policy-gradient losses are not: their value means nothing."""

PHASES = {
    "compare": "reading what it is made of",
    "load": "loading",
    "servers": "starting servers",
    "sample": "sampling",
    "score": "scoring",
    "train": "training",
    "publish": "publishing",
    "evaluate": "evaluating",
    "save": "saving",
}

ENDS = {"done": "done", "interrupted": "stopped", "error": "failed"}
"""Why a run ends -> the same in a word."""

_OFTEN_ZERO = ("kl_", "lag/", "seconds/restart")
"""Figures that are not shown while they are 0: one update per draw, max_lag 0, no rank lost."""


def known(name: str) -> Figure:
    """The entry of a figure that `ROWS` lists."""
    figure = lookup(name)
    assert figure is not None, name
    return figure


MOST_TRUTHS = 12
"""Rows of truth that are shown; what is logged is all in events.jsonl."""


def truths(names: Iterable[str]) -> list[str]:
    """Those of the figures that say what a metric says of a held-out set, and how far the reward parted from it."""
    return [name for name in names if is_headline(name)][:MOST_TRUTHS]


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


def measured(name: str, value: float) -> str:
    """A figure with its unit: `0.18 s`."""
    return f"{value:.2f} s" if name.startswith("seconds/") else shown(value)


def duration(seconds: float) -> str:
    """12s, 3m05s, 2h10m."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


class LiveView:
    """A listener that draws the run; use as a context manager. `unsaid`: codes of notes that its owner says itself."""

    def __init__(self, console: Console, title: str = "", unsaid: Collection[str] = ()) -> None:
        self.console, self.title, self.unsaid = console, title, unsaid
        self.history: dict[str, list[float]] = {}
        self.opened: Opened | None = None
        self.phase, self.progress, self.note = "load", "", ""
        self._stopping = ""
        """The note that it is about to stop, which holds until it has."""
        self.step, self.first = 0, 0
        self._began = time.monotonic()
        self._steps_began = self._began
        self._ended: list[float] = []
        """When each step did, by a clock that stands while ranks are started again."""
        self._restarting = 0.0
        """Seconds so far."""
        self._used: list[tuple[float, float]] = []
        """(when, share of the budget that was used by then), of a run that has one."""
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
                self._ended, self._restarting = [], 0.0
                self._say(self._headline(event))
            case Used():
                self._used.append((time.monotonic(), event.share))
            case Phase():
                self.phase, self.progress = event.phase, ""
            case Progress() | Waiting():
                self.progress = event.text
            case Figures():
                for name, value in event.figures.items():
                    self.history.setdefault(name, []).append(value)
                if isinstance(event, Step):
                    self._ended.append(time.monotonic() - self._restarting)
                self._say(self._line(event))
            case Timed():
                self._restarting += event.seconds.get("restart", 0.0)
                if self._ended:  # the step's weights are published now, too
                    self._ended[-1] = time.monotonic() - self._restarting
                for name, value in event.seconds.items():
                    self.history.setdefault(f"seconds/{name}", []).append(value)
                spent = {name: value for name, value in event.seconds.items() if value or name != "restart"}
                shown_of = [(lookup(f"seconds/{name}"), value) for name, value in spent.items()]
                self._say("  seconds: " + ", ".join(f"{one.label} {value:.2f} s" for one, value in shown_of if one))
            case Said():  # above the drawing, too: it stands nowhere else
                self.console.print(f"  {event.text}", soft_wrap=True)
            case Note() if event.code not in self.unsaid:
                self.note = visible(event.text)
                self._say(f"  note: {self.note}")
            case Stopping():
                again = f"A second {event.by}" if event.by else "Ctrl-C"
                self.note = f"finishing this step, then saving. {again} stops at once."
                self._stopping = self.note
                self._say(self.note)
            case Finished():
                self._say(f"already finished: {_steps_done(event)}.")
            case End():
                self.phase, self.progress = ENDS[event.reason], ""
                self.note = "" if self.note == self._stopping else self.note
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
            + "".join(f"\n{line}" for line in [*([engine["topology"]] if engine.get("topology") else []), *start.data])
            + (f"\n{engine['memory']}" if engine.get("memory") else _memory(engine.get("memory_mb", {})))
            + (f"\nnote: {engine['warning']}" if engine.get("warning") else "")
            + (f"\nnote: {engine['slow']}" if engine.get("slow") else "")
        )

    def _line(self, event: Figures) -> str:
        rows = [*ROWS[self.opened.source if self.opened else "rollout"], *truths(event.figures)]
        there = [
            name for name in rows if name in event.figures and (event.figures[name] or not name.startswith("lag/"))
        ]
        parts = [f"{known(name).label} {measured(name, event.figures[name])}" for name in there]
        parts = parts or [f"{name} {shown(value)}" for name, value in event.figures.items()]
        steps = self.opened.start.steps if self.opened else "?"
        return f"{event.kind} {event.step}/{steps}  " + "  ".join(parts)

    # ---------------------------------------------------------------------------------------------- drawing

    def __rich__(self) -> RenderableType:
        if self.opened is None:
            doing = self.progress or ("" if self._over else f"{PHASES.get(self.phase, self.phase)} ...")
            line = Text(f"{self.title} {doing}".strip(), style="dim")
            line.truncate(self.console.width, overflow="ellipsis")
            return line
        steps = self.opened.start.steps
        parts: list[RenderableType] = [Text(self._headline(self.opened), style="dim"), Text("")]
        bar = Table.grid(padding=(0, 1))
        doing = PHASES.get(self.phase, self.phase) + (f": {self.progress}" if self.progress else "")
        bar.add_row(
            Text(self._place(steps), style="bold"),
            ProgressBar(total=1, completed=max(self.step / steps, self._share), width=28),
            Text(self._left(steps)),
            Text("" if self._over else doing, style="cyan"),  # its end is said with the time it took
        )
        parts += [bar, Text("")]
        table = Table.grid(padding=(0, 2))
        for name in [*ROWS[self.opened.source], *truths(self.history)]:
            values, figure = self.history.get(name), known(name)
            always_zero = name.startswith(_OFTEN_ZERO) and not any(values or ())
            if values and not always_zero:
                held_out = figure.label.startswith("held-out") or name.startswith("truth/")
                style = "bold green" if held_out else "bold"
                table.add_row(
                    figure.label,
                    Text(measured(name, values[-1]), style=style),
                    Text(sparkline(values), style="blue"),
                    Text(figure.meaning, style="dim"),
                )
        parts.append(table)
        if self.note:
            parts += [Text(""), Text(self.note, style="yellow")]
        title = Text(printable(self.title or f"postlude {self.opened.start.method}"))
        return Panel(Group(*parts), title=title, title_align="left", border_style="dim")

    @property
    def _over(self) -> bool:
        return self.phase in ENDS.values()

    @property
    def _share(self) -> float:
        return self._used[-1][1] if self._used else 0.0

    def _place(self, steps: int) -> str:
        """How far the run is: of a budget, where that ends it before its steps do."""
        ends_earlier = self._share > self.step / steps
        return f"step {self.step}, {self._share:.0%} of its budget" if ends_earlier else f"step {self.step}/{steps}"

    def _left(self, steps: int) -> str:
        spent = time.monotonic() - self._steps_began
        if self._over:
            return f"{self.phase} in {duration(time.monotonic() - self._began)}"
        if not self._ended:
            return f"{duration(spent)} so far"
        at_most = "at most " if self.opened and self.opened.stop_at is not None else ""
        left = self._each * (steps - self.step)
        if len(self._used) > 1:  # from the first step seen on: a resumed run had used some before
            (since, before), (now, share) = self._used[0], self._used[-1]
            left = min(left, (now - since) / max(share - before, 1e-9) * max(1 - share, 0.0))
        return f"{at_most}{duration(left)} left"

    @property
    def _each(self) -> float:
        """Seconds of a step: of those after the first, which has what is done but once, as soon as there are any."""
        first, last = self._ended[0], self._ended[-1]
        return (last - first) / (len(self._ended) - 1) if len(self._ended) > 1 else first - self._steps_began


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


def _steps_done(event: Finished) -> str:
    """How far a run had come that is taken up with fewer steps than it has, or as many."""
    if event.step > event.steps:
        return f"{counted(event.step, 'step')}, and steps={event.steps} asks for fewer."
    return f"{event.step} of {counted(event.steps, 'step')}."
