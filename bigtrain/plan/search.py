"""`bigtrain plan --search`: every legal variant, estimated; the most promising compiled; those that fit, ranked."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bigtrain.config.errors import ConfigError
from bigtrain.plan.estimate import Estimate
from bigtrain.plan.planner import Planner
from bigtrain.plan.report import NAMED, Plan, count, duration, size
from bigtrain.plan.variation import REMAT, Variation, batches, meshes

COMPILED = 8  # variants, at most
SECONDS = 120.0  # after which no further one is compiled
MARGIN = 1.1  # an estimate up to so many times the capacity is still worth compiling
ACCUMULATE = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Ranked:
    """The result of a search: plans that fit with their changes, the fastest first."""

    hardware: str
    plans: Sequence[tuple[tuple[str, ...], Plan]]
    variants: int  # that are legal
    fitting: int  # of them, by estimate
    compiled: int
    seconds: float

    def answer(self, typed: Sequence[str], flags: str) -> dict[str, Any]:
        """As JSON and as a page; a refusal where nothing fits.

        Args:
            typed: the overrides of the search.
            flags: the options that a later command has to repeat.
        """
        rows = [
            {"changes": list(changes), "command": self._command(typed, changes, flags), **made.to_json()}
            for changes, made in self.plans
        ]
        found = {
            "hardware": self.hardware, "configurations": rows, "variants": self.variants, "fitting": self.fitting,
            "compiled": self.compiled, "seconds": round(self.seconds, 2),
        }  # fmt: skip
        refused = None if rows else f"nothing of {self.variants} configurations fits on {self.hardware}"
        return {"json": found, "page": self._page(typed, flags), "refused": refused}

    def _command(self, typed: Sequence[str], changes: Sequence[str], flags: str) -> str:
        """The command that trains a variant: what was typed, but for what is changed."""
        changed = {text.split("=")[0] for text in changes}
        kept = [text for text in typed if text.split("=")[0] not in changed]
        if "mesh" in changed:
            kept = [text for text in kept if not text.startswith("mesh.")]
        return " ".join(["bigtrain fit", *map(shlex.quote, (*kept, *changes))]) + flags

    def _page(self, typed: Sequence[str], flags: str) -> str:
        lines = [
            f"{self.variants} configurations on {self.hardware}: {self.fitting} fit by estimate,"
            f" {self.compiled} compiled",
            "",
        ]
        if not self.plans:
            return "\n".join(lines)
        lines.append(f"{'':4}{'examples/s':>12}{'a step':>10}{'memory':>12}{'of it':>7}{'MFU':>7}  bound by")
        for at, (changes, made) in enumerate(self.plans, 1):
            memory, line = made.memory, made.roofline
            lines.append(
                f"{at:>3} {count(made.examples_per_second):>12}{duration(line.seconds):>10}{size(memory.peak):>12}"
                f"{memory.peak / memory.capacity:>7.0%}{line.mfu_bound:>7.0%}  {line.bound}"
            )
            lines.append(f"{'':{NAMED}}{' '.join(changes) or 'as it is'}")
        return "\n".join([*lines, "", self._command(typed, self.plans[0][0], flags)]) + "\n"


def search(planner: Planner, keys: Sequence[str]) -> Ranked:
    """Searches over the values of some keys.

    Args:
        planner: of the run.
        keys: of `searched.KEYS`.

    Raises:
        ConfigError: where the model has no such key.
    """
    started = time.perf_counter()
    own = planner.estimator.variation
    if "remat" in keys and own.remat is None:
        name = planner.made.plan.model.rsplit(".", 1)[-1]
        raise ConfigError(
            "--search", f"{name} has no remat", hint="search over mesh, batch_size, accumulate, precision"
        )
    found = _estimated(planner, keys)
    promising = [entry for entry in found if entry[1].peak <= MARGIN * entry[1].capacity]
    promising.sort(key=lambda entry: entry[1].seconds / entry[0].batch)
    plans: list[tuple[tuple[str, ...], Plan]] = []
    compiled = 0
    for variant, _ in promising:
        if compiled >= COMPILED or time.perf_counter() - started > SECONDS:
            break
        try:
            made = planner.plan(variant.changes)
        except ConfigError:
            continue
        compiled += 1
        if made.memory.fits:
            plans.append((variant.changes, made))
    plans.sort(key=_rank)
    fitting = sum(estimate.fits for _, estimate in found)
    name = planner.target.hardware.name
    return Ranked(name, plans, len(found), fitting, compiled, time.perf_counter() - started)


def _rank(entry: tuple[tuple[str, ...], Plan]) -> tuple[float, int]:
    """The fastest first; of those that are as fast (to a hundredth), the one that needs the least memory."""
    return -float(f"{entry[1].examples_per_second:.2e}"), entry[1].memory.peak


def _estimated(planner: Planner, keys: Sequence[str]) -> list[tuple[Variation, Estimate]]:
    found = []
    for variant in _variants(planner, keys):
        try:
            found.append((variant, planner.estimator.of(variant)))
        except ConfigError:  # a batch or a dimension that doesn't divide
            continue
    return found


def _variants(planner: Planner, keys: Sequence[str]) -> Iterator[Variation]:
    """The product of the values of each key."""
    own = planner.estimator.variation
    devices = planner.target.hardware.count
    starts = [own]
    if "mesh" in keys and devices > 1:
        starts = [own.with_mesh(planner.mesh_of(changes), changes) for changes in meshes(devices)]
    for start in starts:
        for batch in batches(own.batch) if "batch_size" in keys else (own.batch,):
            for remat in REMAT if "remat" in keys else (None,):
                for accumulate in ACCUMULATE if "accumulate" in keys else (own.accumulate,):
                    for precision in ("f32", "bf16") if "precision" in keys else (own.precision,):
                        variant = start.with_batch(batch)
                        variant = variant if remat is None else variant.with_remat(remat)
                        yield variant.with_accumulate(accumulate).with_precision(precision)
