"""What is sent, read from compiled programs: from stored lines, and from programs for simulated devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bigtrain.plan import hlo
from bigtrain.plan.collectives import axis_of, collectives, groups_of, inside

SHAPE = {"data": 2, "fsdp": 2, "tensor": 2}


@pytest.mark.parametrize(
    ("text", "groups", "axis"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}, x", ((0, 1), (2, 3), (4, 5), (6, 7)), "tensor"),
        ("replica_groups=[4,2]<=[8], x", ((0, 1), (2, 3), (4, 5), (6, 7)), "tensor"),
        ("replica_groups=[2,4]<=[2,2,2]T(1,0,2), x", ((0, 1, 4, 5), (2, 3, 6, 7)), "data x tensor"),
        ("replica_groups=[2,4]<=[8]", ((0, 1, 2, 3), (4, 5, 6, 7)), "fsdp x tensor"),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'b'}, x", ((0, 2), (1, 3), (4, 6), (5, 7)), "fsdp"),
        (
            "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}, x",
            ((0, 4), (1, 5), (2, 6), (3, 7)),
            "data",
        ),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(0,2,1,3) {'b'}, x", ((0, 2), (1, 3)), "fsdp"),
        ("replica_groups=mesh['a'=2,'b'=4] {'b':(1)2}, x", ((0, 2), (1, 3), (4, 6), (5, 7)), "fsdp"),
        ("replica_groups={}, x", ((0, 1, 2, 3, 4, 5, 6, 7),), "data x fsdp x tensor"),
        ("source_target_pairs={{0,4},{4,0},{1,5}}", ((0, 4), (4, 0), (1, 5)), "data"),
    ],
)
def test_groups_and_their_axis(text: str, groups: tuple, axis: str) -> None:
    assert groups_of(text, 8) == groups
    assert axis_of(groups, SHAPE) == axis


# ruff: noqa: E501  lines as XLA prints them
STORED = """HloModule stored

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %g = ((f32[4,4]{1,0}, bf16[2]{0}), (f32[8,4]{1,0}, bf16[4]{0})) all-gather-start(%a, %b), replica_groups=[4,2]<=[8], dimensions={0}
  %s = ((f32[8,4]{1,0}), (f32[4,4]{1,0})) reduce-scatter-start(%c), replica_groups=[4,2]<=[8], dimensions={0}, to_apply=%add
  %d = f32[2,4]{1,0:T(8,128)} reduce-scatter(%e), replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

%condition (p: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%all-reduce-scatter.1 (p: f32[8,4]) -> f32[4,4] {
  %r = f32[8,4]{1,0} all-reduce(%p), replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %sl = f32[4,4]{1,0} dynamic-slice(%r, %i, %z), dynamic_slice_sizes={4,4}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %w = (s32[], /*index=1*/f32[8,4]{1,0}) while(%t0), condition=%condition, body=%body
  %k = (s32[], f32[8,4]{1,0}) while(%t1), condition=%other, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %f = f32[4,4]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %q = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%p), source_target_pairs={{0,4},{4,0}}
}
"""


def test_stored_programs_count_loops_pairs_of_start_and_done_and_fusions() -> None:
    found = {(entry.kind, entry.members): (entry.count, entry.bytes) for entry in collectives(STORED, SHAPE)}
    turns = 5 + 3  # by the constant of the condition, and as the compiler says
    assert found == {
        ("all-gather", 2): (turns, turns * (8 * 4 * 4 + 4 * 2)),
        ("reduce-scatter", 2): (turns + 1, (turns + 1) * 8 * 4 * 4),  # one of them an all-reduce and a slice in one
        ("reduce-scatter", 4): (turns, turns * 4 * (2 * 4 * 4)),
        ("collective-permute", 2): (1, 8 * 4 * 4),
    }


def test_bytes_of_types() -> None:
    assert hlo.arrays("(f32[2,3]{1,0:T(8,128)}, bf16[4], pred[8], s4[3], f8e4m3fn[5], token[])") == [24, 8, 8, 2, 5, 0]


def _mesh() -> Mesh:
    devices = np.array(jax.devices()[:8]).reshape(4, 2)
    return Mesh(devices, ("fsdp", "tensor"), axis_types=(AxisType.Auto,) * 2)


def _shape(mesh: Mesh, dims: tuple, *sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*dims)))


def test_a_compiled_product_over_a_split_dimension_is_summed() -> None:
    mesh = _mesh()
    left, right = _shape(mesh, ("fsdp", "tensor"), 16, 4096), _shape(mesh, ("tensor", None), 4096, 32)
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    text = jax.jit(jnp.matmul, out_shardings=rows).lower(left, right).compile().as_text()
    (only,) = collectives(text, dict(mesh.shape))
    found = (only.kind, only.axis, only.members, only.count, only.bytes)
    assert found == ("all-reduce", "tensor", 2, 1, 16 // 4 * 32 * 4)


def test_a_compiled_scan_counts_each_turn() -> None:
    mesh = _mesh()
    weights, values = _shape(mesh, (None, "fsdp", None), 6, 8, 8), _shape(mesh, (), 4, 8)
    whole = NamedSharding(mesh, PartitionSpec())

    def run(weights: jax.Array, values: jax.Array) -> jax.Array:
        def body(carry: jax.Array, weight: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(carry @ jax.lax.with_sharding_constraint(weight, whole)), None

        return jax.lax.scan(body, values, weights)[0]

    text = jax.jit(run, out_shardings=whole).lower(weights, values).compile().as_text()
    gathers = [entry for entry in collectives(text, dict(mesh.shape)) if entry.kind == "all-gather"]
    assert [(entry.axis, entry.count * entry.members, entry.bytes) for entry in gathers] in (
        [("fsdp", 6 * 4, 6 * 8 * 8 * 4)],  # in the loop
        [("fsdp", 1 * 4, 6 * 8 * 8 * 4)],  # or all at once, before it
    )


def test_inside_a_node() -> None:
    nodes = [0, 0, 0, 0, 1, 1, 1, 1]
    assert inside(((0, 1), (4, 5)), nodes) == (True, 2)
    assert inside(((0, 4), (1, 5)), nodes) == (False, 1)
    assert inside(((0, 1, 4, 5),), nodes) == (False, 2)
