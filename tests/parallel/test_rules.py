"""The table from dimension names to mesh axes."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel.mesh import make
from bigtrain.parallel.rules import Rules


def rules(data, table=None):
    return Rules.checked(make(MeshConfig(data=data)), {"batch": "data"} if table is None else table)


def test_a_batch_is_cut_into_consecutive_pieces_one_a_device():
    made, batch = rules(4), np.arange(24).reshape(8, 3)
    array = jax.device_put(batch, made.sharding(("batch",)))
    assert made.ways("batch") == 4
    for at, shard in enumerate(array.addressable_shards):
        assert shard.device == jax.devices()[at]
        np.testing.assert_array_equal(shard.data, batch[2 * at : 2 * at + 2])


def test_a_dimension_without_a_rule_and_an_array_without_names_are_replicated():
    made = rules(4)
    assert made.sharding((None, "batch")).spec == PartitionSpec(None, "data")
    for sharding in (made.sharding(), made.sharding((None,)), rules(4, {}).sharding(("batch",))):
        assert sharding.is_fully_replicated
    assert rules(4, {}).ways("batch") == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"bach": "data"}, "mesh.rules.bach: no array has such a dimension\n  allowed: batch\n  did you mean 'batch'?"),
        ({"batch": "model"}, "mesh.rules.batch: the mesh has no axis 'model'\n  allowed: data"),
        ({"batch": None}, "mesh.rules.batch: the mesh has no axis None\n  allowed: data"),
    ],
)
def test_an_impossible_rule_is_refused(table, message):
    with pytest.raises(ConfigError) as caught:
        rules(2, table)
    assert str(caught.value) == message
