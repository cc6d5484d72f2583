"""Batches gathered by processes of their own, through Grain: for data whose decoding keeps a core busy.

One element of the Grain data set is one whole batch, named by its step: what step 1,000 reads is a function of
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np

from bigtrain.config.errors import InputError, RunError
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Source

AHEAD = 2  # batches that a worker prepares before they are asked for
STEPS = 1 << 40  # a data set needs a length, and the order of the examples has none
WATCH_SECONDS = 2.0  # how soon a worker notices that its run is gone
END_SECONDS = 10.0  # how long workers may take to end by themselves

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Packed:
    """A batch that Grain sends through a pipe, or what is wrong with its data.

    It would put bare arrays into shared memory, of which a container has 64 MB unless told otherwise, and what is left
    there when a run is killed stays until the machine restarts.
    """

    arrays: Batch
    problem: str | None = None


@dataclass(frozen=True)
class Batches:
    """The batch of each step, as the random-access data source that Grain takes.

    Args:
        source: the examples.
        order: which of them each step reads.
        rows: the places in each batch that are read, where other processes of the run read the others.
        stop: a file that is there once nobody wants batches any more.
    """

    source: Source
    order: Order
    rows: np.ndarray | None = None
    stop: Path | None = None

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> Packed:
        if self.stop is not None and self.stop.exists():
            return Packed({})
        try:
            indices = self.order.batches(int(step), 1)[0]
            return Packed(self.source[indices if self.rows is None else indices[self.rows]])
        except InputError as error:  # as text: an exception with arguments of its own can't be sent
            return Packed({}, str(error))


def batches(
    source: Source, order: Order, *, start: int, workers: int, rows: np.ndarray | None = None
) -> Generator[Batch]:
    """The batches of the steps from `start` on, without end, each gathered by one of `workers` processes.

    Close the iterator to end the processes.

    Raises:
        RunError: when a worker is killed or fails.
        InputError: what the source has to say of its data, word for word.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads its flags in the workers, and outside of absl nobody parses them
        flags.FLAGS.mark_as_parsed()
    stop = Path(tempfile.gettempdir(), f"bigtrain-{uuid.uuid4().hex}.stop")
    steps = grain.MapDataset.source(Batches(source, order, rows, stop)).slice(slice(start, None))
    reading = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
    iterator = iter(reading.mp_prefetch(options, worker_init_fn=_begin))
    try:
        with _deaf_children():
            first = _next(iterator)  # starts the processes
        yield first
        while True:
            yield _next(iterator)
    finally:
        with suppress(OSError):  # without the file, ending takes longer
            stop.touch(mode=0o600)
            emptying = threading.Thread(target=_empty, args=(iterator, workers), daemon=True)
            emptying.start()
            emptying.join(END_SECONDS)  # a worker may hang in its source
        iterator.close()
        with suppress(OSError):
            stop.unlink()


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
        empty = 0 if found.arrays or found.problem else empty + 1
        if empty > workers * AHEAD:
            return


def _next(iterator: Iterator[Packed]) -> Batch:
    """The next batch; what went wrong in a worker in one line."""
    try:
        found = next(iterator)
    except Exception as error:
        reason = " ".join(str(error).split())
        if "exit code" in reason:
            code = reason.split("exit code", 1)[1].split(".")[0].strip()
            why = "killed, perhaps for memory" if code == "-9" else f"exit code {code}"
            hint = "continue the run with data_workers=0, or with more memory"
            raise RunError(f"data_workers: a worker process ended ({why})\n  {hint}") from error
        raise RunError(f"data_workers: a worker failed: {type(error).__name__}: {reason[:200]}") from error
    if found.problem is not None:
        raise InputError(found.problem)
    return found.arrays


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


def _begin(worker: int, workers: int) -> None:
    """What a worker does first: Ctrl-C is the run's own affair, and a worker whose run is gone ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="bigtrain-watch", daemon=True).start()
