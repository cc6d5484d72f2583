"""The mesh that a config asks for, on eight simulated devices."""

import jax
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel.mesh import make, simulate


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
