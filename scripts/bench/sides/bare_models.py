"""The workloads in plain JAX, as somebody would write them by hand: `init(key)` and `loss(params, x, y, key)`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Model = tuple[Callable[[jax.Array], Any], Callable[..., jax.Array]]
lecun = jax.nn.initializers.lecun_normal()


def _dense(key: jax.Array, sizes: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, len(sizes))
    return [
        (lecun(one, shape), jnp.zeros(shape[1])) for one, shape in zip(keys, itertools.pairwise(sizes), strict=False)
    ]


def _through(params: list[tuple[jax.Array, jax.Array]], x: jax.Array, activate: Callable[..., jax.Array]) -> jax.Array:
    """Fully connected layers; none follows the last one."""
    for kernel, bias in params[:-1]:
        x = activate(x @ kernel + bias)
    return x @ params[-1][0] + params[-1][1]


def _crossentropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def mlp(width: int) -> Model:
    """Two hidden layers."""

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        return _crossentropy(_through(params, x.reshape(len(x), -1), jax.nn.relu), y)

    return lambda key: _dense(key, (784, width, width, 10)), loss


def lstm() -> Model:
    """The input projection of all steps is one product outside of the scan."""

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 7)
        square = jax.nn.initializers.orthogonal()
        return {
            "embedding": jax.random.normal(keys[0], (1_000, 64)) / 8,
            "input": jax.nn.initializers.glorot_uniform()(keys[1], (64, 256)),
            "bias": jnp.zeros(256).at[64:128].set(1.0),
            "recurrent": jnp.concatenate([square(one, (64, 64)) for one in keys[2:6]], axis=1),
            "output": _dense(keys[6], (64, 10)),
        }

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        projected = (params["embedding"][x] @ params["input"] + params["bias"]).swapaxes(0, 1)  # [T, B, 4H]

        def cell(carry: tuple[jax.Array, jax.Array], step: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
            hidden, memory = carry
            i, f, g, o = jnp.split(step + hidden @ params["recurrent"], 4, -1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(memory), memory), None

        zeros = jnp.zeros((len(x), 64))
        (hidden, _), _ = jax.lax.scan(cell, (zeros, zeros), projected)
        return _crossentropy(_through(params["output"], hidden, jax.nn.relu), y)

    return init, loss


def vae() -> Model:
    """784-64-32-64-784, Bernoulli likelihood, one code an example; nats."""

    def init(key: jax.Array) -> Any:
        first, second = jax.random.split(key)
        return {"encoder": _dense(first, (784, 64, 64)), "decoder": _dense(second, (32, 64, 784))}

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        mean, log_variance = jnp.split(_through(params["encoder"], x, jax.nn.relu), 2, -1)
        code = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        logits = _through(params["decoder"], code, jax.nn.relu)
        reconstruction = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return (reconstruction + kl).mean()

    return init, loss


def gpt(layers: int = 4, width: int = 256, heads: int = 4, steps: int = 256) -> Model:
    """GPT-2's blocks with learned positions and an output layer of its own; attention as batched products."""

    def init(key: jax.Array) -> Any:
        keys = iter(jax.random.split(key, 4 * layers + 3))
        normal = lambda *shape, deviation=0.02: deviation * jax.random.normal(next(keys), shape)  # noqa: E731
        small = 0.02 / math.sqrt(2 * layers)
        norm = lambda: (jnp.ones(width), jnp.zeros(width))  # noqa: E731
        blocks = [
            {
                "norms": (norm(), norm()),
                "qkv": (normal(width, 3 * width), jnp.zeros(3 * width)),
                "out": (normal(width, width, deviation=small), jnp.zeros(width)),
                "up": (normal(width, 4 * width), jnp.zeros(4 * width)),
                "down": (normal(4 * width, width, deviation=small), jnp.zeros(width)),
            }
            for _ in range(layers)
        ]
        return {"tokens": normal(256, width), "positions": normal(steps, width), "blocks": blocks, "norm": norm(),
                "head": normal(width, 256)}  # fmt: skip

    def normed(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * pair[0] + pair[1]

    def attended(x: jax.Array, block: Any) -> jax.Array:
        qkv = (x @ block["qkv"][0] + block["qkv"][1]).reshape(len(x), steps, 3, heads, -1)
        query, key, value = qkv.transpose(2, 0, 3, 1, 4)  # [B, N, T, H] each
        scores = query @ key.swapaxes(-1, -2) / math.sqrt(width // heads)
        seen = jnp.tril(jnp.ones((steps, steps), bool))
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        joined = (weights @ value).swapaxes(1, 2).reshape(len(x), steps, width)
        return joined @ block["out"][0] + block["out"][1]

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        values = params["tokens"][x] + params["positions"]
        for block in params["blocks"]:
            values += attended(normed(values, block["norms"][0]), block)
            hidden = jax.nn.gelu(normed(values, block["norms"][1]) @ block["up"][0] + block["up"][1])
            values += hidden @ block["down"][0] + block["down"][1]
        return _crossentropy(normed(values, params["norm"]) @ params["head"], y)

    return init, loss


def lenet() -> Model:
    """LeNet-5 of 28x28 images: tanh, average pooling, channels last."""
    layout = ("NHWC", "HWIO", "NHWC")

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 3)
        return {
            "first": (lecun(keys[0], (5, 5, 1, 6)), jnp.zeros(6)),
            "second": (lecun(keys[1], (5, 5, 6, 16)), jnp.zeros(16)),
            "dense": _dense(keys[2], (400, 120, 84, 10)),
        }

    def layer(x: jax.Array, pair: tuple[jax.Array, jax.Array], padding: str) -> jax.Array:
        x = jnp.tanh(jax.lax.conv_general_dilated(x, pair[0], (1, 1), padding, dimension_numbers=layout) + pair[1])
        batch, side, _, channels = x.shape
        return x.reshape(batch, side // 2, 2, side // 2, 2, channels).mean((2, 4))

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        x = layer(x[..., None], params["first"], "SAME")
        x = layer(x, params["second"], "VALID")
        return _crossentropy(_through(params["dense"], x.reshape(len(x), -1), jnp.tanh), y)

    return init, loss


MODELS: dict[str, Callable[..., Model]] = {"W1": mlp, "W2": lstm, "W3": vae, "W4": mlp, "W5": gpt, "W6": lenet}
"""By workload."""
