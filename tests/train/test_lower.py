"""What XLA is told beside what determinism asks for."""

import jax
import pytest

from bigtrain.train.lower import faster

UNFILLED = {"xla_gpu_enable_dus_accumulator_zero_init_elimination": True}


@pytest.mark.parametrize(
    ("platform", "version", "options"),
    [("gpu", (0, 10, 2), UNFILLED), ("gpu", (0, 12, 0), UNFILLED), ("gpu", (0, 10, 1), {}), ("cpu", (0, 12, 0), {})],
)
def test_stacked_arrays_are_not_filled_first_where_xla_knows_how(monkeypatch, platform, version, options):
    monkeypatch.setattr(jax, "__version_info__", version)
    assert faster(platform) == options
