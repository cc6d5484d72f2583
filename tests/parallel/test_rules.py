"""The table from dimension names to mesh axes."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.parallel.mesh import make
from bigtrain.parallel.rules import Rules


def rules(table=None, **axes):
    cfg = MeshConfig(**(axes or {"data": 4}), rules={"batch": "data"} if table is None else table)
    return Rules.of(make(cfg), cfg)


def refused(call, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_a_batch_is_cut_into_consecutive_pieces_one_a_device():
    made, batch = rules(), np.arange(24).reshape(8, 3)
    array = jax.device_put(batch, made.sharding(("batch",)))
    assert made.ways("batch") == 4
    for at, shard in enumerate(array.addressable_shards):
        assert shard.device == jax.devices()[at]
        np.testing.assert_array_equal(shard.data, batch[2 * at : 2 * at + 2])


def test_a_dimension_without_a_rule_and_an_array_without_names_are_replicated():
    made = rules()
    assert made.sharding((None, "batch")).spec == PartitionSpec(None, "data")
    for sharding in (made.sharding(), made.sharding((None,)), rules({}).sharding(("batch",))):
        assert sharding.is_fully_replicated
    assert rules({}).ways("batch") == 1
    assert rules({"batch": None}).ways("batch") == 1


def test_a_dimension_may_be_split_over_several_axes():
    made = rules({"batch": ["data", "fsdp"]}, data=2, fsdp=4)
    assert made.ways("batch") == 8
    assert made.sharding(("batch",)).spec == PartitionSpec(("data", "fsdp"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"batch": "model"},
            "mesh.rules.batch: no mesh has an axis 'model'\n  allowed: data, fsdp, sequence, tensor",
        ),
        (
            {"batch": "tenso"},
            "mesh.rules.batch: no mesh has an axis 'tenso'\n  allowed: data, fsdp, sequence, tensor\n"
            "  did you mean 'tensor'?",
        ),
        ({"batch": ["data", "data"]}, "mesh.rules.batch: ['data', 'data'] names an axis twice"),
    ],
)
def test_an_impossible_axis_is_refused(table, message):
    assert refused(rules, table) == message


def test_a_rule_that_splits_nothing_is_refused_unless_it_is_optional():
    made = rules({"batch": "data", "hiden": "data"})
    assert refused(made.check_used, {"hidden", "features"}, {"data"}) == (
        "mesh.rules.hiden: no array has such a dimension\n  allowed: batch, features, hidden\n  did you mean 'hidden'?"
    )
    cfg = MeshConfig(data=4, rules={"batch": "data", "heads": "data"}, optional=("heads",))
    Rules.of(make(cfg), cfg).check_used({"hidden"}, {"data"})


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (
            MeshConfig(data=8, rules={"batch": "data", "parameters": "fsdp"}),
            "mesh.rules.parameters: the mesh has one device along fsdp, so this splits nothing\n"
            "  give it some: mesh.fsdp=-1",
        ),
        (
            MeshConfig(data=8, rules={"batch": "data", "hidden": "data"}, optional=("hiden",)),
            "mesh.optional: there is no rule for 'hiden'\n  allowed: batch, hidden\n  did you mean 'hidden'?",
        ),
        (
            MeshConfig(data=8, uneven=("vocabulary",)),
            "mesh.uneven: there is no rule for 'vocabulary'\n  allowed: batch",
        ),
        (MeshConfig(data=8, slow=("tensor",)), "mesh.slow: mesh.tensor is 1: nothing crosses between nodes along it"),
    ],
)
def test_what_would_say_nothing_is_refused(cfg, message):
    assert refused(Rules.of, make(cfg), cfg) == message


def test_an_axis_that_splits_nothing_is_refused():
    made = rules({"batch": "data", "heads": "tensor"}, data=2, tensor=4)
    made.check_used({"heads"}, {"tensor"})
    assert refused(made.check_used, {"heads", "hidden"}, {"data"}) == (
        "mesh.tensor: nothing of this run is split over the 4 devices of 'tensor'\n"
        "  split one of its dimensions: mesh.rules.DIM=tensor with DIM of batch, heads, hidden"
    )


class TestParameters:
    KERNEL = ("kernel", (96, 256), ("width", "hidden"))

    def test_named_dimensions_follow_their_rules(self):
        made = rules({"hidden": "tensor", "width": "fsdp"}, data=1, fsdp=2, tensor=4)
        assert made.of_parameter(*self.KERNEL).spec == PartitionSpec("fsdp", "tensor")

    def test_parameters_stands_for_the_largest_free_dimension_that_divides(self):
        made = rules({"parameters": "fsdp", "hidden": "tensor"}, data=1, fsdp=2, tensor=4)
        assert made.of_parameter(*self.KERNEL).spec == PartitionSpec("fsdp", "tensor")
        assert made.of_parameter(*self.KERNEL, whole=True).spec == PartitionSpec(None, "tensor")
        assert made.of_parameter("odd", (1023, 64), (None, None)).spec == PartitionSpec(None, "fsdp")
        stack = made.of_parameter("stack", (512, 32, 64), ("layers", None, None))
        assert stack.spec == PartitionSpec(None, None, "fsdp")  # never the layers: a scan runs over them

    def test_where_none_is_free_one_is_split_further(self):
        made = rules({"optimizer": "data", "parameters": "fsdp", "hidden": "tensor"}, data=2, fsdp=2, tensor=2)
        assert made.of_parameter(*self.KERNEL).spec == PartitionSpec("fsdp", "tensor")
        assert made.of_optimizer(*self.KERNEL).spec == PartitionSpec("fsdp", ("tensor", "data"))

    def test_what_is_small_or_divides_nowhere_stays_whole(self):
        made = rules({"parameters": "fsdp"}, data=1, fsdp=8)
        assert made.of_parameter("bias", (512,), (None,)).is_fully_replicated
        assert made.of_parameter("odd", (1025, 3), (None, None)).is_fully_replicated

    def test_the_optimizer_may_be_split_where_the_parameter_is_not(self):
        made = rules({"batch": "data", "optimizer": "data"}, data=8)
        assert made.of_parameter(*self.KERNEL).is_fully_replicated
        assert made.of_optimizer(*self.KERNEL).spec == PartitionSpec(None, "data")

    def test_a_size_that_does_not_divide_is_refused_with_the_nearest(self):
        made = rules({"hidden": "tensor"}, data=1, tensor=4)
        assert refused(made.of_parameter, "hidden.0.kernel", (64, 30), ("features", "hidden")) == (
            "mesh.rules.hidden: 30 hidden of hidden.0.kernel [64, 30] do not divide over the 4 devices of tensor\n"
            "  allowed: 28 or 32 hidden; or tensor of 2, 3, 5, 6, 10, 15\n"
            "  to leave them whole: mesh.rules.hidden=null"
        )

    def test_heads_stay_whole(self):
        made = rules({"heads": "tensor"}, data=1, tensor=4)
        message = refused(made.of_parameter, "query", (96, 96), ("width", ("heads", 6)))
        assert message.startswith("mesh.rules.heads: 6 heads of query [96, 96] do not divide over the 4 devices")
        assert "4 or 8 heads; or tensor of 2, 3, 6" in message

    def test_uneven_dimensions_stay_whole(self):
        cfg = MeshConfig(data=1, tensor=4, rules={"vocabulary": "tensor"}, uneven=("vocabulary",))
        made = Rules.of(make(cfg), cfg)
        assert made.of_parameter("table", (75, 128), ("vocabulary", "width")).is_fully_replicated
        assert made.of_parameter("table", (76, 128), ("vocabulary", "width")).spec == PartitionSpec("tensor", None)
