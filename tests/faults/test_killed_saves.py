"""SIGKILL in the middle of saves: what was acknowledged is there, and what is listed can be read."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from faults.counted import counted
from faults.saves import state
from faults.zygote import Zygote, zygote
from processes import environment

from bigtrain.checkpoint import Checkpoints, leaves

MEGABYTES = 24.0  # of a state: its save takes long enough to be killed anywhere in it
PATIENCE = 120.0  # seconds


def last_phase(path: Path) -> tuple[str, int]:
    """The last thing that the program has said."""
    lines = path.read_text().splitlines() if path.is_file() else []
    word, _, step = lines[-1].partition(" ") if lines else ("", "", "0")
    return word, int(step)


def killed_while_saving(saver: Zygote, folder: Path, phases: Path, delay: float) -> bool:
    """Kills it `delay` seconds after a save has begun, its first one left out; whether that was in the middle of one.

    A save that was done sooner than that is let go, and the next one is killed sooner: the machine has other work too.
    """
    before = last_phase(phases)[1]
    child = saver.begin(["saves", str(folder), str(phases), "1000000", str(MEGABYTES)], phases.with_suffix(".log"))
    until, seen = time.monotonic() + PATIENCE, False
    while True:
        now = last_phase(phases)
        seen = seen or (now[0] == "saved" and now[1] > before)
        if seen and now[0] == "saving" and now[1] > before:
            if lasts(phases, now, delay):
                break
            delay *= 0.8
        assert time.monotonic() < until, phases.with_suffix(".log").read_text()
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    assert saver.end() == -signal.SIGKILL
    return last_phase(phases)[0] == "saving"


def lasts(phases: Path, phase: tuple[str, int], seconds: float) -> bool:
    """Waits as long as that, and no longer than the phase: whether the program is in it still."""
    until = time.monotonic() + seconds
    while last_phase(phases) == phase:
        if time.monotonic() >= until:
            return True
        time.sleep(0.0002)
    return False


def one_save(saver: Zygote, folder: Path) -> float:
    """Seconds that a save takes, the first one left out."""
    phases = folder.with_suffix(".first")
    saver.begin(["saves", str(folder), str(phases), "4", str(MEGABYTES)], phases.with_suffix(".log"))
    times: list[float] = []
    word, step = "", 0
    while (word, step) != ("saved", 4):
        now = last_phase(phases)
        if now != (word, step):
            times.append(time.monotonic())
            word, step = now
        time.sleep(0.0005)
    assert saver.end() == 0
    return (times[-1] - times[-2] + times[-3] - times[-4]) / 2 if len(times) >= 4 else 0.5


def intact(folder: Path, step: int) -> None:
    """A checkpoint is what the program saved at that step."""
    checkpoints = Checkpoints(folder)
    assert checkpoints.problem(step) is None
    wanted = state(step, MEGABYTES)
    assert checkpoints.meta(step)["state"]["leaves"] == leaves.describe(wanted)
    import jax

    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted)
    found = checkpoints.restore(step, abstract)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    checkpoints.close()


def kills(folder: Path, number: int) -> None:
    phases, during, states = folder.with_suffix(".phases"), 0, set()
    with zygote(environment()) as saver:
        whole = one_save(saver, folder)
        random = np.random.default_rng(0)
        for kill in range(number):
            delay = whole * (kill + random.random()) / number  # over the whole length of a save, none left out
            during += killed_while_saving(saver, folder, phases, delay)
            states.add(tuple(sorted(entry.name.split(".")[-1] for entry in folder.iterdir() if "." in entry.name)))
            acknowledged = max(
                int(line.split()[1]) for line in phases.read_text().splitlines() if line.startswith("saved ")
            )
            listed = Checkpoints(folder).complete()
            assert acknowledged in listed, f"step {acknowledged} was acknowledged, and there are {listed}"
            for step in listed:
                intact(folder, step)
    assert during >= 0.8 * number, f"only {during} of {number} kills came in the middle of a save"
    assert ("partial",) in states, "no kill left half a save"
    counted("SIGKILL while saving", kills=number, in_a_save=during, lost=0, listed_and_unreadable=0)


def test_a_few_kills(tmp_path: Path) -> None:
    kills(tmp_path / "checkpoints", 3)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_fifty_kills(tmp_path: Path) -> None:
    kills(tmp_path / "checkpoints", 50)
