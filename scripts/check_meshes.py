"""Every family on every mesh, over eight simulated devices: equal losses, and what the devices send each other.

    python scripts/check_meshes.py                     # all of them; about twenty minutes on two cores
    python scripts/check_meshes.py gpt --mesh fsdp     # some
    python scripts/check_meshes.py --weak              # the same work a device on 1 to 8 devices: bytes, not time

A mesh may not change the losses of 50 steps by more than 1e-5 of their size, nor make the program send anything that
isn't expected of it. A family that has nothing to split for a mesh is refused, with the reason in the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from bigtrain.cli.fit import understood
from bigtrain.config.compose import to_yaml
from bigtrain.config.errors import ConfigError
from bigtrain.data.load import load_data
from bigtrain.plan.collectives import Collective, collectives
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.console import Console
from bigtrain.train.fit import fit
from bigtrain.train.prepare import Prepared, prepare
from bigtrain.train.sharding import bytes_on_a_device

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests" / "contract"))
from meshes import FAMILIES, MESHES, SHORT, unexpected

DEVICES, BOUND = 8, 1e-5
WEAK = {"data": ("mesh=data",), "fsdp": ("mesh=fsdp",), "zero1": ("mesh=zero1",)}


def compiled(overrides: Sequence[str]) -> tuple[Prepared, list[Collective]]:
    """A run that is ready, and what a step of it sends."""
    _, checked, trusted = understood([*overrides, "run_dir=unused"], None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))
    return ready, collectives(ready.program.executables["advance"].as_text(), ready.rules.mesh.shape)


def losses(ready: Prepared, overrides: Sequence[str]) -> np.ndarray:
    """The training loss of each step of a run."""
    composed, checked, trusted = understood([*overrides, "run_dir=unused"], None, [])
    with tempfile.TemporaryDirectory() as name:
        directory = RunDirectory.create(Path(name) / "run", to_yaml(composed.written), list(overrides))
        fit(ready, checked, trusted, directory, Console(quiet=True), Clock())
        lines = [json.loads(line) for line in (directory.path / "metrics.jsonl").read_text().splitlines()]
    return np.array([line["train/loss"] for line in lines if "train/loss" in line])


def sent(found: Sequence[Collective]) -> str:
    """The collectives of a step, shortly."""
    counts: Counter[str] = Counter()
    for entry in found:
        counts[f"{entry.kind} over {entry.axis}"] += round(entry.count)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{listed}; {sum(entry.bytes for entry in found) / 1e6:.2f} MB" if listed else "nothing"


def table(families: Sequence[str], meshes: Sequence[str]) -> bool:
    """Prints a row for each pair; whether all of them hold."""
    print("| family | mesh | largest difference of a loss | a step sends |\n| --- | --- | --- | --- |", flush=True)
    fine = True
    for family in families:
        given = (*FAMILIES[family], *SHORT)
        single = losses(compiled(given)[0], given)
        for mesh in meshes:
            try:
                ready, found = compiled((*given, *MESHES[mesh]))
            except ConfigError as error:
                print(f"| {family} | {mesh} | refused | {str(error).splitlines()[0]} |", flush=True)
                continue
            difference = float(np.max(np.abs(losses(ready, (*given, *MESHES[mesh])) / single - 1)))
            wrong = unexpected(mesh, {(entry.kind, entry.axis) for entry in found})
            fine &= difference <= BOUND and not wrong
            mark = f" UNEXPECTED {sorted(wrong)}" if wrong else ""
            print(f"| {family} | {mesh} | {difference:.1e} | {sent(found)}{mark} |", flush=True)
    return fine


def weak(family: str) -> None:
    """Prints what devices hold and send while each has the same share of a growing batch."""
    print("| mesh | devices | state on a device, MB | a step sends |\n| --- | --- | --- | --- |", flush=True)
    for mesh, overrides in WEAK.items():
        axis = "fsdp" if mesh == "fsdp" else "data"
        for devices in (1, 2, 4, 8):
            sizes = (f"mesh.{axis}={devices}", f"batch_size={8 * devices}")
            try:
                ready, found = compiled((*FAMILIES[family], *overrides, *sizes))
            except ConfigError as error:
                print(f"| {mesh} | {devices} | refused | {str(error).splitlines()[0]} |")
                continue
            held = bytes_on_a_device(ready.program.abstract) / 1e6
            print(f"| {mesh} | {devices} | {held:.3f} | {sent(found)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"{', '.join(FAMILIES)}; all by default")
    parser.add_argument("--mesh", nargs="*", choices=list(MESHES), default=list(MESHES))
    parser.add_argument("--weak", action="store_true", help="the same work a device on 1 to 8 devices")
    asked = parser.parse_args()
    if unknown := set(asked.families) - set(FAMILIES):
        parser.error(f"no family {sorted(unknown)[0]!r}; there are {', '.join(FAMILIES)}")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    if asked.weak:
        weak((asked.families or ["gpt"])[0])
        return 0
    return 0 if table(asked.families or list(FAMILIES), asked.mesh) else 1


if __name__ == "__main__":
    sys.exit(main())
