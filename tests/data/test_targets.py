"""What targets of each type and shape are taken for, and the notes on those that look like something else."""

import numpy as np
import pytest

from bigtrain.data.npz import npz

N, T = 40, 6
RANDOM = np.random.default_rng(0)
SEQUENCES = RANDOM.normal(size=(N, T, 3))
TOKENS = RANDOM.integers(0, 9, (N, T))
TAGS = RANDOM.integers(0, 4, (N, T))


def saved(folder, **arrays):
    """The path of an archive with these arrays."""
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


KINDS = {
    "labels of steps": (SEQUENCES, TAGS, {}, "label", (T,)),
    "bytes": (SEQUENCES, TAGS.astype(np.uint8), {}, "label", (T,)),
    "labels of steps of single values": (SEQUENCES[..., 0], TAGS, {}, "label", (T,)),
    "rows of images": (np.zeros((N, T, 3), np.uint8), TAGS, {}, "label", (T,)),
    "asked for": (SEQUENCES, TAGS.astype(float), {"target_kind": "label"}, "label", (T,)),
    "real steps": (SEQUENCES, TAGS.astype(float), {}, "real", (T,)),
    "quantities": (SEQUENCES, TAGS, {"target_kind": "real"}, "real", (T,)),
    "several quantities": (SEQUENCES, TAGS[:, :3], {}, "real", (3,)),
    "tokens": (TOKENS, TOKENS, {}, "tokens", (T,)),
    "tokens asked for": (SEQUENCES, TAGS, {"target_kind": "tokens"}, "tokens", (T,)),
    "tags of tokens": (TOKENS, TAGS, {"target_kind": "label"}, "label", (T,)),
    "quantities of tokens": (TOKENS, TAGS[:, :3], {}, "real", (3,)),
    "one step": (SEQUENCES[:, :1], TAGS[:, :1], {}, "label", ()),
    "one-hot asked for": (SEQUENCES, np.eye(4)[TAGS[:, 0]], {"target_kind": "real"}, "real", (4,)),
    "nearly one-hot": (SEQUENCES, np.eye(4)[TAGS[:, 0]] * np.linspace(1, 2, N)[:, None], {}, "real", (4,)),
}


@pytest.mark.parametrize("case", KINDS)
def test_the_kind_follows_from_type_and_shape(tmp_path, case):
    inputs, targets, options, kind, shape = KINDS[case]
    data = npz(path=saved(tmp_path, x=inputs, y=targets), **options)
    field = data.spec.targets
    assert (field.kind, field.shape) == (kind, shape)
    assert data.splits["train"][np.arange(3)]["targets"].shape == (3, *shape)
    if kind == "label":
        assert (field.dtype, data.spec.classes[-1]) == ("int32", str(int(targets.max())))


def test_labels_beyond_the_length_may_be_anything(tmp_path):
    lengths = RANDOM.integers(1, T, N)
    padded = np.where(np.arange(T) < lengths[:, None], TAGS, -1)
    data = npz(path=saved(tmp_path, x=SEQUENCES, y=padded, lengths=lengths), validation=0, test=0)
    batch = data.splits["train"][np.arange(N)]
    np.testing.assert_array_equal(batch["targets"], np.where(padded < 0, 0, padded))
    assert data.spec.classes == ("0", "1", "2", "3")


NOTE = "whole numbers 0 to 3, taken as real values; for classes set data.target_kind=label"
WHOLE = {
    "classes": (TAGS[:, 0].astype(float), {}, NOTE),
    "a column": (TAGS[:, :1].astype(np.float32), {}, NOTE),
    "asked for": (TAGS[:, 0].astype(float), {"target_kind": "real"}, None),
    "a half": (TAGS[:, 0] + 0.5 * (np.arange(N) == 20), {}, None),
    "negative": (TAGS[:, 0] - 1.0, {}, None),
    "too many": (np.arange(N, dtype=float), {}, None),
    "all alike": (np.zeros(N), {}, None),
}


@pytest.mark.parametrize("case", WHOLE)
def test_whole_numbers_saved_as_floats_are_noted(tmp_path, case):
    targets, options, note = WHOLE[case]
    data = npz(path=saved(tmp_path, x=SEQUENCES, y=targets), **options)
    assert data.spec.targets.kind == "real"
    assert data.spec.notes.get("targets") == note


def test_classes_without_a_training_example_are_noted(tmp_path):
    def note(train, test, **options):
        arrays = {"x_train": np.zeros((len(train), T)), "y_train": train, "x_test": np.zeros((len(test), T))}
        return npz(path=saved(tmp_path, y_test=test, **arrays), validation=0, **options).spec.notes.get("classes")

    assert note(np.array([0, 1, 2]), np.array([0, 1])) is None
    assert note(np.array([0, 1, 2]), np.array([5])) == "no training example of: 3, 4, 5"
    assert note(np.array(["ant", "cat"]), np.array(["cow"])) == "no training example of: cow"
    assert note(np.array([0, 2]), np.array([2]), classes=20) == (
        "no training example of: 1, 3, 4, 5, 6, 7, 8, 9 and 10 more"
    )
    steps = np.array([[0, 1, 1, 1, 1, 3], [0] * 6])
    assert note(steps, steps) == "no training example of: 2"


def test_padding_is_no_training_example_of_a_class(tmp_path):
    path = saved(tmp_path, x=SEQUENCES, y=TAGS + 1, lengths=np.full(N, T - 1))
    assert npz(path=path).spec.notes["classes"] == "no training example of: 0"
