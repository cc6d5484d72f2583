"""The mesh that a config asks for, on eight simulated devices."""

from types import SimpleNamespace
from typing import Any

import jax
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel import distributed
from bigtrain.parallel.mesh import arranged, make, simulate, sizes
from bigtrain.parallel.watch import Watch


@pytest.mark.parametrize(
    ("cfg", "size"),
    [
        (MeshConfig(), 1),  # a CPU is one device unless told otherwise
        (MeshConfig(simulate=8), 8),
        (MeshConfig(data=-1), 8),
        (MeshConfig(data=1), 1),
        (MeshConfig(data=4), 4),
    ],
)
def test_the_size_of_the_mesh(cfg, size):
    mesh = make(cfg)
    assert dict(mesh.shape) == {"data": size}
    assert list(mesh.devices) == jax.devices()[:size]
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,)


@pytest.mark.parametrize(
    ("cfg", "shape"),
    [
        (MeshConfig(data=1, fsdp=-1), {"data": 1, "fsdp": 8}),
        (MeshConfig(fsdp=-1, tensor=2), {"data": 1, "fsdp": 4, "tensor": 2}),  # auto: what is left is for fsdp
        (MeshConfig(data=2, fsdp=2, sequence=1, tensor=2), {"data": 2, "fsdp": 2, "tensor": 2}),
        (MeshConfig(data=1, sequence=4), {"data": 1, "sequence": 4}),
    ],
)
def test_several_axes(cfg, shape):
    assert dict(make(cfg).shape) == shape


def test_slow_axes_are_outermost_so_that_fast_ones_stay_among_neighbours():
    fast, slow = (
        make(MeshConfig(data=2, fsdp=2, tensor=2)),
        make(MeshConfig(data=2, fsdp=2, tensor=2, slow=("tensor",))),
    )
    ids = [[device.id for device in mesh.devices[0, 0]] for mesh in (fast, slow)]
    assert ids == [[0, 1], [0, 4]]


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (
            MeshConfig(fsdp=-1, tensor=-1),
            "mesh.tensor: -1 is what is left, and mesh.fsdp takes that\n  allowed: a number",
        ),
        (
            MeshConfig(fsdp=-1, tensor=3),
            "mesh.fsdp: the 8 devices are not divisible by tensor 3, so nothing whole is left for fsdp\n"
            "  allowed: axes whose product is one of [1, 2, 4, 8]",
        ),
        (
            MeshConfig(data=1, fsdp=4, tensor=4),
            "mesh.fsdp: 16 devices are asked for, 8 found\n  to try it on a CPU, simulate them: mesh.simulate=16",
        ),
    ],
)
def test_axes_that_do_not_fit_the_devices_are_refused(cfg, message):
    with pytest.raises(ConfigError) as caught:
        make(cfg)
    assert str(caught.value) == message


def test_more_devices_than_there_are_is_refused_with_the_way_to_simulate_them():
    with pytest.raises(ConfigError) as caught:
        make(MeshConfig(data=16))
    assert str(caught.value) == (
        "mesh.data: 16 devices are asked for, 8 found\n  to try it on a CPU, simulate them: mesh.simulate=16"
    )


def test_simulating_as_many_devices_as_there_are_is_fine_and_another_number_is_refused():
    simulate(MeshConfig())
    simulate(MeshConfig(simulate=8))
    with pytest.raises(ConfigError) as caught:
        simulate(MeshConfig(simulate=4))
    assert str(caught.value) == (
        "mesh.simulate: 4 simulated devices were asked for, but JAX runs with 8\n  start a fresh process"
    )


def test_auto_takes_the_devices_of_several_processes_on_a_cpu_too():
    assert sizes(MeshConfig(), 4, "cpu", several=True)["data"] == 4
    assert sizes(MeshConfig(), 4, "cpu")["data"] == 1


def gpus(hosts: tuple[int, ...], each: int) -> list[Any]:
    """The GPUs of processes that run on these hosts, `each` of every process, as JAX numbers them."""
    return [
        SimpleNamespace(id=number, process_index=number // each, platform="gpu", device_kind="a GPU")
        for number in range(len(hosts) * each)
    ]


def share_hosts(monkeypatch: pytest.MonkeyPatch, hosts: tuple[int, ...]) -> None:
    monkeypatch.setattr(distributed, "_current", SimpleNamespace(hosts=lambda: hosts))


@pytest.mark.parametrize(
    ("hosts", "each"),
    [((0,) * 8 + (8,) * 8, 1), ((0, 1) * 8, 1), ((0, 1), 8), ((0, 0, 2, 2), 4)],
    ids=["by blocks", "cyclic", "a process a host", "two a host"],
)
def test_slow_axes_are_between_hosts_however_many_processes_each_has(
    hosts: tuple[int, ...], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with 2 nodes of 8 Slurm tasks, and `mesh=hybrid mesh.data=2`."""
    share_hosts(monkeypatch, hosts)
    grid = arranged(gpus(hosts, each), {"data": 2, "fsdp": 4, "tensor": 2}, ("data",))
    assert grid.shape == (2, 4, 2)
    places = [{hosts[device.process_index] for device in half.flat} for half in grid]
    assert places == [{hosts[0]}, {hosts[-1]}]
    assert len({device.id for device in grid.flat}) == 16
    inner = arranged(gpus(hosts, each), {"data": 8, "fsdp": 2}, ("fsdp",))
    assert [{hosts[device.process_index] for device in half.flat} for half in inner.T] == places


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ((0, 0, 2, 2), "mesh.slow: data = 4, and there are 2 nodes or slices\n  allowed: axes whose product is 2"),
        ((0, 1, 2, 2, 2), "mesh.slow: data = 4, and there are 3 nodes or slices\n  allowed: axes whose product is 3"),
        ((0, 1, 2, 3, 3), "mesh.slow: the 4 nodes or slices have 1 or 2 devices, and all need as many"),
    ],
)
def test_slow_axes_that_are_not_the_hosts_are_refused(
    hosts: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_hosts(monkeypatch, hosts)
    with pytest.raises(ConfigError) as caught:
        arranged(gpus(hosts, 1), {"data": 4}, ("data",))
    assert str(caught.value) == message


def test_slices_come_before_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    share_hosts(monkeypatch, (0, 1, 2, 3))
    devices = gpus((0, 1, 2, 3), 1)
    for device in devices:
        device.slice_index = device.id % 2
    assert [[device.id for device in row] for row in arranged(devices, {"data": 2, "fsdp": 2}, ("data",))] == [
        [0, 2],
        [1, 3],
    ]


class Said:
    """A coordination service in which a process is late to say who it is."""

    def __init__(self, names: list[str], late: int) -> None:
        self.names, self.late = {f"bigtrain/who/{at}": name for at, name in enumerate(names)}, f"bigtrain/who/{late}"

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        assert folder == "bigtrain/who"
        return [(key, name) for key, name in self.names.items() if key != self.late]

    def blocking_key_value_get(self, key: str, patience: int) -> str:
        assert key == self.late
        return self.names[key]


def test_processes_know_who_shares_their_host() -> None:
    names = ["host a, pid 1", "host b, pid 1", "host a, pid 22", "host b, pid 3"]
    client = Said(names, late=2)
    peers = distributed.Peers(1, 4, "a test", client, Watch(client, 1, 4, 10.0))
    assert peers.hosts() == (0, 1, 0, 1)
    assert distributed.Alone().hosts() == ()
