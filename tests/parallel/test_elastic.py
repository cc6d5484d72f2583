"""A run that was saved by some processes on some devices goes on with more or fewer of either, and another mesh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT, SMALL, environment, launch
from support import losses_of

from bigtrain.cli.launch import free_port
from bigtrain.parallel import cluster

SHAPES = {"1x1": (1, 1), "1x8": (1, 8), "2x4": (2, 4), "4x2": (4, 2)}  # processes x devices of each
OPTIONS = ("model.widths=[64,32]", "ema=0.9", *SMALL[1:])


def mesh(shape: str) -> tuple[str, ...]:
    """The overrides for a mesh over so many devices: parameters and optimizer are split wherever there are several."""
    processes, devices = SHAPES[shape]
    if processes * devices == 1:
        return ("mesh=single", "mesh.simulate=1")
    return ("mesh=fsdp_tensor", "mesh.tensor=2", f"mesh.simulate={devices}")


def trained(shape: str, run: Path, steps: int) -> None:
    done = launch("-n", str(SHAPES[shape][0]), "fit", *OPTIONS, *mesh(shape), f"steps={steps}", f"run_dir={run}")
    assert done.returncode == 0, done.stderr


def hashes(shape: str, runs: list[Path]) -> list[list[str]]:
    """For each process of a shape, the hashes of the states that all of them restore together."""
    processes, _ = SHAPES[shape]
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, str(ROOT / "tests" / "restored.py"), ",".join(map(str, runs)), *OPTIONS, *mesh(shape)]
    running = [
        subprocess.Popen(
            command, env=environment(**cluster.told(address, processes, rank)), stdout=subprocess.PIPE, text=True
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return [json.loads(output)["hashes"] for output in outputs]


@pytest.mark.long
def test_every_shape_restores_every_other_bit_for_bit_and_goes_on(tmp_path: Path) -> None:
    runs = {shape: tmp_path / shape for shape in SHAPES}
    for shape, run in runs.items():
        trained(shape, run, steps=4)
    for shape in SHAPES:
        losses = losses_of(runs[shape])
        np.testing.assert_allclose(losses, losses_of(runs["1x1"]), rtol=1e-5, err_msg=shape)
    found = {shape: hashes(shape, list(runs.values())) for shape in SHAPES}
    first = found["1x1"][0]
    assert len(set(first)) > 1, "the states differ in rounding, so a hash tells them apart"
    for shape, of_each in found.items():
        for process, theirs in enumerate(of_each):
            assert theirs == first, f"restored by process {process} of {shape}"
    whole = tmp_path / "whole"
    trained("1x1", whole, steps=8)
    shapes = list(SHAPES)
    for before, after in zip(shapes, [*shapes[1:], shapes[0]], strict=True):  # each is left once and taken up once
        trained(after, runs[before], steps=8)
        theirs = losses_of(whole)
        np.testing.assert_allclose(losses_of(runs[before]), theirs, rtol=1e-5, err_msg=f"{before} → {after}")
