"""A member of a population is a run: its curve and its scores are those of the same config run alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import bigtrain
from support import run_fit

from bigtrain.config.errors import InputError
from bigtrain.run.directory import RunDirectory
from bigtrain.sweep.around import Around
from bigtrain.sweep.job import Judge, Outcome
from bigtrain.sweep.member import Settings, check_same, directory_of, members
from bigtrain.sweep.population import Population
from bigtrain.sweep.trial import Objective
from bigtrain.train.provenance import config_hash

SHORT = ("model.widths=[4]", "batch_size=16", "steps=40", "log_every=9", "optimizer=sgd")
BASE = (
    "model.widths=[8]", "model.dropout=0.1", "steps=200", "batch_size=16", "eval_every=100", "log_every=10", "ema=0.9",
)  # fmt: skip
DIFFERENT = ("seed=1", "optimizer.learning_rate=0.01 seed=2", "model.dropout=0.3")
SETTINGS = Settings(Judge((Objective("loss", "min"),)))


def population(folder: Path, kind: Any, *jobs: str, base: tuple[str, ...] = BASE, **given: Any) -> dict[int, Outcome]:
    """The outcome of each job, each in a numbered run directory."""
    typed = [(*base, *text.split(), f"run_dir={folder / str(at)}") for at, text in enumerate(jobs)]
    found = Population(Around(SETTINGS), kind, **given)
    return {int(member.path.name): outcome for member, outcome in found.run(members(typed, SETTINGS))}


def curves(run: Path) -> dict[str, np.ndarray]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line} - {"examples_per_second"}
    return {name: np.array([line[name] for line in lines if name in line]) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of `DIFFERENT` as a run by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for at, text in enumerate(DIFFERENT):
        run_fit(folder / str(at), *BASE, *text.split())
    return folder


@pytest.mark.parametrize(
    ("kind", "mesh"), [("sequential", ()), ("threads", ()), ("vmap", ()), ("vmap", ("mesh=data", "mesh.data=4"))]
)
def test_population_member_is_single_run(tmp_path: Path, alone: Path, kind: str, mesh: tuple[str, ...]) -> None:
    found = population(tmp_path, kind, *DIFFERENT, base=(*BASE, *mesh))
    for at in range(len(DIFFERENT)):
        wanted, given = curves(alone / str(at)), curves(tmp_path / str(at))
        assert wanted.keys() == given.keys()
        for name in wanted:
            np.testing.assert_allclose(given[name], wanted[name], rtol=0 if kind != "vmap" else 1e-5, err_msg=name)
        result = json.loads((alone / str(at) / "result.json").read_text())
        assert found[at].state == "done"
        assert found[at].scores == pytest.approx((result["validation"]["loss"],), rel=1e-5)
        accuracy = json.loads((tmp_path / str(at) / "result.json").read_text())["test"]["accuracy"]
        assert accuracy == result["test"]["accuracy"]


@pytest.mark.parametrize("kind", ["threads", "vmap"])
def test_a_member_that_diverges_fails_alone_and_frees_its_place(tmp_path: Path, kind: str) -> None:
    jobs = ("seed=1", "optimizer.learning_rate=1e38 seed=1", "seed=2", "seed=3")
    found = population(tmp_path, kind, *jobs, base=SHORT, at_once=2)
    assert [found[at].state for at in range(4)] == ["done", "failed", "done", "done"]
    assert (found[1].error, found[1].steps) == ("training diverged", 0)
    assert not list((tmp_path / "1" / "checkpoints").glob("[0-9]*"))
    lone = run_fit(tmp_path / "alone", *SHORT, "seed=3")
    assert found[3].scores == pytest.approx((lone["validation"]["loss"],), rel=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "vmap"])
def test_a_member_keeps_the_best_and_the_last(tmp_path: Path, kind: str) -> None:
    """What is held until the next save is in the end what a run by itself has saved on the way."""
    base = (
        "model.widths=[16]",
        "batch_size=16",
        "steps=100",
        "eval_every=10",
        "optimizer.learning_rate=0.1",
        "ema=0.5",
    )
    population(tmp_path, kind, "seed=1", "seed=2", base=base)
    for seed in (1, 2):
        lone = tmp_path / "alone" / str(seed)
        run_fit(lone, *base, f"seed={seed}")
        wanted, found = (
            sorted(path.name for path in (run / "checkpoints").glob("0*")) for run in (lone, tmp_path / str(seed - 1))
        )
        assert found == wanted
        if kind == "sequential":
            digests = [
                json.loads((run / "checkpoints" / wanted[0] / "meta.json").read_text())["state"]["sha256"]
                for run in (lone, tmp_path / str(seed - 1))
            ]
            assert digests[0] == digests[1]


def test_other_verbs_use_a_member(tmp_path: Path) -> None:
    population(tmp_path, "vmap", "seed=1", "seed=2", base=("model.widths=[4]", "steps=20", "batch_size=16"))
    found = bigtrain("evaluate", str(tmp_path / "1"), "--json")
    assert found.code == 0, found.err
    scores = json.loads((tmp_path / "1" / "result.json").read_text())["test"]
    assert json.loads(found.out)["accuracy"] == scores["accuracy"]
    again = bigtrain("fit", f"run_dir={tmp_path / '1'}", "steps=30", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["steps"] == 30


def test_a_member_is_described_as_a_run_by_itself_is(tmp_path: Path) -> None:
    """What members share, or are told instead of reading it back, is what each would have found."""
    population(tmp_path, "threads", *DIFFERENT, base=SHORT)
    for at, text in enumerate(DIFFERENT):
        run_fit(tmp_path / f"alone-{at}", *SHORT, *text.split())
        mine, wanted = (
            json.loads((tmp_path / name / "checkpoints" / "000000040" / "meta.json").read_text())
            for name in (str(at), f"alone-{at}")
        )
        assert mine["made"]["config"] == config_hash(RunDirectory(tmp_path / str(at)).config())
        assert mine == wanted
        results = [json.loads((tmp_path / name / "result.json").read_text()) for name in (str(at), f"alone-{at}")]
        assert [results[0][split] for split in ("validation", "test")] == [
            results[1][split] for split in ("validation", "test")
        ]


def test_members_of_different_lengths_share_slots(tmp_path: Path) -> None:
    jobs = ("steps=20 seed=1", "steps=50 seed=2", "steps=35 seed=3")
    base = ("model.widths=[4]", "batch_size=16", "log_every=9")
    found = population(tmp_path / "together", "vmap", *jobs, base=base, at_once=2)
    assert [found[at].steps for at in range(3)] == [20, 50, 35]
    for at, text in enumerate(jobs):
        lone = run_fit(tmp_path / "alone" / str(at), *base, *text.split())
        assert found[at].scores == pytest.approx((lone["validation"]["loss"],), rel=1e-5)


def test_what_an_earlier_version_has_trained_is_the_same(tmp_path: Path) -> None:
    """A key that it didn't have is as it was, unless it is given a value."""
    made = [members([("seed=1", *more, f"run_dir={tmp_path}")], SETTINGS)[0] for more in ((), ("ema=0.5",))]
    directory_of(made[0])
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    (tmp_path / "config.yaml").write_text("\n".join(line for line in lines if not line.startswith("ema:")))
    check_same(made[0])
    with pytest.raises(InputError, match=r"ema: None there, 0.5 here"):
        check_same(made[1])


def test_a_run_directory_that_another_has_waits(tmp_path: Path) -> None:
    """What a killed sweep has left running isn't a failure."""
    import fcntl

    (tmp_path / "0").mkdir()
    with open(tmp_path / "0" / ".lock", "w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert population(tmp_path, "sequential", "seed=1", base=SHORT)[0].state == "waiting"
    assert population(tmp_path, "sequential", "seed=1", base=SHORT)[0].state == "done"


def test_what_cannot_be_compiled_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the error is none of ours: of the compiler, or of a user's model."""
    from bigtrain.sweep import groups

    real = groups.prepare

    def prepare(checked: Any, *given: Any) -> Any:
        if checked.run.batch_size == 8:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return real(checked, *given)

    monkeypatch.setattr(groups, "prepare", prepare)
    base = ("model.widths=[4]", "steps=10", "logger=jsonl")
    found = population(tmp_path, "sequential", "batch_size=8", "batch_size=16", "batch_size=5000", base=base)
    assert [found[at].state for at in range(3)] == ["failed", "done", "failed"]
    assert found[0].error == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert found[2].error == "batch_size: 5000 is larger than the training set of 1259 examples"
    assert "prepare" in (tmp_path / "0" / "error.txt").read_text()


def test_a_common_program_that_fails_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The members under way fail; those that come later don't."""
    from bigtrain.sweep.slots import Slots

    compiled, made = Slots._compile, []

    def compile_(self: Slots, like: Any) -> None:
        compiled(self, like)
        made.append(self)
        if len(made) == 1:
            monkeypatch.setattr(self, "_advance", lambda *given: (_ for _ in ()).throw(RuntimeError("")))

    monkeypatch.setattr(Slots, "_compile", compile_)
    found = population(tmp_path, "vmap", "seed=1", "seed=2", "seed=3", base=SHORT, at_once=2)
    assert [found[at].state for at in range(3)] == ["failed", "failed", "done"]
    assert found[0].error == "the program of 2 members failed: RuntimeError"


def test_a_program_keeps_its_number(tmp_path: Path) -> None:
    said: list[str] = []
    trains = Population(Around(SETTINGS, said.append), "sequential")
    for at, widths in enumerate([(4, 4, 5, 5), (4,)]):
        jobs = [
            (*SHORT, "steps=2", f"model.widths=[{width}]", f"seed={seed}", f"run_dir={tmp_path / f'{at}-{seed}'}")
            for seed, width in enumerate(widths)
        ]
        assert all(outcome.state == "done" for _, outcome in trains.run(members(jobs, SETTINGS)))
    assert [text.partition(" (")[0] for text in said] == ["program 1", "program 2", "program 1"]
