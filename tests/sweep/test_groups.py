"""Which configurations share a program: those that differ in numbers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigtrain.sweep.groups import Group, Programs, Refused
from bigtrain.sweep.job import Judge
from bigtrain.sweep.member import Settings, members
from bigtrain.sweep.trial import Objective

BASE = ("model.widths=[4]", "steps=10", "batch_size=16", "logger=jsonl")
SETTINGS = Settings(Judge((Objective("loss", "min"),)))


def grouped(folder: Path, *different: str) -> list[list[int]]:
    """The numbers of the members in each group."""
    jobs = [(*BASE, *text.split(), f"run_dir={folder / str(at)}") for at, text in enumerate(different)]
    found = list(Programs().groups(members(jobs, SETTINGS)))
    assert all(isinstance(group, Group) for group in found)
    return [[int(member.path.name) for member in group.members] for group in found if isinstance(group, Group)]


@pytest.mark.parametrize(
    "numbers",
    [
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate=1"),
        ("optimizer.b1=0.5 optimizer.eps=1e-3", "optimizer.b1=0.9 optimizer.eps=1e-8"),
        ("seed=0", "seed=1", "seed=2 optimizer.learning_rate=3"),
        ("model.dropout=0.1", "model.dropout=0.2", "model.dropout=0.9"),
        ("task=classification task.label_smoothing=0.1", "task=classification task.label_smoothing=0.2"),
        ("clip_norm=1", "clip_norm=2"),
        ("ema=0.9", "ema=0.99"),
        ("steps=10", "steps=20 eval_every=3", "log_every=2", "checkpoint.every=1", "early_stopping.patience=3"),
        ("schedule=cosine schedule.warmup=2", "schedule=cosine schedule.warmup=3"),
    ],
)
def test_numbers_share_a_program(tmp_path: Path, numbers: tuple[str, ...]) -> None:
    assert grouped(tmp_path, *numbers) == [list(range(len(numbers)))]


def test_shapes_and_parts_do_not(tmp_path: Path) -> None:
    different = (
        "seed=0", "model.widths=[5]", "batch_size=8", "optimizer=sgd", "ema=0.9", "clip_norm=1", "accumulate=2",
        "schedule=cosine", "seed=1", "freeze=[hidden*]", "batch_size=8 seed=1",
    )  # fmt: skip
    assert grouped(tmp_path, *different) == [[0, 8], [1], [2, 10], [3], [4], [5], [6], [7], [9]]


def test_each_run_keeps_its_own_numbers(tmp_path: Path) -> None:
    different = ("seed=3 model.dropout=0.2 schedule.warmup=1 steps=7", "seed=4 model.dropout=0.1 schedule.warmup=2")
    jobs = [(*BASE, *text.split(), f"run_dir={tmp_path / str(at)}") for at, text in enumerate(different)]
    programs = Programs()
    (group,) = programs.groups(members(jobs, SETTINGS))
    assert isinstance(group, Group)
    first, second = [group.ready(member) for member in group.members]
    assert (first.values["seed"], first.values["model.dropout"], first.lengths.steps) == (3, 0.2, 7)
    assert (second.values["seed"], second.values["model.dropout"], second.lengths.steps) == (4, 0.1, 10)
    assert (first.values["schedule.warmup"], second.values["schedule.warmup"]) == (1, 2)
    assert (first.placement.order.seed, second.placement.order.seed) == (3, 4)
    assert first.program is second.program
    assert programs.number == 1


def test_a_program_is_kept_for_members_that_come_later(tmp_path: Path) -> None:
    programs = Programs()
    for at in range(2):
        job = (*BASE, f"seed={at}", f"run_dir={tmp_path / str(at)}")
        (group,) = programs.groups(members([job], SETTINGS))
        assert isinstance(group, Group)
    assert programs.number == 1


def test_what_cannot_be_prepared_is_refused_alone(tmp_path: Path) -> None:
    different = ("freeze=[nothing*]", "seed=1")
    jobs = [(*BASE, text, f"run_dir={tmp_path / str(at)}") for at, text in enumerate(different)]
    refused, fine = Programs().groups(members(jobs, SETTINGS))
    assert isinstance(refused, Refused)
    assert "matches no parameter" in str(refused.error)
    assert isinstance(fine, Group)
