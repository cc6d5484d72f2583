"""Writes what was measured: a page of Markdown tables, and everything as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import ratios
from bench.catalog import OTHERS, SIDES, WORKLOADS, Workload, goal
from bench.measure import Entry, Settings, compared, shown

Measured = dict[str, dict[str, Entry]]  # workload -> side -> entry


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(workloads: Sequence[Workload], measured: Measured, about: dict[str, Any], settings: Settings) -> str:
    """All tables of a run."""
    parts = [
        "# bigtrain beside others",
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items() if value not in (None, "")),
        f"- {settings.rounds} rounds, {settings.seconds:g} s a timing of the fastest side, sides in random order",
        "## Time of bigtrain / time of the other",
        "Median of the rounds' ratios (quartiles). Below 1, bigtrain is faster; ✓ and ✗ tell whether the goal is met.",
        overview(measured),
        *(details(workload, measured[workload.name], settings) for workload in workloads),
    ]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ", 1) + "\n"


def overview(measured: Measured) -> str:
    """One row a side, one column a workload."""
    every = {workload: compared(entries) for workload, entries in measured.items()}
    variants = [name for entries in measured.values() for name in entries if name.startswith("bigtrain-")]
    order = [*OTHERS, "torch-best", *dict.fromkeys(variants)]
    rows = []
    for side in order:
        cells = [_cell(side, workload, every[workload], measured[workload]) for workload in measured]
        if any(cells):
            title = SIDES[side].title if side in SIDES else side.replace("torch-best", "PyTorch, its best form")
            rows.append([title, *cells])
    return table(["", *measured], rows)


def _cell(side: str, workload: str, found: dict[str, ratios.Spread], entries: dict[str, Entry]) -> str:
    if side not in found:
        return "failed" if side in entries and entries[side].failure else ""
    spread, wanted = found[side], goal(side, workload)
    mark = "" if wanted is None else f" {'✓' if spread.median <= wanted else '✗'} ≤ {wanted:.2f}"
    return f"**{spread.median:.3f}** ({spread.low:.3f} to {spread.high:.3f}){mark}"


def details(workload: Workload, entries: dict[str, Entry], settings: Settings) -> str:
    """One workload: time, loss, memory of each side."""
    losses = {name: entry.loss for name, entry in entries.items() if entry.loss is not None}
    off = ratios.far(losses, settings.tolerance)
    rows = []
    for name, entry in entries.items():
        if not entry.seconds_a_step:
            rows.append([entry.side.title, f"failed: {entry.failure}", *[""] * 5])
            continue
        spread = ratios.Spread.of(entry.seconds_a_step)
        loss = "" if entry.loss is None else f"{entry.loss:.4g}{' ✗ far from the others' if name in off else ''}"
        took = f"{shown(spread.median)} ({shown(spread.low)} to {shown(spread.high)})"
        peak = f"{(entry.peak_bytes or 0) / 1e6:,.0f}"
        rows.append(
            [entry.side.title, took, f"{entry.steps:,}", loss, _parameters(entry, entries), peak, _facts(entry)]
        )
    compared = f"loss of steps {workload.loss_steps - workload.tail + 1} to {workload.loss_steps}"
    head = ["", "a step: median (quartiles)", "steps a timing", compared, "parameters", "peak MB", "how"]
    return f"## {workload.name}: {workload.title}\n\n{table(head, rows)}"


def _parameters(entry: Entry, entries: dict[str, Entry]) -> str:
    """How many numbers are trained; marked where they are not as many as bigtrain's."""
    count = entry.facts.get("parameters")
    ours = next(iter(entries.values())).facts.get("parameters")
    return "" if count is None else f"{count:,}{'' if ours in (None, count) else ' ✗ not as many'}"


def _facts(entry: Entry) -> str:
    kept = {name: value for name, value in entry.facts.items() if name not in ("config", "device", "parameters")}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in kept.items())


def as_json(measured: Measured, about: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Everything, with every single timing."""
    found: dict[str, Any] = {"about": about, "settings": dataclasses.asdict(settings), "workloads": {}}
    for workload, entries in measured.items():
        spreads = compared(entries)
        found["workloads"][workload] = {
            "title": WORKLOADS[workload].title,
            "sides": {
                name: {k: v for k, v in dataclasses.asdict(entry).items() if k != "side"} | {"side": entry.side.title}
                for name, entry in entries.items()
            },
            "ratios": {
                name: {**dataclasses.asdict(spread), "goal": goal(name, workload)} for name, spread in spreads.items()
            },
        }
    return found


def write(folder: Path, stem: str, markdown: str, data: dict[str, Any]) -> Path:
    """Both files; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    target = folder / f"{stem}.md"
    target.write_text(markdown, encoding="utf-8")
    return target
