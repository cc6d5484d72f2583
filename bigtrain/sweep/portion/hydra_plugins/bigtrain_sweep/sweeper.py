"""The sweeper that Hydra calls: it hands its launcher to the sweep that is under way."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bigtrain.sweep.under_way import under_way


class BigtrainSweeper(Sweeper):
    """Lets a search choose trials, keeps them in a ledger, and has a launcher run them."""

    def __init__(self) -> None:
        self.launcher: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's `Sweeper`."""
        plugins = Plugins.instance()
        self.launcher = plugins.instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """See Hydra's `Sweeper`; `arguments` are what was typed, in the form that Hydra takes."""
        conductor = under_way()  # Hydra makes its sweeper from a config, which can't hold objects
        if conductor is None:
            raise RuntimeError("no sweep is under way")
        return conductor.run(self.launcher)
