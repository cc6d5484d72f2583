"""Every preset of the Transformer has exactly the parameters that its publication counts; nothing is allocated."""

from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from flax import nnx

from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.split import split
from bigtrain.models.transformer import Transformer

FOLDER = Path(__file__).parents[2] / "configs" / "model" / "transformer"
LABEL = Field((), "int32", "label")


def text(tokens, length):
    field = Field((length,), "int32", "tokens")
    vocabulary = Vocabulary(("x",) * tokens)
    return Spec("made up", {"inputs": field, "targets": field}, {"train": 1}, None, vocabulary)


def images(side, classes):
    inputs = Field((side, side, 3), "float32", "features")
    return Spec("made up", {"inputs": inputs, "targets": LABEL}, {"train": 1}, ("x",) * classes)


def texts(tokens, length, classes):
    inputs = Field((length,), "int32", "tokens")
    vocabulary = Vocabulary(("x",) * tokens)
    return Spec("made up", {"inputs": inputs, "targets": LABEL}, {"train": 1}, ("x",) * classes, vocabulary)


PUBLISHED = {
    "nano": (text(65, 64), 65 * 128 + 64 * 128 + 4 * (12 * 128**2 + 2 * 128) + 128),
    "gpt2": (text(50_257, 1024), 124_439_808),
    "gpt2_medium": (text(50_257, 1024), 354_823_168),
    "gpt2_large": (text(50_257, 1024), 774_030_080),
    "gpt2_xl": (text(50_257, 1024), 1_557_611_200),
    "llama_nano": (text(65, 64), 2 * 65 * 128 + 4 * (3 * 128**2 + 3 * 128 * 352 + 2 * 128) + 128),
    "llama3_1b": (text(128_256, 64), 1_235_814_400),
    "llama2_7b": (text(32_000, 64), 6_738_415_616),
    "llama3_8b": (text(128_256, 64), 8_030_261_248),
    "vit_tiny": (images(224, 1000), 5_717_416),
    "vit_small": (images(224, 1000), 22_050_664),
    "vit_base": (images(224, 1000), 86_567_656),
    "bert_base": (texts(30_522, 512, 2), 108_890_112 + 2 * 768 + 2),
}


def shapes(name, spec, **changes):
    options = {**yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), **changes}
    assert options.pop("_target_") == "bigtrain.models.transformer.Transformer"
    return split(nnx.eval_shape(lambda: Transformer(spec, **options, rngs=nnx.Rngs(jax.random.key(0)))))[1].params


def count(params):
    return sum(int(np.prod(value.shape)) for value in params.values())


def test_each_preset_is_listed_here():
    assert set(PUBLISHED) == {path.stem for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    spec, expected = PUBLISHED[name]
    assert count(shapes(name, spec)) == expected


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name[:4] in ("gpt2", "llam", "vit_")])
def test_the_header_states_the_number(name):
    header = (FOLDER / f"{name}.yaml").read_text().split("_target_")[0]
    number = PUBLISHED[name][1]
    assert f"{number:,}" in header or f"{number / 1e6:.2f} M" in header


@pytest.mark.parametrize("name", ["gpt2", "vit_tiny"])
def test_scanned_or_not_they_are_as_many(name):
    spec, expected = PUBLISHED[name]
    assert {count(shapes(name, spec, scan_layers=scan)) for scan in (False, True)} == {expected}
