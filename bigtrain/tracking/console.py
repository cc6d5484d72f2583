"""What a person sees while a run goes on: on stderr, a progress bar on a terminal and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from bigtrain.config.errors import harmless
from bigtrain.config.secrets import hidden

LINE_SECONDS = 5.0  # off a terminal, at most one progress line in so many seconds


class Console:
    """The terminal of a run; also a `Logger`, since it shows the newest metrics."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.rich = RichConsole(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
        self.live = self.rich.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._latest: dict[str, float] = {}
        self._range, self._begun, self._last_line = (0, 0), 0.0, 0.0

    def say(self, text: str = "", style: str = "") -> None:
        """One line; a terminal that is gone ends no run."""
        try:
            self.rich.print(Text(harmless(hidden(text)), style=style))
        except OSError:
            self.rich.quiet, self.live = True, False

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Named facts, aligned."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.rich.print(Text.assemble((f"{name:<{width}}  ", "bold cyan"), harmless(hidden(value))))

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """A spinner on a terminal while the block runs; nothing elsewhere."""
        if not self.live:
            yield
            return
        with self.rich.status(f"{what} …"):
            yield

    def begin(self, start: int, steps: int) -> None:
        """Shows the progress from step `start` to step `steps`."""
        self._range, self._begun, self._last_line = (start, steps), time.monotonic(), time.monotonic()
        if self.live:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[status]}"))
            self._bar = Progress(*columns, console=self.rich, transient=True)
            self._task = self._bar.add_task("training", total=steps, completed=start, status="")
            self._bar.start()

    def advance(self, step: int) -> None:
        """The run has come to `step`."""
        if self._bar is not None and self.live:
            self._bar.update(self._task, completed=step, status=f"{step:,}/{self._range[1]:,} {self._status(step)}")
        elif time.monotonic() - self._last_line > LINE_SECONDS and self._latest:
            self._line(step)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Takes the newest metrics; an evaluation gets a line of its own."""
        self._latest.update(scalars)
        validation = {name: value for name, value in scalars.items() if name.startswith("validation/")}
        if validation:
            train = self._latest.get("train/loss")
            head = f"step {step:>{len(f'{self._range[1]:,}')},}  "
            head += f"train loss {train:.4g}  " if train is not None else ""
            self.say(head + "  ".join(f"{name.replace('/', ' ')} {value:.4g}" for name, value in validation.items()))
            self._last_line = time.monotonic()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()
            self._bar = None

    def _line(self, step: int) -> None:
        self._last_line = time.monotonic()
        self.say(f"step {step:,}/{self._range[1]:,}  {self._status(step)}")

    def _status(self, step: int) -> str:
        start, steps = self._range
        elapsed = time.monotonic() - self._begun
        left = elapsed / max(step - start, 1) * (steps - step)
        loss = self._latest.get("train/loss")
        rate = self._latest.get("examples_per_second")
        parts = [f"loss {loss:.4g}" if loss is not None else "", f"{rate:,.0f} examples/s" if rate else ""]
        return "  ".join([part for part in parts if part] + [f"ETA {clock(left)}"])


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
