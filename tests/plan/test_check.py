"""The check before a run starts, on a machine that is said to have little memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from command import typed

from bigtrain.config.errors import InputError
from bigtrain.config.trust import Trust
from bigtrain.parallel import distributed
from bigtrain.plan import check, host
from bigtrain.plan.make import capacity_of
from bigtrain.plan.memory import Memory
from bigtrain.plan.topology import Target

RUN = "fit steps=2 data=mnist1d model.widths=[512,512] batch_size=256 run_dir=r logger=jsonl"


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "available", lambda: 1 << 20)
    monkeypatch.setattr(host, "rss", lambda: 100 << 20)
    monkeypatch.setattr(host, "baseline", lambda: 100 << 20)
    monkeypatch.setattr(host, "compiling", lambda: 100 << 20)


def test_a_run_that_can_not_fit_is_refused(short_of_memory: None, workdir: Path) -> None:
    done = typed(RUN)
    assert done.code == 2
    first, advice, way_out = done.err.strip().splitlines()
    assert first.startswith("error: does not fit: 0.1")
    assert "GB are missing on each device" in first
    assert "available memory" in first
    assert "makes it fit" in advice
    assert way_out == "  to start all the same: plan.check=off"
    assert not (workdir / "r").exists()


def test_the_check_can_be_skipped(short_of_memory: None, workdir: Path) -> None:
    assert typed(f"{RUN} plan.check=off").code == 0
    assert (workdir / "r" / "result.json").exists()


def test_what_fits_starts(workdir: Path) -> None:
    assert typed(RUN).code == 0


def test_a_check_that_is_neither_on_nor_off(workdir: Path) -> None:
    done = typed(f"{RUN} plan.check=maybe")
    assert done.code == 2
    assert done.err.startswith("error: plan.check: 'maybe' is not allowed")


def test_a_compilers_refusal_is_answered_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.plan.hardware import parse

    monkeypatch.setattr(check, "here", lambda devices: Target(parse("tpu-v5e-4"), list(devices)))
    error = RuntimeError("RESOURCE_EXHAUSTED: Used 39.67G of 15.75G hbm.")
    text = str(check.explained(error, ["model=vae"]))
    assert text.startswith("does not fit: 25.68 GB are missing on each device (it needs 42.60 GB)")
    assert text.endswith("bigtrain plan model=vae hardware=tpu-v5e-4")
    assert check.explained(RuntimeError("INTERNAL: a bug"), []) is None


class Peers(distributed.Alone):
    """Process 1 of 4, of which two and two share a host."""

    def __init__(self, index: int, answer: str | None) -> None:
        super().__init__(index, 4, index == 0)
        object.__setattr__(self, "answer", answer)

    def shared(self, name: str, make: Any) -> Any:
        """As of real ones: process 0 makes it, and the others get its answer."""
        if self.leader:
            return make()
        if self.answer is not None:
            raise InputError(self.answer)
        return None

    def hosts(self) -> tuple[int, ...]:
        return (0, 0, 2, 2)


def test_processes_share_the_memory_of_their_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the four devices are here, in two processes; each holds 100 already."""
    monkeypatch.setattr(distributed, "_current", Peers(0, None))
    monkeypatch.setattr(host, "available", lambda: 10 * 10**9)
    monkeypatch.setattr(host, "rss", lambda: 10**9)
    devices = [SimpleNamespace(platform="cpu", process_index=process) for process in range(4)]
    target = check.here(devices)
    assert target.capacity == (6 * 10**9, "available memory, 12.0 GB shared by 2 devices")
    assert capacity_of(target, 1) == target.capacity
    monkeypatch.setattr(host, "available", lambda: None)
    assert check.here(devices).capacity is None


def test_of_several_processes_the_first_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others neither measure nor compile anything, and none looks for advice while the others wait."""
    too_much = Memory({"arrays": 2 * 10**9}, "training", 10**9, "available memory")
    measured: list[int] = []

    def measure(ready: Any, target: Any) -> Memory:
        measured.append(1)
        return too_much

    monkeypatch.setattr(check, "memory_of", measure)
    ready: Any = SimpleNamespace(rules=SimpleNamespace(mesh=SimpleNamespace(devices=np.array(jax.devices()[:4]))))
    variant: Any = None
    dataset: Any = None
    texts = []
    given = ["model=vae", "run_dir='a b'", "mesh.simulate=2", "data.files=[a,b]"]
    for index, answer in ((0, None), (1, "does not fit: as process 0 says")):
        monkeypatch.setattr(distributed, "_current", Peers(index, answer))
        with pytest.raises(InputError) as caught:
            check.check_memory(ready, variant, Trust.of((), ()), dataset, given)
        texts.append(str(caught.value))
    assert measured == [1]
    assert texts[1] == "does not fit: as process 0 says"
    assert (
        texts[0].splitlines()[1]
        == "  for the cheapest change: bigtrain plan model=vae 'data.files=[a,b]' hardware=cpu-4"
    )


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("max\n", "5\n", 3_000_000 * 1024), ("2000000000\n", "1500000000\n", 500_000_000), (None, None, 3_000_000 * 1024)],
)
def test_available_memory_is_within_the_containers_limit(
    tmp_path: Path, limit: str | None, used: str | None, expected: int
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 3000000 kB\n")
    if limit:
        group = tmp_path / "sys" / "fs" / "cgroup"
        group.mkdir(parents=True)
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text(used or "")
    assert host.available(tmp_path) == expected


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert host.available(tmp_path) is None
