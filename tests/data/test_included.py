"""The sets that need no network, and the YAML that registers each source."""

import hashlib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.data.digits import digits
from bigtrain.data.mnist1d import LENGTH, TEMPLATES, generate, mnist1d

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "configs" / "data").glob("*.yaml"))
FILES = ROOT / "bigtrain" / "data" / "files"


def test_digits_are_what_uci_published():
    data = digits()
    source = data.splits["train"]
    batch = source[np.arange(len(source))]
    assert batch["inputs"].shape == (1259, 8, 8)
    assert batch["inputs"].max() == 16
    assert data.spec.inputs.scale == 1 / 16
    assert np.bincount(batch["targets"]).min() > 115


def test_mnist1d_follows_the_published_steps():
    data = mnist1d()
    assert dict(data.spec.sizes) == {"train": 3600, "validation": 400, "test": 1000}
    curves, labels = generate(500, 42)
    assert curves.shape == (5000, LENGTH)
    assert abs(curves.mean()) < 1e-6
    assert abs(curves.std() - 1) < 1e-6
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    # from the published steps with SciPy's interp1d and gaussian_filter, which this module does without
    np.testing.assert_array_equal(labels[:10], [2, 6, 4, 5, 6, 6, 6, 0, 3, 1])
    np.testing.assert_allclose(curves[0, :3], [-0.3320056, -0.4719104, -0.7786971], atol=2e-6)
    batch = data.splits["test"][np.arange(1000)]
    np.testing.assert_array_equal(batch["inputs"], curves[4000:])
    assert batch["targets"].dtype == np.int32


def test_mnist1d_follows_its_seed_and_size():
    small = mnist1d(examples=100, generator_seed=1)
    assert dict(small.spec.sizes) == {"train": 72, "validation": 8, "test": 20}
    assert (generate(2, 1)[0] != generate(2, 2)[0]).any()
    assert TEMPLATES.shape == (10, 12)
    with pytest.raises(
        ConfigError, match=r"^data\.generator_seed: 4294967296 is too large\n  allowed: 0 to 4294967295$"
    ):
        mnist1d(generator_seed=1 << 32)


def test_what_is_shipped_has_the_checksum_that_its_readme_gives():
    readme = (FILES / "README.md").read_text()
    for path in FILES.glob("*.gz"):
        assert f"## {path.name}" in readme
        assert hashlib.sha256(path.read_bytes()).hexdigest() in readme


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_a_yaml_names_a_function_and_repeats_its_defaults(path):
    lines = dict(re.findall(r"^(\w+): ([^#\n]*?) *(?:#.*)?$", path.read_text(), re.MULTILINE))
    module, name = lines.pop("_target_").rsplit(".", 1)
    function = getattr(importlib.import_module(module), name)
    parameters = inspect.signature(function).parameters
    for key, value in lines.items():
        default = parameters[key].default
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        assert value == shown, key
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert all(f"\n    {key}: " in inspect.getdoc(function) for key in parameters)


def test_no_source_imports_jax():
    code = "import sys\n" + "\n".join(
        f"import bigtrain.data.{path.stem}"
        for path in (FILES.parent).glob("*.py")
        if path.stem not in ("__init__", "placement")
    )
    code += "\nassert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
