"""Runs found in a folder, read as a stranger's files: nothing in them is expanded or built, and no file is read whole.

What can't be read is no error here: the run is listed as broken, with the reason.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bigtrain.config import untrusted
from bigtrain.config.errors import InputError, nearest
from bigtrain.run.directory import ADOPTED, saved_steps

CONFIG_BYTES, RESULT_BYTES, TAIL_BYTES = 256_000, 1_000_000, 256_000  # of metrics.jsonl the end is enough
DEPTH, FOLDERS, RUNS = 6, 100_000, 10_000  # how far a search goes
_INSIDE = ("checkpoints", "samples", "answers", "tensorboard", "profile", "logs", "export")
"""Folders of a run that hold no runs."""


@dataclass(frozen=True)
class FoundRun:
    """What a run directory says of itself.

    Args:
        path: the run directory.
        config: its config by dotted key; lists are values.
        overrides: what was typed; None where that isn't known.
        finished: whether its final scores are written down.
        step: how far it came.
        steps: how far it is to go, as the config says it: a number, or a duration such as `10epochs`.
        scores: `split/metric` of the final evaluation; of an unfinished run, of its last one.
        changed: when it last wrote something, in seconds since 1970.
        broken: why it can't be read; then the rest says nothing.
        parent: the run whose state it began with, of a copy of population-based training; else empty.
    """

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] | None = None
    finished: bool = False
    step: int = 0
    steps: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    changed: float = 0.0
    broken: str | None = None
    parent: str = ""

    @property
    def monitor(self) -> str:
        """The metric of the validation split that its own config calls decisive."""
        return f"validation/{self.config.get('checkpoint.monitor', 'loss')}"


def find(root: Path) -> list[FoundRun]:
    """All runs in a folder and below it, numbered ones in the order of their numbers."""
    if not root.is_dir():
        near = nearest(root.name, [entry.name for entry in root.parent.glob("*/")])
        hint = f"did you mean {str(root.with_name(near[0]))!r}?" if near else "name the folder: bigtrain runs DIR"
        raise InputError(f"{str(root)!r}: {'is a file' if root.exists() else 'there is no such folder'}\n  {hint}")
    return [read(folder) for folder in sorted(_folders(root), key=_natural)]


def read(folder: Path) -> FoundRun:
    """One run directory; never an error."""
    try:
        return _read(folder)
    except RecursionError:
        return FoundRun(folder, broken="config.yaml or result.json is nested too deep")
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = (getattr(error, "strerror", None) or " ".join(str(error).split()))[:200]
        return FoundRun(folder, broken=reason)


def _read(folder: Path) -> FoundRun:
    config = _config(folder / "config.yaml")
    overrides, adopted = _json(folder / "overrides.json", None), _json(folder / ADOPTED, {})
    result = _json(folder / "result.json", None)
    if result is not None and not isinstance(result, dict):
        raise ValueError("result.json: is no result")
    lines = _last_lines(folder / "metrics.jsonl")
    scores = _finite(result) if result is not None else _last_scores(lines) | _saved_scores(folder, lines)
    reached = [line["step"] for line in lines[-1:]] + saved_steps(folder / "checkpoints")[-1:]
    step = result.get("steps") if result is not None else max(reached, default=0)
    names = ("result.json", "metrics.jsonl", "config.yaml")
    return FoundRun(
        folder,
        config,
        tuple(map(str, overrides)) if isinstance(overrides, list) else None,
        result is not None,
        step if isinstance(step, int) else 0,
        str(config.get("steps", "")),
        scores,
        max((folder / name).stat().st_mtime for name in names if (folder / name).is_file()),
        parent=str(adopted.get("run", ""))[:200] if isinstance(adopted, dict) else "",
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        found = untrusted.plain_yaml(_text(path, CONFIG_BYTES))
    except (yaml.YAMLError, ValueError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"config.yaml: can't be read: {where}{problem}") from error
    if not isinstance(found, dict) or not {"seed", "steps", "model"} <= set(found):
        raise ValueError("config.yaml: is no config of a run")
    return dict(_flat(found))


def _flat(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value if isinstance(value, (str, int, float, bool, type(None))) else _listed(value)


def _listed(value: Any) -> str:
    """A list, or an empty table, as it would be typed; as much of it as a person would read."""
    if isinstance(value, list):
        plain = [str(item) if isinstance(item, (str, int, float, bool)) else "…" for item in value[:50]]
        return f"[{','.join(plain)}{',…' if len(value) > 50 else ''}]"
    return str(value)[:200] if not isinstance(value, (dict, set, tuple)) else "{}"


def _json(path: Path, absent: Any) -> Any:
    if not path.is_file():
        return absent
    try:
        return json.loads(_text(path, RESULT_BYTES))
    except ValueError as error:
        raise ValueError(f"{path.name}: can't be read: {error}") from error


def _text(path: Path, most: int) -> str:
    if path.is_symlink() or not path.is_file():  # a link may lead anywhere, and a pipe would wait for ever
        raise ValueError("is a link" if path.is_symlink() else "is no file")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"is larger than {most:,} bytes")
    return content.decode("utf-8")


def _last_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines at the end of a metrics.jsonl, oldest first."""
    if not path.is_file() or path.is_symlink():
        return []
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - TAIL_BYTES, 0))
        texts = file.read(TAIL_BYTES).decode("utf-8", errors="replace").splitlines()
    found = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue  # the first may be cut by us, the last by a crash
        if isinstance(line, dict) and type(line.get("step")) is int:
            found.append(line)
    return found


def _last_scores(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The last value of each metric of the validation split."""
    found: dict[str, float] = {}
    for line in lines:
        found |= {
            name: float(value) for name, value in line.items() if name.startswith("validation/") and _number(value)
        }
    return found


def _saved_scores(folder: Path, lines: list[dict[str, Any]]) -> dict[str, float]:
    """The validation scores that the newest checkpoint has, where none were logged since: those of a run that rests."""
    steps = saved_steps(folder / "checkpoints")
    scored = [line["step"] for line in lines if any(name.startswith("validation/") for name in line)]
    if not steps or steps[-1] <= max(scored, default=0):
        return {}
    meta = _json(folder / "checkpoints" / f"{steps[-1]:09d}" / "meta.json", {})
    scores = meta.get("scores") if isinstance(meta, dict) else None
    return _finite({"validation": scores}) if isinstance(scores, dict) else {}


def _finite(result: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a result by `split/metric`, and its parameters and seconds."""
    found: dict[str, float] = {}
    for split in ("validation", "test"):
        scores = result.get(split)
        if isinstance(scores, dict):
            found |= {f"{split}/{name}": float(value) for name, value in scores.items() if _number(value)}
    return found | {name: float(result[name]) for name in ("parameters", "seconds") if _number(result.get(name))}


def _number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _folders(root: Path) -> Iterator[Path]:
    """Folders that hold a config.yaml, not through links, and not in the hidden ones."""
    waiting, seen, found = [(root, 0)], 0, 0
    while waiting:
        folder, depth = waiting.pop()
        seen += 1
        if seen > FOLDERS or found > RUNS:
            limits = f"more than {RUNS:,} runs, or {FOLDERS:,} folders"
            raise InputError(f"{str(root)!r}: holds {limits}\n  name a folder inside it")
        own: tuple[str, ...] = ()
        if (folder / "config.yaml").exists():
            found, own = found + 1, _INSIDE
            yield folder
        if depth == DEPTH:
            continue
        try:
            inside = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # somebody else's
        waiting += [
            (folder / entry.name, depth + 1)
            for entry in inside
            if not entry.name.startswith(".") and entry.name not in own
        ]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """`2` before `10`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() and len(part) < 20 else (1, 0, part) for part in parts]
