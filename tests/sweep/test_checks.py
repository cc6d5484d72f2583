"""What a recipe may not bring into a sweep is refused wherever among the values it is, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import bigtrain

SMALL = ("model.widths=[4]", "steps=20", "batch_size=16", "eval_every=10", "log_every=10", "logger=jsonl")
RECIPES = {
    "stopping": ("stop_at: 3\n", "stop_at: is up to the search of a sweep", ()),
    "silent": ("", "sweep.score: 'best' is read from metrics.jsonl", ("sweep.score=best",)),
    "several": ("distributed:\n  process_id: 0\n", "distributed.process_id: each run of a sweep is one process", ()),
}
SEARCHES = {
    "a grid": (),
    "random": ("sweep=random", "sweep.trials=1"),  # the recipe is in none of the first round
    "rungs": ("sweep=halving",),  # of which the search says where they rest
}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Two harmless ones and one for each thing that is not allowed."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, text in {"one": "", "two": "", **{name: found[0] for name, found in RECIPES.items()}}.items():
        defaults = "defaults:\n  - override /logger: csv\n" if name == "silent" else ""
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{defaults}seed: 1\n{text}")
    return folder.parent


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_a_sweep_can_not_have(
    recipe: str, place: int, search: str, recipes: Path, tmp_path: Path
) -> None:
    names = ["one", "two"]
    names.insert(place, recipe)
    _, told, more = RECIPES[recipe]
    typed = [text for text in SMALL if recipe != "silent" or not text.startswith("logger")]
    swept = f"experiment={','.join(names)}"
    own = ("--config-dir", str(recipes), f"sweep_dir={tmp_path / 'sweep'}")
    found = bigtrain("fit", "-m", *typed, *own, swept, *SEARCHES[search], *more)
    assert (found.code, found.err.split("\n")[0].startswith(f"error: {told}")) == (2, True), found.err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("numbers", ["null,2,1", "2,null,1", "1,null,2"])
def test_a_number_of_processes_anywhere(numbers: str, tmp_path: Path) -> None:
    found = bigtrain("fit", "-m", *SMALL, f"sweep_dir={tmp_path / 'sweep'}", f"distributed.num_processes={numbers}")
    assert found.code == 2
    assert "distributed.num_processes: each run of a sweep is one process" in found.err
