"""The checkpoints of a run: saved in the background, committed by one rename, verified before they are used.

Each checkpoint is a folder `checkpoints/<step>/`: `arrays/` (in Orbax's layout), `meta.json` (what belongs to them and
is no array), and `manifest.json`, which is written last and has the SHA-256 of every file. All of it is made in
`<step>.partial/` and is on the disk before that gets its name; what is deleted loses its name first. So a folder
that is named by a step is complete, at any moment, and one whose files don't match its manifest was damaged later.

Of several processes, each writes the parts of arrays that it holds, and process 0 commits once all have. What is on the
disk is looked up by process 0 and told to the others: a disk that hosts share may show a new file to one before it
shows it to another.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import jax

from bigtrain.checkpoint import durable, leaves, manifest, orbax, pattern
from bigtrain.checkpoint.background import Background
from bigtrain.checkpoint.failing import reported
from bigtrain.checkpoint.kept import Best, kept
from bigtrain.checkpoint.manifest import Damaged
from bigtrain.checkpoint.memory import HostMemory
from bigtrain.config.errors import InputError
from bigtrain.config.schema import CheckpointConfig
from bigtrain.parallel import distributed
from bigtrain.run.directory import saved_steps
from bigtrain.run.monitor import mode_of

ARRAYS, META = "arrays", "meta.json"


class Checkpoints:
    """The checkpoints of one run: saves, keeps the best ∪ the last few ∪ every n-th, restores.

    Args:
        directory: the folder of them all.
        cfg: what is kept.
        keep_every: of which steps every checkpoint is kept: their multiples.
        beside: files that a checkpoint relies on, such as the metric lines up to it; made durable before it.
    """

    def __init__(
        self,
        directory: Path,
        cfg: CheckpointConfig | None = None,
        *,
        keep_every: int | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        self.directory, self.cfg = directory, cfg or CheckpointConfig()
        self.keep_every, self.beside = keep_every, beside
        self._saver: Any = None
        self._saving: int | None = None  # the last step that was given to be saved
        self._background, self._memory = Background(), HostMemory()

    def steps(self) -> list[int]:
        """Steps with a committed checkpoint, ascending."""
        return distributed.current().shared("steps", self.complete)

    def complete(self) -> list[int]:
        """The same, as this process sees the disk."""
        return saved_steps(self.directory)

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved beside the arrays: validation scores, the log window in flight, and the hash of the state."""
        return distributed.current().shared("meta", lambda: self._read(step))

    def _read(self, step: int) -> dict[str, Any]:
        found = json.loads(manifest.verified(self.path(step), step, META))
        if not isinstance(found, dict):
            raise Damaged(f"{self.path(step) / META}: is no checkpoint's description")
        return found

    def best(self, *, strict: bool = False) -> Best | None:
        """The checkpoint with the best validation score, among those kept.

        Args:
            strict: raise `Damaged` where a score can't be read; by default that checkpoint has none.
        """
        peers, none = distributed.current(), Best(-1, 0.0)
        found = peers.shared("best", lambda: dataclasses.astuple(self._best(strict=strict) or none))
        return None if found[0] < 0 else Best(*found)

    def _best(self, *, strict: bool = False) -> Best | None:
        found = []
        for step in self.complete():
            try:
                score = self._score(self._read(step).get("scores"))
            except Damaged:
                if strict:
                    raise
                continue
            if score is not None:
                found.append(Best(step, score))
        sign = 1 if self.mode == "min" else -1
        return min(found, key=lambda item: sign * item.score, default=None)

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether a smaller or a larger score is better."""
        return mode_of(self.cfg.monitor, self.cfg.mode)

    def improves(self, scores: dict[str, float] | None) -> bool:
        """Whether these validation scores beat every checkpoint's."""
        if not self.cfg.best or self._score(scores) is None:
            return False
        best = self.best()
        return best is None or self.beats(scores, {self.cfg.monitor: best.score})

    def beats(self, scores: dict[str, float] | None, others: dict[str, float] | None) -> bool:
        """Whether one set of validation scores is better than another."""
        score, other = self._score(scores), self._score(others)
        if score is None or other is None:
            return score is not None
        return score < other if self.mode == "min" else score > other

    def expect(self, state: Mapping[str, Any]) -> None:
        """Begins to make room on the host for copies of a state like this one, so that no save has to wait for it.

        It is given back by `close`. Several processes call it together; if not on CPUs, Orbax makes their copies.
        """
        if distributed.current().count == 1:
            self._memory.prepare(dict(state))
            return
        orbax.make_ready()
        if jax.default_backend() == "cpu":
            self._memory.prepare(leaves.parts(dict(state)))

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves in the background; a full disk or a vanished folder is a `RunError`, and older checkpoints stay.

        Only the copy of the state is waited for, and a save before that isn't on the disk yet.

        Args:
            step: names the checkpoint.
            state: a dict of pytrees of arrays; free to be reused as soon as this returns.
            meta: what belongs to it and is no array, as JSON.
        """
        with reported(self.directory):
            if step == self._saving:
                return  # it is on its way, or there
            self.wait()
            if step in self.steps():
                return  # never written again: until the second write ends, there would be none
            meta = json.loads(json.dumps({"step": step, **meta}))  # as it is now: training goes on
            if distributed.current().count == 1:
                copied = leaves.on_host(dict(state), self._memory)
                self._background.begin(lambda: self._write(step, copied, meta), leaves.size(copied))
            else:
                self._begin_together(step, dict(state), meta)
            self._saving = step

    def _begin_together(self, step: int, state: dict[str, Any], meta: Mapping[str, Any]) -> None:
        """Starts a save of several processes: Orbax writes what each holds, and this waits for it in the background."""
        if jax.default_backend() == "cpu":
            state = leaves.beside(state, self._memory)  # Orbax may read the CPU's memory in place, and it is reused
        distributed.current().shared("saving", lambda: self._make_room(step))
        self._orbax().save((self._partial(step) / ARRAYS).absolute(), state)
        self._background.begin(lambda: self._write_together(step, state, meta), leaves.size(state))

    def _write(self, step: int, state: dict[str, Any], meta: Mapping[str, Any]) -> None:
        """The whole save of a process by itself."""
        try:
            self._make_room(step)
            folder, alike = (self._partial(step) / ARRAYS).absolute(), pattern.known(state)
            if alike is not None:
                alike.write(folder, state)
                described = leaves.describe(state)
            else:
                with orbax.LOCK:
                    self._orbax().save(folder, state)
                    described = leaves.describe(state)  # while Orbax writes
                    self._orbax().wait_until_finished()
                pattern.learn(folder, state)
            self._commit(step, described, meta)
        except BaseException:
            self._give_up(step)
            raise

    def _write_together(self, step: int, state: dict[str, Any], meta: Mapping[str, Any]) -> None:
        """The rest of a save of several processes; process 0 commits, since Orbax is done there when all are."""
        leader = distributed.current().leader
        try:
            described = leaves.describe(state) if leader else {}
            self._orbax().wait_until_finished()
            if leader:
                self._commit(step, leaves.completed(described, state, self._partial(step) / ARRAYS), meta)
        except BaseException:
            if leader:
                self._give_up(step)
            raise

    def _give_up(self, step: int) -> None:
        """Takes away what a failed save has written, once nothing more is written."""
        with suppress(Exception):  # the first error is the one that counts
            self._orbax().wait_until_finished()
        durable.discard(self._partial(step))

    def _make_room(self, step: int) -> None:
        """The folder that a save is made in, in place of what killed ones have left."""
        self.directory.mkdir(exist_ok=True)  # in the run's folder, which is not made anew where it has vanished
        durable.clear(self.directory)
        self._partial(step).mkdir()

    def _commit(self, step: int, described: leaves.Described, meta: Mapping[str, Any]) -> None:
        """From here on there is a checkpoint of this step; then those that need not be kept any longer are deleted."""
        for path in self.beside:
            if path.is_file():
                durable.sync(path)
        facts = {**meta, "state": {"sha256": leaves.state_hash(described), "leaves": described}}
        durable.write_durably(self._partial(step) / META, json.dumps(facts))
        manifest.write(self._partial(step), step)
        durable.move(self._partial(step), self.path(step))
        self._tidy()

    def wait(self) -> None:
        """Waits until the last save is committed."""
        with reported(self.directory):
            try:
                self._background.wait()
            except BaseException:
                self._saving = None
                raise

    def close(self) -> None:
        """Waits, ends Orbax's threads, and gives back what `expect` has made."""
        try:
            self.wait()
        finally:
            self._memory.release()
            saver, self._saver = self._saver, None
            if saver is not None:
                saver.close()

    def problem(self, step: int) -> str | None:
        """What is damaged in a checkpoint, in words that begin with the file's path; None where nothing is."""
        peers = distributed.current()
        found = peers.gathered("verified", manifest.check(self.path(step), step, (peers.index, peers.count)))
        return next((text for text in found if text), None)

    def restore(self, step: int, abstract: Mapping[str, Any]) -> dict[str, Any]:
        """The state of a step, with the types and shardings of `abstract`.

        Raises:
            Damaged: a file is not what was saved.
            InputError: it is the state of something else: the message lists leaves, dtypes and shapes that differ.
        """
        self.wait()
        problem = self.problem(step)
        if problem is not None:
            raise Damaged(problem)
        differing = leaves.mismatches(self.meta(step)["state"]["leaves"], dict(abstract))
        if differing:
            lines = "".join(f"\n  {line}" for line in differing)
            raise InputError(f"{self.path(step)}: can't be restored: it holds another state than this run's{lines}")
        try:
            with orbax.LOCK:
                found: dict[str, Any] = self._orbax().restore((self.path(step) / ARRAYS).absolute(), dict(abstract))
        except Exception as error:  # Orbax raises many kinds; the files are what was saved
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{self.path(step)}: can't be restored: {first[:300]}") from error
        return found

    def set_aside(self, step: int) -> None:
        """Takes a damaged checkpoint out of the way of the run, until one of that step or a later one is saved."""
        distributed.current().shared("aside", lambda: durable.set_aside(self.path(step)))

    def _orbax(self) -> Any:
        if self._saver is None:
            self._saver = orbax.Checkpointer()
        return self._saver

    def _tidy(self) -> None:
        """Deletes what is neither among the newest `keep`, nor the best, nor one of every so many.

        It runs after a commit, so the last good checkpoint stays until a newer one is on the disk.
        """
        steps = self.complete()
        best = self._best() if self.cfg.best else None
        for step in set(steps) - kept(steps, self.cfg.keep, best.step if best else None, self.keep_every):
            durable.remove(self.path(step))
        durable.clear_aside(self.directory, steps[-1])

    def _score(self, scores: dict[str, float] | None) -> float | None:
        score = scores.get(self.cfg.monitor) if isinstance(scores, dict) else None
        return float(score) if isinstance(score, (int, float)) else None

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.directory / f"{step:09d}"

    def _partial(self, step: int) -> Path:
        return self.path(step).with_name(f"{step:09d}{durable.PARTIAL}")
