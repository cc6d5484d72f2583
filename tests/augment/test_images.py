"""Each augmentation of images on arrays small enough to know the answer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigtrain.augment.crop import Crop
from bigtrain.augment.erase import Erase
from bigtrain.augment.flip import Flip
from bigtrain.augment.noise import Noise
from bigtrain.augment.rotate import Rotate, rotated
from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Reader, Spec, Vocabulary

KEY = jax.random.key(3)


def spec_of(*shape: int, **fields: Field) -> Spec:
    return Spec("made", {"inputs": Field(shape, "float32", "features"), **fields}, {"train": 8})


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_flip_mirrors_exactly_the_chosen(shape: tuple[int, ...]) -> None:
    batch = {"inputs": images(64, *shape), "targets": jnp.arange(64)}
    made = Flip(spec_of(*shape)).apply(batch, KEY)
    mirrored = np.asarray(batch["inputs"])[:, :, ::-1]
    which = np.array([np.array_equal(a, b) for a, b in zip(made["inputs"], mirrored, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(made["inputs"], batch["inputs"], strict=True)])
    assert (which ^ kept).all()
    assert 16 < which.sum() < 48  # of 64 with probability a half: outside this once in 10,000 keys
    np.testing.assert_array_equal(made["targets"], batch["targets"])
    upside_down = Flip(spec_of(*shape), "vertical", 1.0).apply(batch, KEY)["inputs"]
    np.testing.assert_array_equal(upside_down, np.asarray(batch["inputs"])[:, ::-1])


@pytest.mark.parametrize("mode", ["reflect", "zero"])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 2)])
def test_crop_is_a_window_of_the_padded_image_and_every_window_comes_up(shape: tuple[int, ...], mode: str) -> None:
    batch = {"inputs": images(200, *shape)}
    made = np.asarray(Crop(spec_of(*shape), 1, mode).apply(batch, KEY)["inputs"])  # type: ignore[arg-type]
    sides = [(0, 0), (1, 1), (1, 1), *[(0, 0)] * (len(shape) - 2)]
    padded = np.pad(batch["inputs"], sides, mode="reflect" if mode == "reflect" else "constant")
    seen = set()
    for row in range(200):
        found = [
            (down, right)
            for down in range(3)
            for right in range(3)
            if np.array_equal(made[row], padded[row, down : down + 5, right : right + 4])
        ]
        assert found, row
        seen.update(found)
    assert len(seen) == 9


def test_a_quarter_turn_is_exact_and_no_turn_changes_nothing() -> None:
    image = images(5, 5)
    np.testing.assert_allclose(rotated(image, jnp.float32(np.pi / 2)), np.rot90(image), atol=1e-5)
    coloured = images(5, 5, 3)
    np.testing.assert_allclose(rotated(coloured, jnp.float32(np.pi)), np.rot90(coloured, 2), atol=1e-5)
    batch = {"inputs": images(3, 4, 6)}
    np.testing.assert_allclose(Rotate(spec_of(4, 6), 0.0).apply(batch, KEY)["inputs"], batch["inputs"], atol=1e-6)


def test_rotation_interpolates_between_pixels() -> None:
    """A ramp over the width, turned by a small angle, is the ramp of the turned coordinates."""
    ramp = jnp.broadcast_to(jnp.arange(9.0)[None], (9, 9))
    angle = np.deg2rad(5.0)
    down, right = np.mgrid[-4:5, -4:5].astype(float)
    expected = np.cos(angle) * right - np.sin(angle) * down + 4
    inside = (abs(down) < 3.5) & (abs(right) < 3.5)
    found = np.asarray(rotated(ramp, jnp.float32(angle)))
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


def test_angles_stay_within_their_bound() -> None:
    image = jnp.zeros((33, 33)).at[16, 32].set(1.0)  # a point on the right edge moves up and down with the angle
    made = np.asarray(
        Rotate(spec_of(33, 33), 20.0).apply({"inputs": jnp.broadcast_to(image, (64, 33, 33))}, KEY)["inputs"]
    )
    rows = np.array([np.average(np.arange(33), weights=picture.sum(1) + 1e-9) for picture in made]) - 16
    bound = 16 * np.sin(np.deg2rad(20.0))
    assert abs(rows).max() <= bound + 0.6
    assert rows.max() > bound / 2
    assert rows.min() < -bound / 2


def test_erase_blanks_one_square_of_the_chosen() -> None:
    batch = {"inputs": jnp.ones((300, 8, 8, 2))}
    made = np.asarray(Erase(spec_of(8, 8, 2), 3, 1.0).apply(batch, KEY)["inputs"])
    gone = (made == 0).sum((1, 2, 3)) // 2
    assert gone.max() == 9
    assert gone.min() >= 1
    assert (made == 0).any((0, 3)).all(), "every place is reached"
    np.testing.assert_array_equal(Erase(spec_of(8, 8, 2), 3, 0.0).apply(batch, KEY)["inputs"], batch["inputs"])


def test_noise_has_its_deviation_and_leaves_padding_alone() -> None:
    batch = {"inputs": jnp.zeros((200, 10, 3)), "lengths": jnp.arange(200) % 10 + 1}
    spec = spec_of(10, 3, lengths=Field((), "int32", "length"))
    made = np.asarray(Noise(spec, 0.5).apply(batch, KEY)["inputs"])
    exists = np.arange(10) < np.asarray(batch["lengths"])[:, None]
    assert (made[~exists] == 0).all()
    assert made[exists].std() == pytest.approx(0.5, rel=0.05)


TOKENS = Spec("letters", {"inputs": Field((6,), "uint8", "tokens")}, {"train": 8}, vocabulary=Vocabulary(("a", "b")))
SERIES = Spec("series", {"inputs": Field((6, 2), "float32", "features")}, {"train": 8}, reader=Reader("series", {}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(TOKENS), "augment.flip: changes images, and data 'letters' has tokens \\[6\\]"),
        (lambda: Crop(SERIES), "augment.crop: changes images, and data 'series' has inputs .* no images"),
        (lambda: Rotate(spec_of(7)), "augment.rotate: changes images"),
        (lambda: Noise(TOKENS), "augment.noise: is added to real values, and data 'letters' has tokens"),
        (lambda: Crop(spec_of(4, 6), 4), "augment.crop.padding: 4 pixels are no part of a side of 4"),
        (lambda: Erase(spec_of(4, 6), 8), "augment.erase.size: a square of 8 hides an image with a side of 4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
