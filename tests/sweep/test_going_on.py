"""Going on with a sweep after something around it has changed: its data, its values, its members, its files."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command import typed

from bigtrain.config.sweeps import swept
from bigtrain.sweep.live import Live
from bigtrain.sweep.results import write_whole
from bigtrain.sweep.space import Space, asked_again
from bigtrain.sweep.trial import Objective, Trial
from bigtrain.sweep.watching import Watching
from bigtrain.tracking.console import Console

RUN = "steps=4 eval_every=2 log_every=2 batch_size=16 logger=[jsonl] model.widths=[8]"


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def states(folder: Path) -> list[str]:
    return [row["state"] for row in rows(folder)]


def forget(folder: Path) -> None:
    """All trials wait, as if the sweep had been killed before they began."""
    shutil.rmtree(folder / "trials")
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        db.execute("UPDATE trials SET state='waiting', scores='{}', steps=0")
        db.commit()


def space(*texts: str) -> Space:
    return tuple(found for text in texts if (found := swept(text)) is not None)


def table(path: Path, examples: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(examples, 3))
    np.savetxt(path, values, delimiter=",", header="x,y,z", comments="")


def test_other_data_is_not_ranked_with_the_one_before(workdir: Path) -> None:
    command = f"fit -m {RUN} data=csv data.path=t.csv data.target=z sweep_dir=s optimizer.learning_rate=0.1,0.01"
    table(workdir / "t.csv", 80, 0)
    assert typed(command).code == 0
    table(workdir / "t.csv", 90, 1)
    done = typed(f"{command},0.001")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: data: is not what the sweep in 's' has been trained on")
    assert "bring the data back as it was, or choose another sweep_dir" in done.err
    assert states(workdir / "s") == ["done", "done"]
    table(workdir / "t.csv", 80, 0)
    assert typed(f"{command},0.001").code == 0
    assert states(workdir / "s") == ["done"] * 3


@pytest.mark.parametrize(
    ("swept", "path"),
    [
        ("batch_size=16,100000", "batch_size"),
        ("steps=4,2 schedule.warmup=1,3", "schedule.warmup"),
        ("data=digits,text", "model"),
        ("data=csv data.target=z data.path=t.csv,none.csv", "none.csv"),
    ],
)
def test_every_value_is_looked_at_with_its_data_before_anything_starts(swept: str, path: str, workdir: Path) -> None:
    table(workdir / "t.csv", 80, 0)
    done = typed(f"fit -m {RUN.split(' ', 1)[1].replace('batch_size=16', '')} sweep_dir=s {swept}")
    assert (done.code, done.err.startswith(f"error: {path}: ")) == (2, True), done.err
    assert not (workdir / "s").exists()


def test_values_that_were_taken_out_are_not_trained(workdir: Path) -> None:
    assert typed(f"fit -m {RUN} sweep_dir=s seed=0,1,2,3").code == 0
    forget(workdir / "s")
    assert typed(f"fit -m {RUN} sweep_dir=s seed=1,3").code == 0
    assert states(workdir / "s") == ["waiting", "done", "waiting", "done"]
    assert typed(f"fit -m {RUN} sweep_dir=s seed=0,4").code == 0, "what is asked for again is trained"
    assert states(workdir / "s") == ["done", "done", "waiting", "done", "done"]


def test_a_smaller_budget_is_kept_to(workdir: Path) -> None:
    command = f"fit -m {RUN} sweep=random sweep_dir=s 'optimizer.learning_rate=interval(0.001,0.1)'"
    assert typed(f"{command} sweep.trials=5").code == 0
    forget(workdir / "s")
    assert typed(f"{command} sweep.trials=2").code == 0
    assert states(workdir / "s") == ["done"] * 2 + ["waiting"] * 3
    assert typed(f"{command} sweep.trials=3").code == 0
    assert states(workdir / "s") == ["done"] * 3 + ["waiting"] * 2


def test_what_a_sweep_is_to_know_of() -> None:
    def trial(number: int, seed: int, state: str = "waiting", **more: object) -> Trial:
        return Trial(number, {"seed": str(seed)}, f"trials/{number:04d}", state, **more)  # type: ignore[arg-type]

    trials = [trial(0, 0, "done"), trial(1, 1), trial(2, 2, "failed"), trial(3, 3), trial(4, 4, scores={0.5: (1.0,)})]

    def numbers(most: int | None, *texts: str) -> list[int]:
        return [found.number for found in asked_again(space(*texts), trials, most)]

    assert numbers(None, "seed=0,1,2,3,4") == [0, 1, 2, 3, 4]
    assert numbers(None, "seed=3,9") == [0, 2, 3, 4]
    assert numbers(4, "seed=range(9)") == [0, 1, 2, 4], "three have begun, so there is room for one"
    assert numbers(2, "seed=range(9)") == [0, 2, 4]
    assert numbers(2, "seed=1,7") == [0, 1, 2, 4], "those of other values take no room"
    children = [*trials, trial(5, 9, parent=0)]
    assert asked_again(space("seed=0,1"), children, 1) == children


def test_a_member_that_was_trained_further_does_not_stand_in_the_way(workdir: Path) -> None:
    command = f"fit -m {RUN} sweep_dir=s seed=0,1"
    assert typed(command).code == 0
    before = (workdir / "s/results.csv").read_text()
    assert typed("fit run_dir=s/trials/0000 steps=6").code == 0
    assert typed(command).code == 0
    assert (workdir / "s/results.csv").read_text() == before
    assert typed(f"{command},2").code == 0
    assert states(workdir / "s") == ["done"] * 3


def test_a_ledger_that_is_lost_or_damaged(workdir: Path) -> None:
    command = f"fit -m {RUN} sweep_dir=s seed=0,1"
    assert typed(command).code == 0
    before = rows(workdir / "s")
    (workdir / "s/ledger.sqlite").write_bytes(b"no database" * 100)
    damaged = typed(command)
    assert (damaged.code, "move it away and type the same command again" in damaged.err) == (2, True), damaged.err
    (workdir / "s/ledger.sqlite").unlink()
    again = typed(command)
    assert again.code == 0, again.err
    assert rows(workdir / "s") == before


def test_directories_that_are_gone_are_told(workdir: Path) -> None:
    command = f"fit -m {RUN} sweep_dir=s seed=0,1"
    assert "any more" not in typed(command).err
    shutil.rmtree(workdir / "s/trials/0001")
    told = typed(command).err
    assert "note: 1 of 2 trials that are done have no directory any more (trials/0001)" in told


def test_a_folder_where_the_answer_is_to_be(workdir: Path) -> None:
    command = f"fit -m {RUN} sweep_dir=s seed=0,1"
    assert typed(command).code == 0
    (workdir / "s/results.csv").unlink()
    (workdir / "s/results.csv").mkdir()
    done = typed(command)
    assert (done.code, "is a folder, and a file is to be written there" in done.err) == (2, True), done.err


def test_the_next_command_is_of_the_checkpoint_that_was_scored(workdir: Path) -> None:
    assert "--checkpoint best" in typed(f"fit -m {RUN} sweep_dir=a seed=0,1 sweep.score=best").out
    assert "--checkpoint" not in typed(f"fit -m {RUN} sweep_dir=b seed=0,1").out


def test_a_member_that_diverged_says_how_to_find_out_more(workdir: Path) -> None:
    done = typed(f"fit -m {RUN} sweep_dir=s optimizer=sgd optimizer.learning_rate=0.01,1e38")
    assert done.code == 0
    assert "why         bigtrain fit run_dir=s/trials/0001 names the step" in done.out
    lone = typed("fit run_dir=s/trials/0001")
    assert (lone.code, "step 1" in lone.err or "step 2" in lone.err) == (1, True), lone.err


def test_verify_of_members_whose_bits_a_run_by_itself_can_not_have(workdir: Path) -> None:
    assert typed(f"fit -m {RUN} sweep_dir=v seed=0,1 hydra.launcher.strategy=vmap").code == 0
    together = typed("verify v/trials/0001")
    assert (together.code, "was trained by a program of 2 runs at once" in together.err) == (2, True), together.err
    assert typed(f"fit -m {RUN} sweep_dir=q seed=0,1 hydra.launcher.strategy=sequential").code == 0
    assert typed("verify q/trials/0001").code == 0
    (workdir / "q/trials/0001/adopted.json").write_text(json.dumps({"run": "0000", "step": 2}))
    adopted = typed("verify q/trials/0001")
    assert (adopted.code, "began at step 2 with the state of 0000" in adopted.err) == (2, True), adopted.err
    for strange in ("[]", '{"step": "x"}', '"0000"'):
        (workdir / "q/trials/0001/adopted.json").write_text(strange)
        assert typed("verify q/trials/0001").code == 0


def test_runs_and_results_tell_the_same_scores_of_trials_that_rest(workdir: Path) -> None:
    rates = "optimizer.learning_rate=0.1,0.01,0.001,0.0001"
    given = RUN.replace("eval_every=2", "eval_every=4")
    assert typed(f"fit -m {given} sweep=halving sweep.rungs=2 sweep.eta=2 sweep_dir=s {rates}").code == 0
    assert states(workdir / "s").count("pruned") == 2
    listed = json.loads(typed("runs s --json").out)["runs"]
    found = {Path(run["run_dir"]).name: run["scores"]["validation/loss"] for run in listed}
    assert found == {Path(row["run_dir"]).name: float(row["loss"]) for row in rows(workdir / "s")}


def test_an_answer_that_can_not_be_written_leaves_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "results.csv", b"a,b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


def test_a_running_trial_shows_its_newest_score(tmp_path: Path) -> None:
    objective = Objective("loss", "min")
    live = Live(Console(quiet=True), [objective], 2)
    watching = Watching(tmp_path, None, live)  # type: ignore[arg-type]  only its files are looked at
    trial = Trial(0, {"seed": "0"}, "trials/0000", "running")
    newest: dict[int, list[float]] = {}
    assert watching._under_way(trial, newest).state == "waiting"
    (tmp_path / "trials/0000").mkdir(parents=True)
    lines = [
        {"step": 10, "validation/loss": 0.5},
        {"step": 20, "validation/loss": 0.25},
        {"step": 30, "train/loss": 1.0},
    ]
    text = "cut off}\n" + "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "trials/0000/metrics.jsonl").write_text(text)
    assert watching._under_way(trial, newest).steps == 30
    assert newest == {0: [0.25]}
    live.update([watching._under_way(trial, newest)], newest)
    assert live._scores(trial) == "loss 0.25"


def test_a_sweep_dir_that_is_null_is_the_default(workdir: Path) -> None:
    done = typed(f"fit -m {RUN} sweep_dir=null seed=0,1")
    assert done.code == 0, done.err
    assert not (workdir / "null").exists()
    assert len(list((workdir / "sweeps").iterdir())) == 1
