"""Checkpoints: the training state on disk, saved by Orbax in the background, restored onto any mesh.

Each checkpoint is `checkpoints/<step>/` (Orbax's arrays, committed by a rename) and `checkpoints/<step>.json` (what
belongs to it and is no array). The JSON is written first, so a checkpoint exists exactly when its folder does.

Of several processes, each writes the parts of arrays that it holds. What is on the disk is looked up by process 0 and
told to the others: a disk that hosts share may show a new file to one before it shows it to another.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bigtrain.config.errors import InputError, RunError
from bigtrain.config.schema import CheckpointConfig
from bigtrain.parallel import distributed
from bigtrain.run.directory import saved_steps
from bigtrain.run.monitor import mode_of

_ORBAX = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Best:
    """The best checkpoint so far and its score."""

    step: int
    score: float


class Checkpoints:
    """The checkpoints of one run: saves, keeps the best ∪ the last few, restores."""

    def __init__(self, directory: Path, cfg: CheckpointConfig | None = None) -> None:
        self.directory, self.cfg = directory, cfg or CheckpointConfig()
        self._saver: Any = None
        self._saving: int | None = None  # the last step that was given to be saved

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        return distributed.current().shared("steps", self.complete)

    def complete(self) -> list[int]:
        """The same, as this process sees the disk."""
        return saved_steps(self.directory)

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved beside the arrays: validation scores, and the log window in flight."""
        return distributed.current().shared("meta", lambda: self._read(step))

    def _read(self, step: int) -> dict[str, Any]:
        try:
            found = json.loads(self._meta_path(step).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self._meta_path(step)}: can't be read: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self._meta_path(step)}: is no checkpoint's description")
        return found

    def best(self) -> Best | None:
        """The checkpoint with the best validation score, among those kept."""
        found = distributed.current().shared("best", lambda: dataclasses.astuple(self._best() or Best(-1, 0.0)))
        return None if found[0] < 0 else Best(*found)

    def _best(self) -> Best | None:
        scored = [(step, self._score(self._read(step).get("scores"))) for step in self.complete()]
        found = [Best(step, score) for step, score in scored if score is not None]
        sign = 1 if self.mode == "min" else -1
        return min(found, key=lambda item: sign * item.score, default=None)

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether a smaller or a larger score is better."""
        return mode_of(self.cfg.monitor, self.cfg.mode)

    def improves(self, scores: dict[str, float] | None) -> bool:
        """Whether these validation scores beat every checkpoint's."""
        score = self._score(scores)
        if not self.cfg.best or score is None:
            return False
        best = self.best()
        return best is None or (score < best.score if self.mode == "min" else score > best.score)

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves in the background; a full disk or a vanished folder is a `RunError`, and older checkpoints stay.

        Args:
            step: names the checkpoint.
            state: a dict of pytrees of arrays; free to be reused as soon as this returns.
            meta: what belongs to it and is no array, as JSON.
        """
        with _reported(self.directory):
            if step == self._saving:
                return  # it is on its way, or there
            self.wait()
            if step in self.steps():
                return  # never written again: until the second write ends, there would be none
            distributed.current().shared("saving", lambda: self._begin(step, meta))
            if jax.default_backend() == "cpu":
                state = jax.tree.map(jnp.copy, state)  # Orbax may read the CPU's memory in place, and it is reused
            if threading.current_thread() is threading.main_thread():
                self._orbax().save(self._path(step).absolute(), dict(state))
            else:  # Orbax's saves of several threads would take each other's signals for their own
                with _ORBAX:
                    self._orbax().save(self._path(step).absolute(), dict(state))
                    self._orbax().wait_until_finished()
            self._saving = step

    def _begin(self, step: int, meta: Mapping[str, Any]) -> None:
        """What one process does before all save their arrays."""
        with _reported(self.directory):
            self._tidy()
            write_atomically(self._meta_path(step), json.dumps({"step": step, **meta}))

    def wait(self) -> None:
        """Waits until the last save is on disk."""
        if self._saver is not None:
            with _reported(self.directory):
                self._saver.wait_until_finished()

    def close(self) -> None:
        """Waits, drops what is no longer kept, and ends the background thread."""
        if self._saver is None:
            return
        try:
            self.wait()
            if distributed.current().leader:
                self._tidy()
        finally:
            saver, self._saver = self._saver, None
            saver.close()

    def restore(self, step: int, abstract: Mapping[str, Any]) -> dict[str, Any]:
        """The state of a step, with the types and shardings of `abstract`; a mismatch is an `InputError`."""
        try:
            with _ORBAX:
                found: dict[str, Any] = self._orbax().restore(self._path(step).absolute(), dict(abstract))
        except Exception as error:  # Orbax raises many kinds; each means that this checkpoint doesn't fit or is damaged
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{self._path(step)}: can't be restored: {first[:300]}") from error
        return found

    def _orbax(self) -> Any:
        if self._saver is None:
            import orbax.checkpoint as ocp  # 0.5 s, so only when something is saved or restored

            for name in ("absl", "asyncio", "concurrent.futures"):  # what they log of a failed save is raised in `wait`
                logging.getLogger(name).setLevel(logging.CRITICAL)
            self._saver = ocp.StandardCheckpointer()
        return self._saver

    def _tidy(self) -> None:
        """Deletes checkpoints that are neither among the newest `keep` nor the best, and what failed saves left.

        Only what is complete counts as kept, so it runs when no save is under way: the last good checkpoint stays until
        a newer one is on disk.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        steps = self.complete()
        best = self._best() if self.cfg.best else None
        for step in steps[: -self.cfg.keep]:
            if best is None or step != best.step:
                os.replace(self._path(step), self.directory / f".trash-{step}")  # one move: a kill leaves no half of it
        kept = {self._path(step).name for step in self.complete()}
        for entry in self.directory.iterdir():
            if entry.is_dir() and entry.name not in kept:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.suffix == ".json" and entry.stem not in kept:
                entry.unlink(missing_ok=True)

    def _score(self, scores: dict[str, float] | None) -> float | None:
        score = scores.get(self.cfg.monitor) if isinstance(scores, dict) else None
        return float(score) if isinstance(score, (int, float)) else None

    def _path(self, step: int) -> Path:
        return self.directory / f"{step:09d}"

    def _meta_path(self, step: int) -> Path:
        return self.directory / f"{step:09d}.json"


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def _reported(directory: Path) -> Generator[None]:
    """A failing disk as one message."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:  # Orbax wraps the operating system's error in several of its own kinds
        text = " ".join(str(error).split())
        reason = "the disk is full" if "No space left" in text or "ENOSPC" in text else text[:300]
        raise RunError(f"{directory}: could not save: {reason}; earlier checkpoints are intact") from error
