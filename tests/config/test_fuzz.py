"""Whatever is typed or stands in a config file, the answer is a config or a mistake that is explained."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigtrain.cli.fit import understood
from bigtrain.config.errors import InputError
from bigtrain.config.suggest import spine_paths

KEYS = st.sampled_from(
    [*spine_paths(), "model.widths", "model.dropout", "model.nope", "optimizer.learning_rate", "schedule.warmup",
     "loggers.jsonl.x", "mesh.rules.batch", "experiment", "logger", "hydra.verbose", "model._target_", "lr", ""]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text("[]{}(),:=$~+'\"\\ \n\t0123456789.eabn%_-@", max_size=16),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["null", "[]", "{}", "${seed}", "${oc.env:X}", "${", "???", "5%", "1e400", "-0", "nan", "mlp", "'", "[1,[2]]"]
    ),
)
OVERRIDES = st.one_of(
    TEXTS, st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++", "~"]), KEYS, TEXTS), KEYS.map("~{}".format)
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${seed}", "???", "5%"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(
    max_examples=30, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def _tried(overrides: list[str], config_dir: Path | None = None) -> None:
    with contextlib.suppress(InputError), warnings.catch_warnings():
        understood(overrides, config_dir, [])


@QUICK
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_override(overrides: list[str]) -> None:
    _tried(overrides)


@QUICK
@given(
    st.dictionaries(KEYS.filter(lambda key: "." not in key) | st.text(max_size=6) | st.integers(), VALUES, max_size=3)
)
def test_any_recipe(recipe: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment" / "any.yaml"
        path.parent.mkdir()
        path.write_text("# @package _global_\n" + yaml.safe_dump(recipe), encoding="utf-8")
        _tried(["experiment=any"], Path(folder))


@QUICK
@given(VALUES | st.dictionaries(st.sampled_from(["_target_", "widths", "dropout", "x"]), VALUES, max_size=3))
def test_any_component(values: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model" / "any.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        _tried(["model=any"], Path(folder))


@QUICK
@given(st.binary(max_size=60))
def test_any_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model" / "any.yaml"
        path.parent.mkdir()
        path.write_bytes(content)
        _tried(["model=any"], Path(folder))
