"""Factorisation: its formula, what is unknown, and that it finds a matrix of low rank again."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import run_fit
from tables import low_rank, write_ratings
from tiny import apart, assert_gradient, build, float64

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.models.factorization import Factorization
from bigtrain.tasks.regression import Regression
from bigtrain.train.step import mean_gradient

REAL, LABEL = Field((), "float32", "real"), Field((), "int32", "label")


def spec(*sizes, targets=REAL, **more):
    fields = {"inputs": Field((len(sizes),), "int32", "categories", sizes=sizes), "targets": targets, **more}
    return Spec("made up", fields, {"train": 8}, ("a", "b"))


def tables_of(layers):
    return [np.asarray(table[...]) for table in layers.tables]


def test_it_is_the_sum_of_biases_and_the_product_of_factors():
    model = build(lambda: Factorization(spec(5, 4), rank=3, rngs=nnx.Rngs(0)))
    (users, items), (of_users, of_items) = tables_of(model.factors), tables_of(model.biases)
    assert users.shape == (4, 3)  # a value that training didn't see has no row
    rows = np.array([[1, 3], [4, 1], [2, 2]])
    expected = [
        model.constant[0] + of_users[u - 1, 0] + of_items[i - 1, 0] + users[u - 1] @ items[i - 1] for u, i in rows
    ]
    np.testing.assert_allclose(model(jnp.asarray(rows))[:, 0], expected, rtol=1e-5)


def test_what_is_unknown_is_the_mean_of_what_is_known():
    model = build(lambda: Factorization(spec(5, 4), rank=3, rngs=nnx.Rngs(0)))
    known = model(jnp.array([[user, 2] for user in (1, 2, 3, 4)]))
    np.testing.assert_allclose(model(jnp.array([[0, 2]]))[0, 0], known.mean(), rtol=1e-5)


def test_three_columns_are_a_factorisation_machine():
    model = build(lambda: Factorization(spec(3, 3, 3), rank=2, biases=False, rngs=nnx.Rngs(0)))
    assert model.biases is None
    p, q, r = (table[1] for table in tables_of(model.factors))
    np.testing.assert_allclose(model(jnp.array([[2, 2, 2]]))[0, 0], p @ q + p @ r + q @ r, rtol=1e-5)


def test_the_gradient_agrees_with_finite_differences():
    data, key = spec(5, 4), jax.random.key(0)
    with float64():
        recipe, parts = apart(lambda: Factorization(data, rank=3, rngs=nnx.Rngs(0)), dtype="float64")
        inputs = jnp.asarray([[1, 3], [4, 1], [0, 2], [2, 0]])  # values not seen in training among them
        batch = {
            "inputs": inputs,
            "targets": jnp.asarray([1.0, -2.0, 0.5, 3.0]),
            "weights": jnp.asarray([1, 2, 1, 1.0]),
        }
        run = jax.jit(mean_gradient(recipe, Regression(data), {}, dtype=jnp.dtype("float64")))

        def loss(params):
            found = run(params, parts.rest, batch, key)[2]["loss"]
            return found.total / found.weight

        assert_gradient(loss, parts.params, run(parts.params, parts.rest, batch, key)[0])


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (
            spec(3, targets=REAL),
            "model: Factorization reads two or more columns of categories, and data 'made up' has others\n"
            "  use model=mlp, or data=ratings",
        ),
        (
            spec(3, 3, targets=LABEL),
            "model: Factorization gives one number, and data 'made up' has other targets\n"
            "  use model=mlp, or data.target_kind=real",
        ),
    ],
)
def test_other_data_is_refused(data, answer):
    with pytest.raises(ConfigError) as caught:
        Factorization(data, rngs=nnx.Rngs(0))
    assert str(caught.value) == answer


def test_it_finds_a_matrix_of_low_rank_again(tmp_path: Path) -> None:
    """Noise of deviation 0.1 is the floor; the biases alone leave the whole product of factors unexplained."""
    matrix = low_rank(40, 30, rank=2)
    path = write_ratings(tmp_path / "ratings.csv", matrix)
    given = (
        "data=ratings", f"data.path={path}", "steps=60epochs", "batch_size=96", "optimizer=adamw",
        "optimizer.learning_rate=2e-2", "optimizer.weight_decay=1e-2", "schedule=cosine", "logger=[jsonl]",
    )  # fmt: skip
    found = {
        name: run_fit(tmp_path / name, *given, *model)["test"]["root_mean_squared_error"]
        for name, model in {
            "factors": ("model=factorization", "model.rank=2"),
            "network": ("model=mlp", "model.embedding=4", "model.widths=[64]"),
        }.items()
    }
    biases = matrix - matrix.mean(0) - matrix.mean(1, keepdims=True) + matrix.mean()
    alone = float(np.sqrt((biases**2).mean()))  # the best that biases can do
    assert alone > 0.6
    assert found["factors"] < 0.16
    assert found["network"] < 0.6 * alone
