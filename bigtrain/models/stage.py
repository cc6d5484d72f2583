"""A stage of a convolutional network, as config describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.models.convolution import Padding, windows
from bigtrain.models.pooling import Pool, pooled_size

Block = Literal["plain", "parallel", "basic", "bottleneck"]


@dataclass(frozen=True)
class Stage:
    """Blocks of the same width, and the pooling after them.

    A `plain` block is convolution, norm, activation; `parallel` is the same with several window sizes side by side (Kim
    2014); `basic` and `bottleneck` are residual (He et al. 2015).
    """

    channels: int  # of what the stage gives; a bottleneck computes inside with a quarter of them
    block: Block = "plain"
    repeat: int = 1
    kernel: int = 3
    kernels: tuple[int, ...] = ()  # of `parallel` blocks
    stride: int = 1  # of the first block
    padding: Padding = "same"  # of plain blocks: zeros at each end
    bias: bool = True  # of plain blocks' convolutions; residual ones have none
    pool: int = 0  # window of the pooling after the blocks; 0 is none
    pool_stride: int = 0  # 0 is the window
    pool_kind: Pool = "max"
    pool_centred: bool = False  # windows around each value instead of side by side
    small: Mapping[str, Any] | None = None  # what differs with the stem for small images

    def size(self, size: int) -> int:
        """The size of the map that the stage gives; below 1 where the map is too small for it."""
        for at in range(self.repeat):
            stride = 1 if at else self.stride
            size = windows(size, self.kernel, stride, self.padding if self.block == "plain" else "same")
        if self.pool and size > 0:
            return int(pooled_size(size, self.pool, self.pool_stride or None, self.pool_centred))
        return size


def read_stages(
    tables: tuple[dict[str, Any], ...], sizes: tuple[int, ...], *, small: bool, width: float
) -> tuple[Stage, ...]:
    """The stages of `model.stages`, channels scaled by `width`; refuses those that a map of `sizes` vanishes in."""
    if not tables:
        raise ConfigError("model.stages", "is empty", allowed="a list of at least one stage")
    found = tuple(_stage(f"model.stages[{at}]", table, small, width) for at, table in enumerate(tables))
    for at, stage in enumerate(found):
        before, sizes = sizes, tuple(stage.size(size) for size in sizes)
        if min(sizes) < 1:
            problem = f"a window of {stage.kernel} doesn't fit into a map of {list(before)}"
            hint = "set model.stem=small, a smaller kernel, padding: same, or a larger model.pad_to"
            raise ConfigError(f"model.stages[{at}]", problem, hint=hint)
    return found


def _stage(path: str, table: Mapping[str, Any], small: bool, width: float) -> Stage:
    changes = table.get("small") or {}
    if not isinstance(changes, Mapping):
        raise ConfigError(f"{path}.small", f"{changes!r} is no table", allowed="fields of a stage")
    for where, given in ((path, table), (f"{path}.small", changes)):
        for name, value in given.items():
            _check(where, name, value)
    chosen = {**table, **(changes if small else {})}
    if "channels" not in chosen:
        raise ConfigError(f"{path}.channels", "is missing", hint="say how many channels the stage has")
    if "kernels" in chosen:
        chosen["kernels"] = tuple(chosen["kernels"])
    if chosen.get("block", "plain") != "plain" and chosen.get("padding", "same") != "same":
        raise ConfigError(f"{path}.padding", "only plain blocks have another padding than 'same'")
    idle = [name for name in ("pool_stride", "pool_kind", "pool_centred") if name in chosen]
    if idle and not (table.get("pool") or chosen.get("pool")):
        raise ConfigError(f"{path}.{idle[0]}", "says how to pool, and nothing is pooled", hint="set pool, its window")
    if chosen.get("block") in ("basic", "bottleneck") and chosen.get("bias"):
        raise ConfigError(f"{path}.bias", "convolutions of residual blocks have none", hint="leave it out")
    if (chosen.get("block") == "parallel") != bool(chosen.get("kernels")):
        raise ConfigError(f"{path}.kernels", "go with block: parallel", hint="say both, or neither")
    channels = max(1, round(chosen["channels"] * width))
    if len(chosen.get("kernels", ())) > channels:
        problem = f"{channels} channels can't be shared by {len(chosen['kernels'])} kernels"
        raise ConfigError(f"{path}.channels", problem, hint="raise it or model.width, or take fewer kernels")
    return Stage(**chosen | {"channels": channels})


_CHOICES = {"block": get_args(Block), "pool_kind": get_args(Pool)}
_LEAST = {"channels": 1, "repeat": 1, "kernel": 1, "stride": 1, "pool": 0, "pool_stride": 0}


def _check(path: str, name: str, value: object) -> None:
    """Refuses a field that a stage doesn't have, or a value that the field doesn't take."""
    names = [entry.name for entry in dataclasses.fields(Stage)]
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"{path}.{name}", "a stage has no such field", allowed=names, hint=hint)
    allowed: str | tuple[str, ...] | None = None
    if name in _CHOICES and value not in _CHOICES[name]:
        allowed = _CHOICES[name]
    elif name in _LEAST and not _counts(value, _LEAST[name]):
        allowed = f"an integer of at least {_LEAST[name]}"
    elif name == "kernels" and not (isinstance(value, (list, tuple)) and all(_counts(item, 1) for item in value)):
        allowed = "a list of integers of at least 1"
    elif name == "padding" and value != "same" and not _counts(value, 0):
        allowed = "same, or an integer of at least 0"
    elif name in ("bias", "pool_centred") and not isinstance(value, bool):
        allowed = "true or false"
    if allowed:
        raise ConfigError(f"{path}.{name}", f"{value!r} is not allowed", allowed=allowed)


def _counts(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
