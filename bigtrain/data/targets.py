"""What targets are when the user doesn't say: classes, tokens or real values."""

from __future__ import annotations

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.arrays import Mapped
from bigtrain.data.checks import LABEL_LIMIT, chunks
from bigtrain.data.columns import Raw, TargetKind


def implied_kind(targets: Raw, inputs: Raw, tokens: bool) -> TargetKind:
    """The kind that the type and the shape of the targets imply.

    Args:
        targets: [N], [N, T], or any other shape with an example a row.
        inputs: what they are the targets of.
        tokens: whether the inputs are tokens.

    Raises:
        DataError: for one-hot targets, which are classes to some and real values to others.
    """
    array = targets.array
    integers = array.dtype.kind in "iub"
    per_step = array.ndim == 2 and array.shape[1] > 1 and array.shape[1] == steps(inputs)
    if not (tokens and integers and per_step):
        _refuse_one_hot(targets, "; for a class at each step data.target_kind=label" if per_step else "")
    if array.dtype.kind == "f":
        return "real"
    if array.ndim == 1 or array.shape[1:] == (1,):
        return "label"
    if tokens and integers and array.shape[1:] == inputs.array.shape[1:]:
        return "tokens"
    return "label" if per_step else "real"


def steps(inputs: Raw) -> int:
    """How many steps a sequence model reads of each example."""
    return inputs.array.shape[1] if inputs.array.ndim > 1 else 1


def whole_number_notes(targets: Raw) -> dict[str, str]:
    """A note for the start summary where real values, one an example, look like classes saved as floats."""
    values = targets.array
    if values.dtype.kind != "f" or values.size != len(values):
        return {}
    greatest = 0.0
    stored = Mapped(values)
    for rows in chunks(stored):
        found = stored[rows]
        if not ((found >= 0) & (found < LABEL_LIMIT) & (found == np.floor(found))).all():
            return {}
        greatest = max(greatest, float(found.max()))
    if not 1 <= greatest < len(values) / 2 - 1:
        return {}
    seen = f"whole numbers 0 to {greatest:g}, taken as real values"
    return {"targets": f"{seen}; for classes set data.target_kind=label"}


def _refuse_one_hot(targets: Raw, more: str) -> None:
    """Raise if the targets are [N, C] with one 1 in each row and 0 elsewhere."""
    array, name = targets.array, targets.name
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iubf":
        return
    stored = Mapped(array)
    for rows in chunks(stored):  # ends at the first piece that isn't, so that other targets cost next to nothing
        ones = stored[rows] == 1
        if not (ones.sum(axis=1) == 1).all() or stored[rows][~ones].any():
            return
    problem = f"{name!r} is one-hot: save {name}.argmax(1), or set data.target_kind=real to regress on it{more}"
    raise DataError(targets.where, problem)
