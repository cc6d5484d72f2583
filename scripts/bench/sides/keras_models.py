"""The workloads in Keras 3, with the initial distributions of the others: a model, and the loss it is compiled with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import initializers, layers, ops

Made = tuple[keras.Model, Any, list[str]]  # the model, its loss, the metrics
crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def dense(units: int, activation: str | None = None) -> layers.Layer:
    """Variance 1 / fan-in, zero biases."""
    return layers.Dense(units, activation=activation, kernel_initializer="lecun_normal")


def mlp(width: int) -> Made:
    """Two hidden layers."""
    parts = [keras.Input((28, 28)), layers.Flatten(), dense(width, "relu"), dense(width, "relu"), dense(10)]
    return keras.Sequential(parts), crossentropy, ["accuracy"]


def lstm() -> Made:
    """Keras's own LSTM; its recurrent weights start orthogonal over all gates at once."""
    embedding = layers.Embedding(1_000, 64, embeddings_initializer=initializers.RandomNormal(stddev=1 / 8))
    parts = [keras.Input((50,), dtype="int32"), embedding, layers.LSTM(64), dense(10)]
    return keras.Sequential(parts), crossentropy, ["accuracy"]


class Code(layers.Layer):
    """Draws a code and adds the KL term to the loss."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.generator = keras.random.SeedGenerator(0)

    def call(self, values: Any) -> Any:
        """The code, from mean and log variance."""
        mean, log_variance = ops.split(values, 2, axis=-1)
        kl = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=-1)
        self.add_loss(ops.mean(kl))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.generator)


def vae() -> Made:
    """784-64-32-64-784, Bernoulli likelihood, one code an example; nats."""

    def reconstruction(wanted: Any, logits: Any) -> Any:
        wanted = ops.reshape(wanted, ops.shape(logits))
        return ops.sum(ops.relu(logits) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits))), axis=-1)

    inputs = keras.Input((28, 28))
    code = Code()(dense(64)(dense(64, "relu")(layers.Flatten()(inputs))))
    return keras.Model(inputs, dense(784)(dense(64, "relu")(code))), reconstruction, []


class Positions(layers.Layer):
    """Adds a learned vector to each step."""

    def build(self, shape: Any) -> None:
        """Makes the table."""
        self.table = self.add_weight(shape=shape[1:], initializer=initializers.RandomNormal(stddev=0.02))

    def call(self, values: Any) -> Any:
        """The sum."""
        return values + self.table


def gpt(count: int = 4, width: int = 256, heads: int = 4, steps: int = 256) -> Made:
    """GPT-2's blocks, learned positions and an output layer of its own."""
    normal, small = (
        initializers.RandomNormal(stddev=0.02),
        initializers.RandomNormal(stddev=0.02 / math.sqrt(2 * count)),
    )

    def norm() -> layers.Layer:
        return layers.LayerNormalization(epsilon=1e-5)

    inputs = keras.Input((steps,), dtype="int32")
    values = Positions()(layers.Embedding(256, width, embeddings_initializer=normal)(inputs))
    for _ in range(count):
        attention = layers.MultiHeadAttention(heads, width // heads, kernel_initializer=normal)
        normed = norm()(values)
        values = values + attention(normed, normed, use_causal_mask=True)
        hidden = layers.Dense(4 * width, kernel_initializer=normal)(norm()(values))
        hidden = layers.Activation(lambda x: ops.gelu(x, approximate=True))(hidden)
        values = values + layers.Dense(width, kernel_initializer=small)(hidden)
    logits = layers.Dense(256, use_bias=False, kernel_initializer=normal)(norm()(values))
    return keras.Model(inputs, logits), crossentropy, ["accuracy"]


def lenet() -> Made:
    """LeNet-5 of 28x28 images: tanh, average pooling."""

    def convolution(channels: int, padding: str) -> layers.Layer:
        return layers.Conv2D(channels, 5, padding=padding, activation="tanh", kernel_initializer="lecun_normal")

    parts = [
        keras.Input((28, 28)), layers.Reshape((28, 28, 1)), convolution(6, "same"), layers.AveragePooling2D(2),
        convolution(16, "valid"), layers.AveragePooling2D(2), layers.Flatten(), dense(120, "tanh"), dense(84, "tanh"),
        dense(10),
    ]  # fmt: skip
    return keras.Sequential(parts), crossentropy, ["accuracy"]


MODELS: dict[str, Callable[..., Made]] = {"W1": mlp, "W2": lstm, "W3": vae, "W4": mlp, "W5": gpt, "W6": lenet}
"""By workload."""
