"""What a person sees while a sweep runs: a table on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from bigtrain.sweep.results import score
from bigtrain.sweep.trial import ENDED, Objective, Trial, best
from bigtrain.tracking.console import LINE_SECONDS, Console, clock

ROWS = 8  # running trials that are shown; the others are counted


class Live:
    """The trials of a sweep that is under way.

    Args:
        console: where it is shown: on stderr.
        objectives: what the sweep looks for the best of.
        total: how many trials there will be, as far as that is known.
    """

    def __init__(self, console: Console, objectives: Sequence[Objective], total: int) -> None:
        self._console, self.objectives, self._total = console, tuple(objectives), total
        self._begun = time.monotonic()
        self._last_line = self._begun - LINE_SECONDS
        self._trials: tuple[Trial, ...] = ()
        self._newest: Mapping[int, Sequence[float]] = {}
        self._before: int | None = None  # trials that had ended when this began: a sweep that is continued
        self._told = 0  # ended trials at the last line
        self._live: RichLive | None = None

    def update(self, trials: Sequence[Trial], newest: Mapping[int, Sequence[float]] = MappingProxyType({})) -> None:
        """Shows what is known of all trials now; `newest` are the objectives that running ones have logged last."""
        self._trials, self._newest = tuple(trials), newest
        if self._before is None:
            self._before = self._told = len(self._ended())
        if self._console.live:
            if self._live is None:
                self._live = RichLive(console=self._console.rich, transient=True, auto_refresh=False)
                self._live.start()
            self._live.update(self._table(), refresh=True)
        elif len(self._ended()) > self._told and time.monotonic() - self._last_line >= LINE_SECONDS:
            self._line()

    def close(self) -> None:
        """Takes the table away; what ended since the last line gets one."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._trials and len(self._ended()) > (self._before or 0):
            self._line()

    def _ended(self) -> list[Trial]:
        return [trial for trial in self._trials if trial.state in ENDED]

    def _line(self) -> None:
        if len(self._ended()) == self._told and not self._console.live:
            return
        self._last_line, self._told = time.monotonic(), len(self._ended())
        self._console.say("  ".join(part for part in (self._counts(), self._best(), self._left()) if part))

    def _table(self) -> RenderableType:
        running = [trial for trial in self._trials if trial.state == "running"]
        table = Table.grid(padding=(0, 2, 0, 0))
        for trial in running[:ROWS]:
            table.add_row(f"trial {trial.number}", Text(_progress(trial)), Text(self._scores(trial)), _values(trial))
        parts: list[RenderableType] = [_whole(self._counts() + (f"  {left}" if (left := self._left()) else ""), "bold")]
        parts += [_whole(found, "green")] if (found := self._best()) else []
        parts += [table] if running else []
        parts += [Text(f"and {len(running) - ROWS} more running", style="dim")] if len(running) > ROWS else []
        return Group(*parts)

    def _counts(self) -> str:
        counts = Counter(trial.shown for trial in self._trials)
        others = ", ".join(
            f"{counts[state]} {state}" for state in ("running", "resting", "pruned", "failed") if counts[state]
        )
        return f"{counts['done']}/{max(self._total, len(self._trials))} done" + (f", {others}" if others else "")

    def _best(self) -> str:
        """The best so far and its values."""
        found = best([trial for trial in self._trials if score(trial) is not None], self.objectives[0])
        if found is None:
            return ""
        return f"best: trial {found.number}  {self._scores(found)}  {_values(found).plain}"

    def _scores(self, trial: Trial) -> str:
        last = self._newest.get(trial.number, trial.last) if trial.state == "running" else trial.last
        if last is None:
            return ""
        named = zip(self.objectives, last, strict=True)
        return "  ".join(f"{objective.name} {value:.4g}" for objective, value in named)

    def _left(self) -> str:
        """The time that is left, if the trials to come take as long as those that ended since this began."""
        ended = len(self._ended())
        since, left = ended - (self._before or 0), max(self._total, len(self._trials)) - ended
        return f"ETA {clock((time.monotonic() - self._begun) / since * left)}" if since and left else ""


def _progress(trial: Trial) -> str:
    """How far a trial is: its steps, and the share of them where it was last measured."""
    share = f" ({max(trial.scores):.0%})" if trial.scores else ""
    return f"step {trial.steps:,}{share}"


def _values(trial: Trial) -> Text:
    text = "  ".join(f"{key}={value}" for key, value in trial.values.items())
    return _whole(text, "dim")


def _whole(text: str, style: str) -> Text:
    """A line that is cut where the terminal ends, not continued on the next."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
