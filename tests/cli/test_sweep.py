"""`bigtrain fit -m`: what is typed becomes trials, what is there isn't trained again, and mistakes come before."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from pathlib import Path

import pytest
from command import bigtrain

SMALL = ("model.widths=[4]", "steps=20", "batch_size=16", "eval_every=10", "log_every=10", "logger=jsonl")
ADAM = Path(__file__).parents[2] / "configs" / "optimizer" / "adam.yaml"
FEW = ("optimizer.learning_rate=1e-3,1e-2", "hydra.launcher.strategy=sequential")


def sweep(folder: Path, *more: str) -> list[str]:
    return ["fit", "-m", *SMALL, f"sweep_dir={folder}", *more]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def touched(folder: Path, pattern: str = "trials/*") -> dict[str, int]:
    return {path.name: (path / "result.json").stat().st_mtime_ns for path in sorted(folder.glob(pattern))}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished grid of two."""
    folder = tmp_path_factory.mktemp("sweeps") / "grid"
    found = bigtrain(*sweep(folder, *FEW))
    assert found.code == 0, found.err
    assert found.err.count("program 1 (compiled in") == 1
    assert "best        trial 1: loss" in found.out
    assert f"next        bigtrain evaluate {folder / 'trials' / '0001'}" in found.out
    return folder


def test_each_combination_is_a_run(grid: Path) -> None:
    found = rows(grid)
    assert [row["optimizer.learning_rate"] for row in found] == ["0.001", "0.01"]
    for row in found:
        result = json.loads((grid / row["run_dir"] / "result.json").read_text())
        assert float(row["loss"]) == result["validation"]["loss"]
        assert row["state"] == "done"
    assert (grid / "report.html").stat().st_size > 1000
    assert bigtrain("evaluate", str(grid / "trials" / "0000")).code == 0
    assert "trials/0001" in bigtrain("runs", "best", str(grid)).out


def test_the_same_command_again_trains_nothing(grid: Path) -> None:
    before, results = touched(grid), (grid / "results.csv").read_bytes()
    found = bigtrain(*sweep(grid, *FEW), "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["trials"] == {"done": 2}
    assert touched(grid) == before
    assert (grid / "results.csv").read_bytes() == results


def test_more_values_run_the_new_ones_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert bigtrain(*sweep(folder, "seed=1")).code == 2
    assert not folder.exists()
    assert bigtrain(*sweep(folder, "seed=1,2")).code == 0
    before = touched(folder)
    assert bigtrain(*sweep(folder, "seed=range(1,4)")).code == 0
    after = touched(folder)
    assert {name: after[name] for name in before} == before
    assert [row["seed"] for row in rows(folder)] == ["1", "2", "3"]


def test_values_of_any_key_may_be_added(tmp_path: Path) -> None:
    folder = tmp_path / "bob's, 1=2"
    assert bigtrain(*sweep(folder, "seed=1,2", "ema=0.5,0.9")).code == 0
    assert bigtrain(*sweep(folder, "ema=0.5,0.9,0.99", "seed=1,2", "--json")).code == 0  # in whatever order
    assert list(rows(folder)[0])[2:4] == ["seed", "ema"]
    pairs = [(row["seed"], row["ema"]) for row in rows(folder)]
    assert sorted(pairs) == sorted((seed, decay) for seed in "12" for decay in ("0.5", "0.9", "0.99"))
    assert len(list(folder.glob("trials/*/result.json"))) == 6


def test_an_outcome_that_was_not_told_is_not_trained_again(grid: Path) -> None:
    """As after a kill between the end of a run and the ledger's line."""
    import sqlite3

    before = touched(grid)
    with sqlite3.connect(grid / "ledger.sqlite") as db:
        db.execute("UPDATE trials SET state='running', owner='somebody-who-is-gone', scores='{}' WHERE number=1")
    db.close()
    results = (grid / "results.csv").read_bytes()
    assert bigtrain(*sweep(grid, *FEW)).code == 0
    assert (touched(grid), (grid / "results.csv").read_bytes()) == (before, results)


def _without_ledger(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


def test_without_its_ledger_a_sweep_is_taken_up_from_its_runs(grid: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    shutil.copytree(grid, folder)
    _without_ledger(folder)
    before = touched(folder)
    for other, differs in (
        (["optimizer.learning_rate=1e-2,1e-1"], "optimizer.learning_rate: 0.001 there, 0.01 here"),
        (["optimizer.learning_rate=1e-3,1e-2", "steps=30"], "steps: 20 there, 30 here"),
    ):
        found = bigtrain(*sweep(folder, *other))
        assert found.code == 2
        assert f"0000' has been trained with another config\n  {differs}\n  choose another sweep_dir" in found.err
        assert not (folder / "ledger.sqlite").exists()
    assert bigtrain(*sweep(folder, *FEW)).code == 0
    assert touched(folder) == before
    assert (folder / "results.csv").read_bytes() == (grid / "results.csv").read_bytes()


def test_an_outcome_of_a_ledger_that_is_gone_is_none(tmp_path: Path) -> None:
    """Also of a trial that left no run: it is trained."""
    folder = tmp_path / "sweep"
    for name in ("0000", "0001"):
        (folder / "trials" / name).mkdir(parents=True)
        (folder / "trials" / name / "trial.json").write_text(
            '{"state": "failed", "scores": null, "stop_at": null, "steps": 0, "seconds": 0.0, "error": "of another"}'
        )
        (folder / "trials" / name / "error.txt").touch()
    assert bigtrain(*sweep(folder, *FEW)).code == 0
    assert [row["state"] for row in rows(folder)] == ["done", "done"]


def test_members_are_saved_sparingly_unless_told(grid: Path, tmp_path: Path) -> None:
    """At their end, and by the clock; what is typed, or said by a recipe, counts."""
    import yaml

    def saving(folder: Path) -> dict[str, object]:
        found: dict[str, object] = yaml.safe_load((folder / "trials" / "0000" / "config.yaml").read_text())[
            "checkpoint"
        ]
        return found

    assert (saving(grid)["every"], saving(grid)["minutes"]) == ("100%", 0.2)
    assert bigtrain(*sweep(tmp_path / "told", "seed=1,2", "checkpoint.every=5")).code == 0
    assert (saving(tmp_path / "told")["every"], saving(tmp_path / "told")["minutes"]) == (5, None)


def test_a_search_is_chosen_by_name(tmp_path: Path) -> None:
    typed = ("sweep=random", "sweep.trials=3", "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))")
    folder = tmp_path / "random"
    found = bigtrain("fit", *SMALL, *typed, f"sweep_dir={folder}", "sweep.objectives=[accuracy]")
    assert found.code == 0, found.err
    best = max(rows(folder), key=lambda row: float(row["accuracy"]))
    assert f"best        trial {best['trial']}: accuracy" in found.out


def test_rungs_rest_and_go_on(tmp_path: Path) -> None:
    typed = ("sweep=halving", "sweep.eta=2", "sweep.rungs=2", "seed=range(4)")
    found = bigtrain("fit", *SMALL, *typed, f"sweep_dir={tmp_path / 'halving'}")
    assert found.code == 0, found.err
    assert sorted((row["state"], row["steps"]) for row in rows(tmp_path / "halving")) == [
        ("done", "20"), ("done", "20"), ("pruned", "10"), ("pruned", "10"),
    ]  # fmt: skip


def test_a_population_passes_its_states_on(tmp_path: Path) -> None:
    folder = tmp_path / "population"
    typed = ("sweep=population", "sweep.members=2", "sweep.rounds=2", "optimizer.learning_rate=interval(1e-4,1e-1)")
    found = bigtrain("fit", *SMALL, *typed, f"sweep_dir={folder}")
    assert found.code == 0, found.err
    child = next(row for row in rows(folder) if row["parent"])
    lines = {
        name: [json.loads(line) for line in (folder / "trials" / name / "metrics.jsonl").read_text().splitlines()]
        for name in (f"{int(child['parent']):04d}", f"{int(child['trial']):04d}")
    }
    parent, own = lines.values()
    assert [line["step"] for line in own] == [10, 10, 20, 20]
    assert own[:2] == parent[:2]
    assert own[2]["train/learning_rate"] == pytest.approx(float(child["optimizer.learning_rate"]), rel=1e-6)


def test_a_sweep_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    (tmp_path / "mine" / "sweep" / "seeds.yaml").write_text(
        "_target_: bigtrain.sweep.grid.Grid\nparams:\n  seed: range(2)\n  optimizer.learning_rate: 1e-3,1e-2\n"
    )
    own = ("sweep=seeds", "optimizer.learning_rate=0.5,0.6", "--config-dir", str(tmp_path / "mine"))
    found = bigtrain("fit", *SMALL, *own, f"sweep_dir={tmp_path / 'sweep'}")
    assert found.code == 0, found.err
    assert [(row["seed"], row["optimizer.learning_rate"]) for row in rows(tmp_path / "sweep")] == [
        ("0", "0.5"), ("0", "0.6"), ("1", "0.5"), ("1", "0.6"),
    ]  # fmt: skip
    (tmp_path / "mine" / "optimizer").mkdir()  # a file that has changed is another config
    (tmp_path / "mine" / "optimizer" / "adam.yaml").write_text(ADAM.read_text() + "b1: 0.8\n")
    found = bigtrain("fit", *SMALL, *own, "seed=range(3)", f"sweep_dir={tmp_path / 'sweep'}")
    assert found.code == 2
    assert "0000' has been trained with another config\n  optimizer.b1: None there, 0.8 here\n" in found.err
    assert len(rows(tmp_path / "sweep")) == 4


def test_a_failed_trial_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    found = bigtrain(*sweep(folder, "optimizer=sgd", "optimizer.learning_rate=1e38,1e-2"))
    assert found.code == 0, found.err
    assert "failed      trial 0: training diverged" in found.out
    assert [row["state"] for row in rows(folder)] == ["failed", "done"]
    nothing = bigtrain(*sweep(tmp_path / "all", "optimizer=sgd", "optimizer.learning_rate=1e38,2e38"))
    assert nothing.code == 1


def test_values_that_do_not_go_together_are_a_failed_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is allowed with others, and the search combines them in a later round."""
    from bigtrain.config.errors import ConfigError
    from bigtrain.sweep import around

    members = around.members

    def particular(jobs: list[tuple[str, ...]], settings: object) -> object:
        if any(text.startswith("run_dir=") and "0002" in text for job in jobs for text in job):
            raise ConfigError("ema", "is not allowed with this seed")
        return members(jobs, settings)  # type: ignore[arg-type]

    monkeypatch.setattr(around, "members", particular)
    folder, typed = tmp_path / "sweep", ("sweep=tpe", "sweep.parallel=1", "sweep.trials=3", "seed=1,2", "ema=0.5,0.9")
    found = bigtrain(*sweep(folder, *typed))
    assert found.code == 0, found.err
    assert "failed      trial 2: ema: is not allowed with this seed" in found.out
    assert [row["state"] for row in rows(folder)] == ["done", "done", "failed"]
    before = touched(folder, "trials/000[01]")
    assert bigtrain(*sweep(folder, *typed)).code == 0
    assert touched(folder, "trials/000[01]") == before


def test_a_wrong_option_of_the_launcher_fails_no_trial(tmp_path: Path) -> None:
    """It is found once the first program is known; the corrected command goes on."""
    folder, typed = tmp_path / "sweep", ("seed=1,2", "placement=stream")
    found = bigtrain(*sweep(folder, *typed, "hydra.launcher.strategy=vmap"))
    assert (found.code, "hydra.launcher.strategy: 'vmap' can't be" in found.err) == (2, True)
    assert not (folder / "results.csv").exists()
    again = bigtrain(*sweep(folder, *typed, "hydra.launcher.strategy=sequential"))
    assert again.code == 0, again.err
    assert [row["state"] for row in rows(folder)] == ["done", "done"]


def test_what_has_ended_is_told_when_the_sweep_ends_by_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigtrain.config.errors import RunError
    from bigtrain.sweep.tpe import TPE

    def broken(self: TPE, trials: list[object]) -> list[object]:
        if trials:
            raise RunError("no more")
        return propose(self, trials)  # type: ignore[arg-type]

    propose = TPE.propose
    monkeypatch.setattr(TPE, "propose", broken)
    folder = tmp_path / "sweep"
    found = bigtrain(*sweep(folder, "sweep=tpe", "sweep.parallel=1", "sweep.trials=3", "seed=1,2,3"))
    assert (found.code, "no more" in found.err) == (1, True)
    assert [row["state"] for row in rows(folder)] == ["done"]


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other trial would meet it too; with room again, the same command goes on."""
    from bigtrain.checkpoint import Checkpoints

    folder, save, met = tmp_path / "sweep", Checkpoints.save, []

    def full(self: Checkpoints, *given: object) -> None:
        if self.directory.parent.name == "0001":
            met.append(self.directory)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        found = bigtrain(*sweep(folder, *FEW))
    assert met
    assert found.code == 1
    assert "the sweep can't go on: " in found.err
    assert "No space left" in found.err
    assert "type the same command again to go on" in found.err
    before = touched(folder, "trials/0000")
    again = bigtrain(*sweep(folder, *FEW))
    assert again.code == 0, again.err
    assert touched(folder, "trials/0000") == before
    assert [row["state"] for row in rows(folder)] == ["done", "done"]


def test_a_signal_saves_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support import interrupted_at

    folder = tmp_path / "sweep"
    with interrupted_at(monkeypatch, 3):
        found = bigtrain(*sweep(folder, *FEW))
    assert found.code == 0  # no real signal came: tests/faults has those
    assert [row["state"] for row in rows(folder)].count("waiting") >= 1
    assert bigtrain(*sweep(folder, *FEW)).code == 0
    whole = tmp_path / "whole"
    assert bigtrain(*sweep(whole, *FEW)).code == 0
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_time_is_up(tmp_path: Path) -> None:
    found = bigtrain(*sweep(tmp_path / "sweep", "seed=1,2", "sweep.timeout=0.001s"))
    assert found.code == 0, found.err
    assert "trials      none" in found.out or "2 waiting" in found.out


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    found = bigtrain(*sweep(tmp_path / "sweep", "seed=range(5)", "model=mlp,rnn", "data=text", "--dry-run"))
    assert found.code == 2  # an MLP has no use for the steps of a text: told before anything starts
    found = bigtrain(*sweep(tmp_path / "sweep", "seed=range(5)", "--dry-run"))
    assert (found.code, "5 trials in the first round" in found.out) == (0, True)
    assert not (tmp_path / "sweep").exists()


MISTAKES = {
    "a misspelled key": (["optimiser.learning_rate=1,2"], "optimiser.learning_rate: "),
    "a misspelled field": (["optimizer.learning_rat=1,2"], "optimizer.learning_rat: "),
    "a value that is not allowed": (["optimizer.learning_rate=1e-3,high"], "optimizer.learning_rate: 'high' is not"),
    "a choice that does not exist": (["model=mlp,mpl"], "model: there is no model 'mpl'"),
    "nothing swept": ([], "sweep: nothing is swept"),
    "an empty range": (["seed=range(5,1)"], "seed: 'range(5,1)' holds no value"),
    "an interval in a grid": (["optimizer.learning_rate=interval(0.1,1)"], "optimizer.learning_rate: "),
    "a search that does not exist": (["seed=1,2", "sweep=tep"], "sweep: there is no sweep 'tep'"),
    "a field that the search does not have": (["seed=1,2", "sweep.trails=3"], "sweep.trails: "),
    "a launcher that does not exist": (["seed=1,2", "hydra/launcher=jobli"], "hydra/launcher: there is no launcher"),
    "a key that the launcher does not have": (["seed=1,2", "hydra.launcher.at_one=3"], "hydra.launcher"),
    "a strategy that does not exist": (["seed=1,2", "hydra.launcher.strategy=fast"], "hydra.launcher.strategy: "),
    "devices in a text": (
        ["seed=1,2", "hydra/launcher=isolated", "hydra.launcher.devices='0,1'"],
        "hydra.launcher.devices: '0,1' is not allowed",
    ),
    "a device that is none": (
        ["seed=1,2", "hydra/launcher=isolated", "hydra.launcher.devices=true"],
        "hydra.launcher.devices: True is not allowed",
    ),
    "several processes for a run": (
        ["seed=1,2", "distributed.num_processes=2", "distributed.process_id=0", "distributed.coordinator=localhost:1"],
        "distributed.num_processes: each run of a sweep is one process",
    ),
    "a process of several": (["seed=1,2", "distributed.coordinator=localhost:1"], "distributed.coordinator: each run"),
    "how processes wait for each other": (["seed=1,2", "distributed.lost_after=5"], "distributed.lost_after: each run"),
    "several numbers of processes": (["distributed.num_processes=1,2"], "distributed.num_processes: each run"),
    "several numbers of devices in a process": (["mesh.simulate=8,4"], "mesh.simulate: can't change from run to run"),
    "a trace of several runs in a process": (
        ["seed=1,2", "profile=true"],
        "profile: a trace is of a process, and this one",
    ),
    "a run directory": (["seed=1,2", "run_dir=x"], "run_dir: each run of a sweep has its own"),
    "a time that is none": (["seed=1,2", "sweep.timeout=soon"], "sweep.timeout: 'soon' is not allowed"),
    "a choice that a search may come to later": (
        ["sweep=tpe", "sweep.parallel=1", "sweep.seed=1", "optimizer=adam,sgd,adamw", "optimizer.b1=0.9,0.8"],
        "optimizer.b1: sgd has no 'b1'",
    ),
    "an objective that the runs do not have": (["seed=1,2", "sweep.objectives=[speed]"], "sweep.objectives: "),
    "an interval that is not allowed to its end": (
        ["sweep=random", "model.dropout=interval(0,1.2)"],
        "model.dropout: ",
    ),
    "a pattern that freezes nothing": (["seed=1,2", "freeze=[nothing]"], "freeze: 'nothing' matches no parameter"),
    "more rounds than steps": (
        ["sweep=population", "sweep.rounds=21", "optimizer.learning_rate=interval(1e-4,1e-1)"],
        "sweep.rounds: 21 is more than the 20 steps of a run",
    ),
    "a population that may stop early": (
        ["sweep=population", "early_stopping.patience=3", "optimizer.learning_rate=interval(1e-4,1e-1)"],
        "early_stopping.patience: would end members",
    ),
    "the best score without a log": (["seed=1,2", "sweep.score=best", "logger=csv"], "sweep.score: 'best' is read"),
    "Hydra's own sweeper": (["seed=1,2", "hydra/sweeper=basic"], "hydra/sweeper: is set by bigtrain"),
}


@pytest.mark.parametrize("typed", MISTAKES, ids=str)
def test_a_mistake_is_told_before_anything_starts(tmp_path: Path, typed: str) -> None:
    overrides, told = MISTAKES[typed]
    found = bigtrain(*sweep(tmp_path / "sweep", *overrides))
    assert found.code == 2, found.err
    assert found.err.startswith(f"error: {told}"), found.err
    assert not (tmp_path / "sweep" / "trials").exists()


def test_without_m_the_hint_says_so() -> None:
    found = bigtrain("fit", "seed=1,2")
    assert (found.code, "to try each of them, add -m" in found.err) == (2, True)
