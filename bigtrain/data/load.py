"""Loads the data set of a run, and checks the run against it."""

from __future__ import annotations

from bigtrain.config.build import build
from bigtrain.config.check import Checked
from bigtrain.config.errors import ConfigError
from bigtrain.config.trust import Trust
from bigtrain.data.spec import Dataset


def load_data(checked: Checked, trusted: Trust, *, training: bool = True) -> Dataset:
    """The data set; a missing or broken file is answered here, before JAX is imported.

    Args:
        checked: the config.
        trusted: which code may build it.
        training: the set has to be large enough for a batch of the run.
    """
    dataset: Dataset = build(checked.nodes["data"], trusted)
    if not isinstance(dataset, Dataset):
        raise ConfigError("data._target_", f"{checked.nodes['data'].callee.target!r} made no Dataset")
    if training:
        check_batch(checked, dataset)
    return dataset


def check_batch(checked: Checked, dataset: Dataset) -> None:
    """Refuses a batch that is larger than the training set."""
    size, batch = len(dataset.splits["train"]), checked.run.batch_size
    if batch > size:
        problem = f"{batch} is larger than the training set of {size} examples"
        raise ConfigError("batch_size", problem, allowed=f"1 to {size}")
