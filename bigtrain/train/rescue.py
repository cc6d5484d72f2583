"""A run whose data fails saves what it has before it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import jax

from bigtrain.data.placement import Dispatch
from bigtrain.metrics import Mean
from bigtrain.parallel import distributed
from bigtrain.train.finite import Diverged
from bigtrain.train.hooks import Interrupted, Periodic
from bigtrain.train.skips import TooManySkips
from bigtrain.train.state import TrainState


@dataclass
class Rescue(Periodic):
    """Holds on to the newest state, whose memory is good until the next dispatch takes it over.

    Args:
        every: the last step.
        save: saves a state.
        say: tells people.
    """

    save: Callable[[int, TrainState], None]
    say: Callable[[str], None]
    _newest: tuple[int, TrainState] | None = field(default=None, repr=False)

    def record(self, dispatch: Dispatch, metrics: dict[str, Mean], state: TrainState) -> None:
        """The newest state."""
        self._newest = (dispatch.step + dispatch.number, state)

    def __call__(self, step: int, state: TrainState) -> None:
        """Nothing more at the end."""

    @contextmanager
    def on_failure(self) -> Generator[None]:
        """Saves the newest state when the block fails, if that is possible; the failure itself goes on.

        Of several processes one alone may fail, and saving takes all of them.
        """
        try:
            yield
        except (Interrupted, Diverged, TooManySkips):
            raise
        except Exception:
            if self._newest is not None and distributed.current().count == 1:
                step, state = self._newest
                with suppress(Exception):  # the disk or the device may be what failed
                    if not any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
                        self.save(step, state)
                        self.say(f"step {step:,} was saved before the run ends")
            raise
        finally:
            self._newest = None
