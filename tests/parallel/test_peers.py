"""What processes tell each other, and how each ends when it is told to; with threads in their place."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command import typed
from store import Store

from bigtrain.cli.fit import _finished
from bigtrain.config.errors import InputError, code_of
from bigtrain.config.schema import DistributedConfig
from bigtrain.data.ahead import ahead, unwanted
from bigtrain.parallel import distributed, peers
from bigtrain.parallel.alike import check_alike
from bigtrain.parallel.peers import Alone, GivenUp, Peers
from bigtrain.parallel.watch import Watch
from bigtrain.run.directory import RunDirectory
from bigtrain.tracking.console import Console
from bigtrain.train.pace import AgreedPace, Pace


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SLICE", 20)


def together(count: int, work: Callable[[Peers], Any]) -> list[Any]:
    """What `work` gives, or raises, in each of `count` processes."""
    store, found = Store(), [None] * count

    def run(index: int) -> None:
        try:
            found[index] = work(Peers(index, count, "", store, None))  # type: ignore[arg-type]
        except Exception as error:
            found[index] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return found


def test_what_each_has_is_gathered() -> None:
    assert together(3, lambda own: own.gathered("x", own.index * 2)) == [[0, 2, 4]] * 3
    twice = together(2, lambda own: [own.gathered("x", own.index), own.gathered("x", own.index + 5)])
    assert twice == [[[0, 1], [5, 6]]] * 2
    assert Alone().gathered("x", 7) == [7]


def test_a_wait_outlasts_its_slices() -> None:
    store, asked = Store(), []
    late = threading.Event()
    other = Peers(1, 2, "", store, None)  # type: ignore[arg-type]

    def given_up() -> bool:
        asked.append(1)
        if len(asked) == 3:
            store.key_value_set("bigtrain/shared/x/1", json.dumps({"value": 5}))
            late.set()
        return False

    assert other.shared("x", lambda: 0, given_up) == 5
    assert late.is_set(), "two slices had passed before there was a value"


def test_a_wait_is_given_up() -> None:
    other = Peers(1, 2, "", Store(), None)  # type: ignore[arg-type]
    with pytest.raises(GivenUp):
        other.shared("x", lambda: 0, lambda: True)


@pytest.mark.parametrize("own", [Alone(), Peers(0, 2, "", Store(), None)])  # type: ignore[arg-type]
def test_nothing_is_shared_while_something_is_made(own: Any) -> None:
    with pytest.raises(AssertionError, match="'steps' is shared while 'finished' is made"):
        own.shared("finished", lambda: own.shared("steps", lambda: 3))
    assert own.shared("after", lambda: 3) == 3
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(own.shared("pace", lambda: 4)))

    def make() -> None:
        thread.start()
        thread.join(20)

    own.shared("saving", make)
    assert elsewhere == [4], "the thread that plans ahead is another matter"


def test_a_finished_run_is_looked_up_by_process_0_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    leader = Peers(0, 2, "", store, None)  # type: ignore[arg-type]
    monkeypatch.setattr(distributed, "_current", leader)
    make = partial(_finished, RunDirectory(tmp_path), 10, None, Console(quiet=True), "", as_json=False)
    assert leader.shared("finished", make) is False
    assert list(store.values) == ["bigtrain/shared/finished/1"]


def test_a_producer_that_waits_for_the_pace_is_let_go() -> None:
    """Process 0 has stopped, and will never say it."""
    other = Peers(1, 2, "", Store(), None)  # type: ignore[arg-type]
    pace, closed, waits = AgreedPace(Pace(8), other.shared), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield pace.steps
                if pace._asked == 3:
                    waits.set()
        finally:
            closed.set()

    running = ahead(items(), 8)
    assert next(running) == 1
    assert waits.wait(20)
    running.close()  # type: ignore[attr-defined]
    assert closed.is_set(), "worker processes would be left"
    assert not any(thread.name == "bigtrain-data" for thread in threading.enumerate())
    assert not unwanted(), "that is asked by producers"


CONFIG = {"seed": 0, "model": {"widths": [8], "_target_": "m"}, "augment": {"flip": {}, "crop": {}}, "run_dir": "a",
          "distributed": {"process_id": 0}, "mesh": {"data": 2, "simulate": 1}, "data_workers": 0}  # fmt: skip


def alike(*configs: dict[str, Any]) -> list[Any]:
    return together(len(configs), lambda own: check_alike(own, configs[own.index]))


def test_processes_may_differ_in_what_is_their_own() -> None:
    own = {"run_dir": "b", "distributed": {"process_id": 1}, "mesh": {"data": 2, "simulate": 4}, "data_workers": 3}
    assert alike(CONFIG, {**CONFIG, **own}, dict(reversed(CONFIG.items()))) == [None] * 3
    check_alike(Alone(), CONFIG)


def test_processes_of_different_configs_are_refused_by_all() -> None:
    found = alike(CONFIG, {**CONFIG, "seed": 1, "model": {"widths": [16], "_target_": "m"}}, CONFIG)
    assert all(type(error) is InputError for error in found)
    changes = (
        "  seed: 0 in process 0, 1 in process 1\n"
        "  model.widths: [8] in process 0, [16] in process 1\n"
        "  start all with the same config; for runs of their own: distributed.num_processes=1"
    )
    assert [str(error) for error in found] == [
        f"distributed: process 1 of 3 was started with another config than this process\n{changes}",
        f"distributed: this process was started with another config than process 0\n{changes}",
        f"distributed: process 1 of 3 was started with another config than process 0\n{changes}",
    ]


def test_several_that_differ_each_say_how() -> None:
    swapped = {**CONFIG, "augment": {"crop": {}, "flip": {}}}
    found = [str(error) for error in alike(CONFIG, swapped, {**CONFIG, "extra": {str(k): k for k in range(10)}})]
    assert found[0].startswith("distributed: process 1 and 1 more of 3 were started with another config than this")
    assert '  augment: ["flip", "crop"] in process 0, ["crop", "flip"] in process 1\n' in found[1]
    assert "  extra.0: nothing in process 0, 0 in process 2\n" in found[2]
    assert "  and 2 more\n" in found[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("index", [0, 1])
def test_a_signal_before_training_ends_all(
    number: int, index: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store, ends = Store(), []
    store.key_value_set(f"bigtrain/gone/{1 - index}", "")
    monkeypatch.setattr(distributed, "_current", Alone())
    monkeypatch.setattr(distributed, "_joined", lambda found, cfg: store)
    monkeypatch.setattr(Watch, "begin", lambda self: None)
    monkeypatch.setattr("os._exit", ends.append)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        distributed.start(DistributedConfig("host:1", 2, index))
        os.kill(os.getpid(), number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ends == [code_of(number)]
    notice = json.loads(store.values["bigtrain/failed"])
    assert (notice["process"], notice["code"]) == (index, code_of(number)), "which ends the other"
    assert capfd.readouterr().err == ("" if index else "interrupted; what was saved is intact\n")


@pytest.mark.parametrize(
    ("name", "line"),
    [("SLURM_PROCID", "fit modle=vae"), ("JOB_COMPLETION_INDEX", "fit modle=vae distributed.num_processes=1")],
)
def test_a_mistake_is_told_whatever_the_rank(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    done = typed(line)
    assert done.code == 2
    assert done.err.startswith("error: process 3: modle: ")


def test_a_rank_is_only_named_where_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert distributed.told(InputError("x"), ["fit"]) == "process 3: x"
    assert distributed.told(InputError("x"), ["evaluate"]) == "x"


def test_of_joined_processes_those_that_say_something_else_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr(distributed, "TOGETHER_SECONDS", 0.05)
    for index, text, expected in ((0, "a", "a"), (1, "a", None), (1, "b", "process 1: b")):
        monkeypatch.setattr(distributed, "_current", Peers(index, 2, "", store, Watch(store, index, 2, 15)))
        assert distributed.told(InputError(text), ["fit"]) == expected
