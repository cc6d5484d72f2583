"""How many steps a dispatch takes: enough that Python costs nothing, few enough that the run stays responsive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from bigtrain.data.ahead import unwanted
from bigtrain.data.placement import Dispatch
from bigtrain.parallel.devices import computes_in_calls

OFTEN = 16  # of the first dispatches every fourth is agreed on, later those whose number is a power of two
TARGET_SECONDS = 0.1  # a dispatch costs Python about 0.5 ms; ten dispatches a second keep its share under 1%
GPU_SECONDS = 0.25  # there, a call returns when its steps are done, so the device waits for Python: 2 to 5 ms
LONG_STEPS, LONG_SECONDS = 8, 2.0  # slow steps: their memory is allocated anew by each dispatch, so one takes several
CLEAR_SECONDS = 0.02  # a step that takes longer is timed well enough by itself


class AgreedPace:
    """The pace of process 0 in all processes of a run: each has a clock of its own, and all cut the run alike.

    The number of each dispatch decides when process 0 is asked, since those of a streamed set are planned ahead by a
    thread, at another moment in each process.

    Args:
        own: the pace that this process would keep by itself.
        shared: what process 0 says, to all; it may stop before it has said it, and `unwanted` ends the wait.
    """

    def __init__(self, own: Pace, shared: Callable[[str, Callable[[], int], Callable[[], bool]], int]) -> None:
        self.own, self.shared = own, shared
        self._asked, self._steps = 0, 1

    @property
    def steps(self) -> int:
        """For the next dispatch; to be asked exactly once for each."""
        self._asked += 1
        number = self._asked
        if number > 1 and (number % 4 == 0 if number <= OFTEN else number & (number - 1) == 0):
            self._steps = self.shared("pace", lambda: self.own.steps, unwanted)
        return self._steps

    def launched(self, dispatch: Dispatch, metrics: Any) -> None:
        """See `Pace`."""
        self.own.launched(dispatch, metrics)

    def interrupted(self) -> None:
        """See `Pace`."""
        self.own.interrupted()


class Pace:
    """Starts with one step and doubles while dispatches are shorter than the target, up to the feed's capacity.

    Where slow steps are put `together`, as on a CPU or a GPU, a dispatch is at least eight of them, or as many as fit
    into two seconds. A step slow enough to be timed by itself decides at once, without doubling.

    Args:
        capacity: the most steps that the feed holds.
        fixed: always as many.
        together: whether slow steps are put together.
        target: seconds of a dispatch.
        in_calls: whether the device computes in the thread that calls (`devices.compute_in_calls`).
    """

    def __init__(
        self,
        capacity: int,
        *,
        fixed: bool = False,
        together: bool = False,
        target: float = TARGET_SECONDS,
        in_calls: bool = False,
    ) -> None:
        self.capacity, self.fixed, self.together, self.target = capacity, fixed, together, target
        self.in_calls = in_calls
        self.steps = capacity if fixed else 1
        self._pending: tuple[int, Any] | None = None
        self._clock = time.perf_counter()

    @classmethod
    def of(cls, platform: str, capacity: int, *, fixed: bool = False) -> Pace:
        """That of a run on devices of this platform."""
        target = GPU_SECONDS if platform == "gpu" else TARGET_SECONDS
        in_calls = platform == "cpu" and computes_in_calls()
        return cls(capacity, fixed=fixed, together=platform in ("cpu", "gpu"), target=target, in_calls=in_calls)

    def launched(self, dispatch: Dispatch, metrics: Any) -> None:
        """Waits until the dispatch before this one has ended, and adapts to how long it took.

        Where calls return when their steps are done, as on a GPU or one CPU device, it is this one's time that counts.
        """
        number, before = self._pending or (0, None)
        jax.block_until_ready(before)  # blocks on the device: at most two dispatches are under way
        if self.in_calls:  # one whose data came too late went to a thread, and would take all that follow along
            jax.block_until_ready(metrics)
        done = is_done(metrics)
        self._pending = None if done else (dispatch.number, metrics)
        number += dispatch.number * done
        if number:
            now = time.perf_counter()
            self._adapt((now - self._clock) / number)
            self._clock = now

    def interrupted(self) -> None:
        """What the host does between two dispatches isn't charged to them."""
        self._pending = None
        self._clock = time.perf_counter()

    def _adapt(self, seconds_a_step: float) -> None:
        if self.fixed:
            return
        seconds = max(seconds_a_step, 1e-9)
        wanted = max(1, int(self.target / seconds))
        if self.together:
            wanted = max(wanted, min(LONG_STEPS, int(LONG_SECONDS / seconds)))
        longer = wanted if seconds > CLEAR_SECONDS else 2 * self.steps
        self.steps = min(self.capacity, wanted, longer)


def is_done(results: Any) -> bool:
    """Whether a call has computed all of these, so that nobody would wait for one."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves(results) if isinstance(leaf, jax.Array))
