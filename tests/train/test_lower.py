"""What XLA is told beside what determinism asks for: where it is safe, and where it is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from support import prepared

from bigtrain.train import lower
from bigtrain.train.loops import reads_what_it_writes
from bigtrain.train.lower import UNFILLED, loop_options

X = jnp.ones((6, 4))


def stacks(x):
    """As stacked layers: what each round gives is kept for the gradient."""
    return jax.grad(lambda y: jnp.sum(lax.scan(lambda c, row: (jnp.sin(c * row), c), y[0], y)[1]))(x)


def logs(x):
    """As the steps of a run: each writes its own line and looks at none."""
    return lax.fori_loop(0, 6, lambda at, log: log.at[at].set(x[at] * 2), jnp.zeros((6, 4)))


def lookups(x):
    """The gradient of a lookup is written to zeros of its own."""
    step = jax.grad(lambda table: jnp.sum(table[jnp.arange(3)] ** 2))
    return lax.fori_loop(0, x.shape[0] * 2, lambda _, table: table - step(table), x)


def sums(x):
    """A loop looks at the whole array in which it writes a row."""

    def body(at, carry):
        rows, total = carry
        rows = rows.at[at].set(x[at])
        return rows, total + jnp.sin(rows).sum()

    return lax.fori_loop(0, 6, body, (jnp.zeros((6, 4)), 0.0))


def remembers(x):
    """Keys of all tokens so far, the time first."""

    def body(keys, entry):
        at, row = entry
        keys = lax.dynamic_update_index_in_dim(keys, row, at, 0)
        seen = jnp.where(jnp.arange(6) <= at, keys @ row, -jnp.inf)
        return keys, jax.nn.softmax(seen) @ keys

    return lax.scan(body, jnp.zeros((6, 4)), (jnp.arange(6), x))


def gives_away(x):
    """What is written is stacked, too."""

    def body(rows, at):
        rows = rows.at[at].set(x[at])
        return rows, rows

    return lax.scan(body, jnp.zeros((6, 4)), jnp.arange(6))


def inside(x):
    """The write is in a part that is computed again."""

    def body(rows, at):
        return jax.checkpoint(lambda rows: rows.at[at].set(x[at]))(rows), jnp.float32(0)

    return lax.scan(body, jnp.zeros((6, 4)), jnp.arange(6))


def elsewhere(x):
    """What is written is the same array, seen by a function of its own."""

    def body(rows, at):
        turned = jax.jit(lambda rows: jnp.transpose(rows))(rows)
        turned = turned.at[:, at].set(x[at])
        return jnp.transpose(turned), turned.sum()

    return lax.scan(body, jnp.zeros((6, 4)), jnp.arange(6))


def one_round(x):
    """An inner loop writes, the outer one looks."""

    def body(rows, at):
        rows = lax.fori_loop(at, at + 1, lambda one, rows: rows.at[one].set(x[one]), rows)
        return rows, rows.sum()

    return lax.scan(body, jnp.zeros((6, 4)), jnp.arange(6))


def in_blocks(x):
    """As the log of a run where its steps are in blocks: an inner loop writes, and nobody looks."""

    def block(at, log):
        return lax.fori_loop(0, 2, lambda one, log: log.at[at * 2 + one].set(x[at * 2 + one]), log)

    return lax.fori_loop(0, 3, block, jnp.zeros((6, 4)))


def until(x):
    """The condition looks at it."""
    _, rows = lax.while_loop(
        lambda carry: carry[1].sum() < 20, lambda carry: (carry[0] + 1, carry[1].at[carry[0]].set(x[carry[0]])),
        (0, jnp.zeros((6, 4))),
    )  # fmt: skip
    return rows


@pytest.mark.parametrize("function", [stacks, logs, lookups, in_blocks])
def test_loops_that_look_at_no_more_than_they_have_written(function):
    assert not reads_what_it_writes(jax.make_jaxpr(function)(X).jaxpr)
    assert not reads_what_it_writes(jax.make_jaxpr(jax.jit(function))(X).jaxpr)


@pytest.mark.parametrize("function", [sums, remembers, gives_away, inside, elsewhere, one_round, until])
def test_loops_that_may_look_at_what_was_there_before(function):
    assert reads_what_it_writes(jax.make_jaxpr(function)(X).jaxpr)
    assert reads_what_it_writes(jax.make_jaxpr(jax.vmap(jax.jit(function)))(X[None]).jaxpr)
    assert reads_what_it_writes(jax.make_jaxpr(lambda x: lax.map(function, x))(X[None]).jaxpr)


def test_arrays_are_not_filled_first_where_that_is_safe_and_xla_knows_how(monkeypatch):
    safe, unsafe = (jax.make_jaxpr(function)(X) for function in (stacks, remembers))
    assert loop_options("gpu", safe) == {UNFILLED: True}, "jax 0.10.2 and later know it"
    assert loop_options("gpu", unsafe) == loop_options("cpu", safe) == loop_options("tpu", safe) == {}
    monkeypatch.setattr(lower, "UNFILLED", "xla_gpu_made_up")
    assert loop_options("gpu", safe) == {}


def test_stacked_layers_are_safe(monkeypatch):
    """Their program keeps its own log of a dispatch, and has the gradient of a lookup."""
    found = []
    monkeypatch.setattr(lower, "loop_options", lambda platform, traced: found.append(traced.jaxpr) or {})
    words = "model=transformer/nano model.scan_layers=true model.remat=dots model.layers=2 data=text batch_size=4"
    prepared(*words.split())
    [jaxpr] = found
    assert not reads_what_it_writes(jaxpr)
