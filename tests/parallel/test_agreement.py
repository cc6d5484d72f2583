"""How processes agree on where to stop, on a pace, and on what is whose; with threads in their place."""

from __future__ import annotations

import threading
import time
from typing import Any

import jax
import numpy as np
import pytest
from store import Store

from bigtrain.config.errors import InputError, RunError
from bigtrain.config.schema import MeshConfig
from bigtrain.data.placement import Dispatch
from bigtrain.parallel import distributed
from bigtrain.parallel.agreement import Agreement
from bigtrain.parallel.arrays import Share, put
from bigtrain.parallel.distributed import Peers
from bigtrain.parallel.mesh import make
from bigtrain.parallel.rules import Rules
from bigtrain.parallel.watch import Watch
from bigtrain.train.pace import AgreedPace, Pace


def stopped_at(count: int, asking: int, at: int, delays: list[float]) -> list[list[int]]:
    """The steps that each of `count` threads launches when number `asking` gets a signal after step `at`."""
    store, sizes = Store(), [1, 2, 4, 3] * 100
    ours = [Agreement(store, index, count, 0) for index in range(count)]
    launched: list[list[int]] = [[] for _ in range(count)]
    lag = threading.Barrier(count)  # no process is more than a dispatch ahead: they compute together

    def run(index: int) -> None:
        step = 0
        for size in sizes:
            ours[index].admit(step, size)
            step += size
            launched[index].append(step)
            if index == asking and at <= step < at + size:
                ours[index].ask(15)
            if ours[index].reached() is not None:
                assert ours[index].reached() == 15
                return
            time.sleep(delays[index])
            lag.wait(20)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return launched


@pytest.mark.parametrize("asking", [0, 1, 2])
@pytest.mark.parametrize("delays", [[0.0, 0.0, 0.0], [0.02, 0.0, 0.005], [0.0, 0.01, 0.03]])
def test_all_stop_after_the_same_step(asking: int, delays: list[float]) -> None:
    launched = stopped_at(3, asking, 20, delays)
    assert launched[0] == launched[1] == launched[2]
    assert 20 <= launched[0][-1] < 1000, "neither before the signal nor never"


def test_nobody_waits_while_nobody_asks() -> None:
    store = Store()
    ours = Agreement(store, 0, 2, 0)
    for step in range(0, 1000, 10):
        ours.admit(step, 10)
        assert ours.reached() is None
    assert store.values == {}


def test_the_pace_is_that_of_process_0() -> None:
    store = Store()
    fast, slow = Pace(64), Pace(64)
    fast.steps, slow.steps = 32, 2
    ours = [AgreedPace(pace, Peers(k, 2, "", store, None).shared) for k, pace in enumerate((fast, slow))]  # type: ignore[arg-type]
    given: list[list[int]] = [[], []]

    def ask(index: int) -> None:
        given[index] += [ours[index].steps for _ in range(200)]

    threads = [threading.Thread(target=ask, args=(index,)) for index in (1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert given[0] == given[1]
    assert given[0][:5] == [1, 1, 1, 32, 32]
    assert len(store.values) == 7, "asked 4 times in the first 16, then at 32, 64 and 128"


def test_an_agreed_pace_still_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    done = jax.block_until_ready(jax.numpy.zeros(()))  # the first computation of all starts JAX, which takes its time
    own = Pace(64)
    agreed = AgreedPace(own, distributed.Alone().shared)
    agreed.launched(Dispatch(0, 1), done)
    agreed.launched(Dispatch(1, 1), done)
    assert own.steps == 4, "both were done when their calls had returned"
    monkeypatch.setattr("bigtrain.train.pace.is_done", lambda results: False)
    agreed.launched(Dispatch(2, 4), done)
    assert own._pending == (4, done)
    agreed.interrupted()
    assert own._pending is None


def test_what_process_0_makes_is_shared() -> None:
    store = Store()
    leader, other = (Peers(index, 2, "", store, None) for index in (0, 1))  # type: ignore[arg-type]
    assert leader.shared("a", lambda: [1]) == [1]
    assert leader.shared("a", lambda: {"b": 2}) == {"b": 2}

    def not_here() -> Any:
        raise AssertionError("made in process 0 alone")

    assert [other.shared("a", not_here), other.shared("a", not_here)] == [[1], {"b": 2}]


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_an_error_of_process_0_is_raised_by_all(kind: Any) -> None:
    store = Store()
    leader, other = (Peers(index, 2, "", store, None) for index in (0, 1))  # type: ignore[arg-type]

    def fail() -> None:
        raise kind("the disk is full")

    for peers in (leader, other):
        with pytest.raises(kind, match="the disk is full"):
            peers.shared("saving", fail)


def test_a_process_by_itself_asks_nobody() -> None:
    alone = distributed.current()
    assert (alone.index, alone.count, alone.leader) == (0, 1, True)
    assert alone.shared("x", lambda: 3) == 3
    alone.barrier("x")
    distributed.leave(0)
    distributed.explain(ValueError())
    assert distributed.told(InputError("x"), ["fit"]) == "x"


class Ended(BaseException):
    """Instead of the end of the process."""


@pytest.mark.parametrize("lost", [1, 2])
def test_process_0_finds_out_who_gives_no_sign_of_life(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr("bigtrain.parallel.watch.BEAT_SECONDS", 0.05)
    watch = Watch(store, 0, 3, 0.5)
    alive = threading.Event()

    def beat() -> None:
        number = 0
        while not alive.wait(0.05):
            number += 1
            store.key_value_set(f"bigtrain/beat/{3 - lost}", str(number), allow_overwrite=True)

    threads = [threading.Thread(target=work, daemon=True) for work in (beat, watch._look)]
    for thread in threads:
        thread.start()
    try:
        assert store.blocking_key_value_get("bigtrain/lost", 10_000) == str(lost)
    finally:
        alive.set()
        watch._closed.set()
        for thread in threads:
            thread.join(5)


def test_the_message_of_a_lost_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    watch = Watch(Store(), 1, 4, 15)
    watch._names[2] = "host node7, pid 4711"
    watch.rest = lambda: "checkpoints up to step 300 are complete; type the same command again to go on"
    ends: list[int] = []
    monkeypatch.setattr("os._exit", ends.append)
    watch._lost(2, "gave no sign of life for 15 s")
    assert capfd.readouterr().err == (
        "error: process 2 of 4 (host node7, pid 4711) was lost: it gave no sign of life for 15 s; "
        "checkpoints up to step 300 are complete; type the same command again to go on\n"
    )
    assert ends == [1]


def test_a_share_of_rows_is_put_where_it_belongs() -> None:
    """With the devices of one process, of which half are taken for another's."""
    rules = Rules.of(make(cfg := MeshConfig(data=4)), cfg)
    sharding = rules.sharding((None, "batch"))
    assert Share.of(sharding, 8).rows is None, "a process by itself takes all"
    whole = np.arange(3 * 8 * 2).reshape(3, 8, 2)
    share = Share(sharding, 8, np.arange(8))
    np.testing.assert_array_equal(share.put(share.take(whole)), whole)
    part = Share(sharding, 8, np.array([2, 3, 6, 7]))
    assert len(part) == 4
    np.testing.assert_array_equal(part.take(whole)[0, :, 0], whole[0, [2, 3, 6, 7], 0])


def test_put_gives_what_device_put_gives() -> None:
    rules = Rules.of(make(cfg := MeshConfig(data=4)), cfg)
    found = put(np.arange(8), rules.sharding(("batch",)))
    assert found.sharding == rules.sharding(("batch",))
    np.testing.assert_array_equal(found, np.arange(8))
