"""Batches gathered by processes of their own, through Grain: for data whose decoding keeps a core busy.

One element of the Grain data set is the whole batches of a few steps: what step 1,000 reads is a function of
(seed, 1000), so a run resumes by starting at its step, whatever the number of workers was before.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import InputError, RunError
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Source
from bigtrain.parallel import allocator

AHEAD = 2  # elements that a worker prepares before they are asked for
ELEMENT_BYTES, ELEMENT_SECONDS, MOST_STEPS = 2 << 20, 0.05, 32  # of an element, at most, where it is several steps
STEPS = 1 << 40  # a data set needs a length, and the order of the examples has none
WATCH_SECONDS = 0.5  # how soon a worker notices that its run is gone
END_SECONDS = 3.0  # how long workers may take to end by themselves

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Packed:
    """The batches of some steps, one after the other, that Grain sends through a pipe, and what is wrong with the next.

    It would put bare arrays into shared memory, of which a container has 64 MB unless told otherwise, and what is left
    there when a run is killed stays until the machine restarts.

    Args:
        arrays: the rows of all batches.
        steps: how many batches.
        problem: what the source says of the data of the step after them.
        failure: another error of the source there.
    """

    arrays: Batch
    steps: int
    problem: str | None = None
    failure: str | None = None

    def batches(self) -> Iterator[Batch]:
        """The batch of each step.

        Raises:
            InputError, RunError: what is wrong with the next one.
        """
        by_step = {name: np.split(rows, self.steps) for name, rows in self.arrays.items()}
        for step in range(self.steps):
            yield {name: parts[step] for name, parts in by_step.items()}
        if self.problem is not None:
            raise InputError(self.problem)
        if self.failure is not None:
            raise RunError(f"data_workers: a worker failed: {self.failure}")


@dataclass(frozen=True)
class Batches:
    """The batches of the steps from `start` on, `steps` an element, as the random-access data source that Grain takes.

    Args:
        source: the examples.
        order: which of them each step reads.
        start: the first step.
        steps: how many of them are an element.
        rows: the places in each batch that are read, where other processes of the run read the others.
        stop: a file that is there once nobody wants batches any more.
    """

    source: Source
    order: Order
    start: int = 0
    steps: int = 1
    rows: np.ndarray | None = None
    stop: Path | None = None

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, element: int) -> Packed:
        if self.stop is not None and self.stop.exists():
            return Packed({}, 0)
        first = self.start + int(element) * self.steps
        found = self._read(first, self.steps)
        if found.steps == self.steps or self.steps == 1:
            return found
        for step in range(self.steps):  # what can't be read keeps no step before it back
            found = self._read(first + step, 1)
            if not found.steps:
                before = self._read(first, step) if step else found
                return replace(before, problem=found.problem, failure=found.failure)
        return self._read(first, self.steps)

    def _read(self, first: int, steps: int) -> Packed:
        """The batches of some steps, or none and what is wrong; as text, since not every error can be sent."""
        chosen = self.order.batches(first, steps)
        chosen = chosen if self.rows is None else chosen[:, self.rows]
        try:
            return Packed(self.source[chosen.reshape(-1)], steps)
        except InputError as error:
            return Packed({}, 0, problem=str(error))
        except Exception as error:
            return Packed({}, 0, failure=f"{type(error).__name__}: {_short(error)}")


def steps_of(batch_bytes: int, seconds: float) -> int:
    """How many batches that are so large, and take so long to read, travel together.

    What an element costs beside copying, half a millisecond, is more than small ones take; but the first one is waited
    for, and the end of a run waits for the last.
    """
    return int(max(1, min(MOST_STEPS, ELEMENT_BYTES / max(1, batch_bytes), ELEMENT_SECONDS / max(1e-6, seconds))))


def batches(
    source: Source, order: Order, *, start: int, workers: int, batch_bytes: int, rows: np.ndarray | None = None
) -> Generator[Batch]:
    """The batches of the steps from `start` on, without end, each gathered by one of `workers` processes.

    Close the iterator to end the processes. The first batch is read here, before they are there: what it takes says
    how many of the others travel together.

    Args:
        source: the examples.
        order: which of them each step reads.
        start: the first step.
        workers: processes.
        batch_bytes: of what is read of a batch.
        rows: see `Batches`.

    Raises:
        RunError: when a worker is killed or fails.
        InputError: what the source has to say of its data, word for word.
    """
    begun = time.perf_counter()
    first = Batches(source, order, start, rows=rows)[0]
    together = steps_of(batch_bytes, time.perf_counter() - begun)
    yield from first.batches()
    with _signal() as stop, ExitStack() as closing:
        iterator = _begun(Batches(source, order, start + 1, together, rows, stop), workers)
        closing.callback(_end, iterator, workers, stop)
        with _deaf_children():
            element = _next(iterator)  # starts the processes
        while True:
            yield from element.batches()
            element = _next(iterator)


@contextmanager
def _signal() -> Iterator[Path | None]:
    """The path of a file that isn't there yet, and isn't any more afterwards; None where there is no place for one."""
    try:
        path = Path(tempfile.gettempdir(), f"bigtrain-{uuid.uuid4().hex}.stop")
    except OSError:
        yield None
        return
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()


def _begun(elements: Batches, workers: int) -> Any:
    """Grain's iterator over them, whose processes start when it is first asked."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads its flags in the workers, and outside of absl nobody parses them
        flags.FLAGS.mark_as_parsed()
    reading = grain.MapDataset.source(elements).to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    )
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
    return iter(reading.mp_prefetch(options, worker_init_fn=partial(_begin, elements.stop)))


def _end(iterator: Any, workers: int, stop: Path | None) -> None:
    """Ends the processes: by themselves, or, where they take too long for that, at once."""
    try:
        if stop is not None:
            stop.touch(mode=0o600)
            emptying = threading.Thread(target=_empty, args=(iterator, workers), daemon=True)
            emptying.start()
            emptying.join(END_SECONDS)  # a worker may hang in its source
    except (OSError, RuntimeError):  # no room for a file, or for a thread: Grain waits 25 s and kills them
        pass
    finally:
        iterator.close()


def _empty(iterator: Iterator[Packed], workers: int) -> None:
    """Takes what the workers have made already, up to where they have seen that nothing more is wanted.

    A worker doesn't end before all of it is in the pipe, which holds less than a batch, and Grain waits 25 seconds for
    that before it kills the worker.
    """
    empty = 0
    for _ in range(workers * (AHEAD + 8)):
        try:
            found = next(iterator)
        except Exception:  # a worker that has failed writes nothing more
            return
        empty = 0 if found.steps or found.problem or found.failure else empty + 1
        if empty > workers * AHEAD:
            return


def _next(iterator: Iterator[Packed]) -> Packed:
    """The next batches; what went wrong in a worker in one line."""
    try:
        return next(iterator)
    except Exception as error:
        reason = _short(error)
        if "exit code" in reason:
            code = reason.split("exit code", 1)[1].split(".")[0].strip()
            why = "killed, perhaps for memory" if code == "-9" else f"exit code {code}"
            hint = "continue the run with data_workers=0, or with more memory"
            raise RunError(f"data_workers: a worker process ended ({why})\n  {hint}") from error
        raise RunError(f"data_workers: a worker failed: {type(error).__name__}: {reason}") from error


def _short(error: Exception) -> str:
    """An error's text as one line."""
    return " ".join(str(error).split())[:200]


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started in the block don't hear Ctrl-C, not even while they import what they need to ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # if it were started in the block, it would open the mask again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(stop: Path | None, worker: int, workers: int) -> None:
    """What a worker does first: Ctrl-C is the run's own affair, and a worker whose run is gone or waits for it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allocator.settle()  # an element is new memory each time: its pages took longer than what is written to them
    parent = os.getppid()

    def watch() -> None:
        waiting = 0
        while os.getppid() == parent and waiting * WATCH_SECONDS < END_SECONDS:
            time.sleep(WATCH_SECONDS)
            waiting = waiting + 1 if stop is not None and stop.exists() else 0
        os._exit(1)

    threading.Thread(target=watch, name="bigtrain-watch", daemon=True).start()
