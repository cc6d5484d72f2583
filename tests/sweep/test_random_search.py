"""Random search and the grid."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.grid import Grid
from bigtrain.sweep.random_search import Random, configuration
from bigtrain.sweep.space import parse_space


def test_a_grid_is_every_combination_in_the_order_typed() -> None:
    space, _ = parse_space(["model=rnn,mlp", "steps=range(1,4)"])
    values = [tuple(proposal.values.values()) for proposal in Grid(space=space).propose(())]
    assert values == [("rnn", "1"), ("rnn", "2"), ("rnn", "3"), ("mlp", "1"), ("mlp", "2"), ("mlp", "3")]


def test_a_grid_refuses_an_interval() -> None:
    space, _ = parse_space(["steps=1,2", "ema=interval(0,0.5)"])
    with pytest.raises(ConfigError, match=r"ema: is an interval") as caught:
        Grid(space=space)
    assert "list values: ema=0.0,0.5, or search in it: sweep=random" in str(caught.value)


def test_a_grid_that_nobody_could_run_is_refused() -> None:
    space, _ = parse_space([f"x{axis}=range(0,200)" for axis in range(4)])
    with pytest.raises(ConfigError, match="sweep: a grid of 1,600,000,000 runs"):
        Grid(space=space)


def test_a_draw_depends_on_its_number_alone() -> None:
    space, _ = parse_space(["x=interval(0,1)", "y=a,b,c"])
    all_at_once = Random(trials=30, seed=3, space=space).propose(())
    assert [proposal.values for proposal in all_at_once] == [configuration(space, 3, index) for index in range(30)]
    assert len({proposal.values["x"] for proposal in all_at_once}) == 30


def test_a_small_space_is_drawn_from_without_repetition() -> None:
    space, _ = parse_space(["x=int(interval(1,3))", "y=a,b,c"])
    few, every = (Random(trials=trials, space=space).propose(()) for trials in (5, 30))
    assert len({tuple(proposal.values.items()) for proposal in every}) == len(every) == 9
    assert every[:5] == few


def test_draws_are_even() -> None:
    """3,000 draws each; the bounds are about five standard deviations of an even distribution."""
    space, _ = parse_space(
        [
            "flat=interval(-1,3)",
            "log=tag(log,interval(1e-4,1))",
            "whole=int(interval(1,6))",
            "decades=tag(log,int(interval(1,1000)))",
            "choice=a,b,c,d,e,f",
        ]
    )
    drawn = [configuration(space, 0, index) for index in range(3000)]
    flat = np.array([float(values["flat"]) for values in drawn])
    assert flat.min() < -0.99
    assert flat.max() > 2.99
    assert abs(flat.mean() - 1) < 5 * 4 / math.sqrt(12 * 3000)
    for name, tenths in (("log", 1e-2), ("decades", 31.0)):
        below = np.mean([float(values[name]) <= tenths for values in drawn])
        assert abs(below - 0.5) < 5 * 0.5 / math.sqrt(3000), name
    for name, values in (("whole", "123456"), ("choice", "abcdef")):
        counts = Counter(drawn_values[name] for drawn_values in drawn)
        assert sorted(counts) == list(values)
        assert all(abs(count - 500) < 5 * math.sqrt(3000 * 5 / 36) for count in counts.values())
