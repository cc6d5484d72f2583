"""MNIST-1D, generated: ten digit-like curves, padded, stretched, moved, sheared and covered in noise.

After Greydanus & Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024, https://arxiv.org/abs/2011.14439, with
the constants that the authors published (github.com/greydanus/mnist1d, Apache-2.0). The random numbers are drawn in
the authors' order from the same generator, whose stream NumPy keeps fixed, so the examples are those of their
`make_dataset`, to rounding.
"""

from __future__ import annotations

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import NonNegativeInt, PositiveInt, Share
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.spec import Dataset, Field, Split
from bigtrain.data.splits import random_split

TRAIN_SHARE = 0.8
PADDING = (36, 60)  # zeros appended to a template, at least and at most
SCALE = 0.4  # width of the uniform factor around 1
MAX_TRANSLATION = 48  # steps of a cyclic shift
SMOOTH_NOISE = 0.25  # standard deviation, before smoothing, of the noise in the padding
WHITE_NOISE = 0.02
SHEAR = 0.75
LENGTH = 40  # steps of an example
TINY = 1e-8  # added to a template, so that only padding is exactly zero
SIGMA, RADIUS = 2.0, 8  # of the smoothing, in steps; a Gaussian cut off at four sigma

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)


def mnist1d(*, examples: PositiveInt = 5000, generator_seed: NonNegativeInt = 42, validation: Share = 0.1) -> Dataset:
    """MNIST-1D, 4,000 + 1,000 generated curves of 40 steps in 10 classes; needs no network.

    Source: Greydanus & Kobak, "Scaling Down Deep Learning with MNIST-1D", 2024, https://arxiv.org/abs/2011.14439.

    Args:
        examples: how many are generated, as many of each class (rounded down to tens); a fifth of them is for testing.
        generator_seed: chooses the examples, independently of the run's seed; 42 is the authors'.
        validation: the share of the training examples held out for validation.

    Returns:
        `inputs` float32 [40], of mean 0 and standard deviation 1 over the set, and `targets`, the digit.
    """
    if generator_seed >> 32:
        raise ConfigError("data.generator_seed", f"{generator_seed} is too large", allowed="0 to 4294967295")
    curves, labels = generate(max(1, examples // len(TEMPLATES)), generator_seed)
    last = int(len(labels) * TRAIN_SHARE)
    whole = Arrays({"inputs": curves, "targets": labels})
    parts = random_split(last, validation)
    splits: dict[Split, Arrays] = {
        "train": whole.subset(parts["train"]),
        "validation": whole.subset(parts["validation"]),
        "test": whole.subset(np.arange(last, len(labels))),
    }
    fields = {
        "inputs": Field((LENGTH,), "float32", "features", low=float(curves.min()), high=float(curves.max())),
        "targets": Field((), "int32", "label"),
    }
    return dataset("mnist1d", fields, splits, classes=tuple(str(digit) for digit in range(len(TEMPLATES))))


def generate(per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Curves float32 [N, 40] and labels int32 [N], shuffled; N is ten times `per_class`."""
    random = np.random.RandomState(seed)
    centred = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    centred /= centred.std(1, keepdims=True)
    templates = (centred - centred[:, :1]) / 6
    curves = np.stack([_curve(template, random) for template in templates for _ in range(per_class)])
    labels = np.repeat(np.arange(len(templates), dtype=np.int32), per_class)
    order = random.permutation(len(labels))
    curves = (curves[order] - curves.mean()) / curves.std()
    return curves.astype(np.float32), labels[order]


def _curve(template: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """One example made of a template: float64 [40]."""
    low, high = PADDING
    padding = low + int(random.rand() * (high - low + 1))
    curve = _resampled(np.concatenate([template + TINY, np.zeros(padding)]), len(template) + high)
    curve *= 1 + SCALE * (random.rand() - 0.5)
    curve = np.roll(curve, random.choice(MAX_TRANSLATION))
    noise = _smoothed(SMOOTH_NOISE * random.randn(len(curve)))
    curve = np.where(curve != 0, curve, noise) + WHITE_NOISE * random.randn(len(curve))
    curve -= SHEAR * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, len(curve))
    return _resampled(curve, LENGTH)


def _resampled(values: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation to `length` evenly spaced points."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(values)), values)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A Gaussian filter; beyond its ends the signal is mirrored."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    return np.convolve(np.pad(values, RADIUS, mode="symmetric"), weights / weights.sum(), mode="valid")
