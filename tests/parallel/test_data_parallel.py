"""The gradient over eight devices is the gradient on one, and costs nothing but all-reduces."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import NUMBERS, apart

from bigtrain.config.schema import MeshConfig
from bigtrain.data.spec import Field, Spec
from bigtrain.models.mlp import MLP
from bigtrain.models.rnn import RNN
from bigtrain.parallel.mesh import make
from bigtrain.parallel.naming import placed_by
from bigtrain.parallel.rules import Rules
from bigtrain.tasks.classification import Classification
from bigtrain.train.step import mean_gradient

B, T, D = 32, 5, 4
RANDOM = np.random.default_rng(0)
FIELDS = {"inputs": Field((T, D), "float32", "features"), "targets": Field((), "int32", "label")}
DATA = Spec("made up", FIELDS, {"train": B}, ("a", "b", "c"))
PADDED = Spec("padded", {**FIELDS, "lengths": Field((), "int32", "length")}, {"train": B}, ("a", "b", "c"))
BATCH = {
    "inputs": RANDOM.normal(size=(B, T, D)).astype(np.float32),
    "targets": RANDOM.integers(0, 3, B).astype(np.int32),
    "weights": RANDOM.uniform(0, 2, B).astype(np.float32),
}
LENGTHS = RANDOM.integers(1, T + 1, B).astype(np.int32)
MODELS = {
    "mlp": lambda: MLP(DATA, widths=(8,), rngs=nnx.Rngs(0)),
    "mlp with batch norm and dropout": lambda: MLP(DATA, widths=(8,), norm="batch", dropout=0.5, rngs=nnx.Rngs(0)),
    "rnn": lambda: RNN(PADDED, cell="gru", width=4, rngs=nnx.Rngs(0)),
}
COLLECTIVE = re.compile(r"= .*? (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def compiled(name, devices, accumulate=1):
    """The executable of a gradient over so many devices, and its arguments."""
    recipe, parts = apart(MODELS[name])
    numbers = {**NUMBERS, "dropout": 0.5}
    gradient = mean_gradient(recipe, Classification(), numbers, dtype=jnp.dtype("float32"), accumulate=accumulate)
    rules = Rules.of(make(cfg := MeshConfig(data=devices)), cfg)
    batch = {**BATCH, **({"lengths": LENGTHS} if name == "rnn" else {})}
    args = (
        *jax.device_put((parts.params, parts.rest), rules.sharding()),
        jax.device_put(batch, rules.sharding(("batch",))),
        jax.device_put(jax.random.key(0), rules.sharding()),
    )
    with placed_by(rules):  # as every program for a mesh is traced: layers see what is split
        return jax.jit(gradient, out_shardings=rules.sharding()).lower(*args).compile(), args


@pytest.mark.parametrize(
    ("name", "accumulate"), [("mlp", 1), ("mlp", 2), ("mlp with batch norm and dropout", 2), ("rnn", 2)]
)
def test_over_eight_devices_it_equals_one(name, accumulate):
    (one, its), (many, theirs) = compiled(name, 1, accumulate), compiled(name, 8, accumulate)
    single, parallel = one(*its), many(*theirs)
    if "batch norm" in name:  # it subtracts the mean, so this gradient is zero but for rounding
        for grads in (single[0], parallel[0]):
            assert np.abs(grads.pop("hidden.0.bias")).max() < 1e-7
    for expected, found in zip(jax.tree.leaves(single), jax.tree.leaves(parallel), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    used = COLLECTIVE.findall(many.as_text())
    assert used, "the pattern finds no collective at all"
    assert set(used) == {"all-reduce"}
    assert not COLLECTIVE.findall(one.as_text())


def test_the_collectives_of_a_contiguous_cut_would_be_found():
    """What the strided microbatches avoid: this test's pattern does see an all-gather or its like."""
    rules = Rules.of(make(cfg := MeshConfig(data=8)), cfg)
    batch = jax.device_put(BATCH["inputs"], rules.sharding(("batch",)))

    def contiguous(values):
        return jax.lax.scan(
            lambda total, piece: (total + jnp.tanh(piece).sum(), None), 0.0, values.reshape(2, B // 2, T, D)
        )[0]

    text = jax.jit(contiguous, out_shardings=rules.sharding()).lower(batch).compile().as_text()
    assert set(COLLECTIVE.findall(text)) - {"all-reduce"}
