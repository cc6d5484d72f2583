"""The mesh that a config asks for, on eight simulated devices."""

import jax
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel.mesh import make, simulate, sizes


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
