"""The check that the training state is finite, once a dispatch: what is not finite stays so, and the run ends at once.

A check of every step would read the whole state once more in each (docs/decisions/0012). The exact step is found
afterwards, by doing the steps since the newest checkpoint again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax

from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.train.finite import Diverged, is_finite
from bigtrain.train.hooks import Periodic
from bigtrain.train.state import TrainState


@dataclass
class CheckFinite(Periodic):
    """Looks at the state after each dispatch, when the next one is under way: the device never waits for the answer.

    Args:
        every: the last step, at which nothing more is under way.
        good: the newest step whose state is known to be finite.
    """

    good: int = 0
    _pending: tuple[int, jax.Array] | None = field(default=None, repr=False)

    def begin(self, step: int) -> None:
        """The run begins at this step, or has gone back to it."""
        self.good, self._pending = step, None

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """Reads the answer for the dispatch before, and asks for this one's."""
        self.confirm()
        if not isinstance(state, TrainState):  # a slot of a sweep's program, which would have to be copied: its losses
            return  # are looked at with each log line, and its state whenever it is saved
        self._pending = (dispatch.step + dispatch.number, is_finite(state.as_dict()))

    def __call__(self, step: int, state: TrainState) -> None:
        """The last step."""
        self.confirm()

    def confirm(self) -> None:
        """Reads the answer that is pending, which blocks on the device.

        Raises:
            Diverged: when a number was not finite.
        """
        if self._pending is None:
            return
        (step, answer), self._pending = self._pending, None
        if not answer:
            raise Diverged(step)
        self.good = step
