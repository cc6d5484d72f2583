"""How the cost of a step grows: the script's rows can be compiled, and its exponents are those of a power law."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from bench_growth import ROWS, compiled, made_up, slope
from support import lowered


def test_the_exponent_of_a_power_law() -> None:
    assert slope([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


@pytest.mark.parametrize("family", sorted({row.family for row in ROWS}))
def test_twice_the_batch_is_twice_the_operations(family: str, tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.family == family and row.size == "batch")
    sizes, flops = (8, 16), []
    for size in sizes:
        overrides = [text for text in row.overrides(size) if not text.startswith("model.width")]
        flops.append(lowered(*overrides, *made_up(tmp_path, row, size), f"run_dir={tmp_path / 'run'}")[0].flops())
    assert 0.4 < slope(sizes, flops) < 1.1  # the optimizer's operations don't grow


def test_a_row_compiles(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.family == "mlp" and row.size == "batch")
    given = [*row.overrides(8), *made_up(tmp_path, row, 8)]
    assert compiled(given).program.flops == lowered(*given, f"run_dir={tmp_path / 'run'}")[0].flops()
