"""Completion: what is offered, by which shell, and how little is imported for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bigtrain.cli import complete
from bigtrain.config.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fi"], ["fit"]),
        (["fit", "schedule=c"], ["schedule=constant", "schedule=cosine"]),
        (["fit", "model=ml"], ["model=mlp"]),
        (["fit", "model=rnn", "model.ce"], ["model.cell="]),
        (["fit", "model=rnn", "model.cell="], ["model.cell=gru", "model.cell=lstm", "model.cell=simple"]),
        (["fit", "model=vae", "model.wid"], ["model.widths="]),
        (["fit", "precision="], ["precision=bf16", "precision=f32"]),
        (["fit", "checkpoint.best="], ["checkpoint.best=false", "checkpoint.best=true"]),
        (["fit", "optimizer=ada"], ["optimizer=adafactor", "optimizer=adagrad", "optimizer=adam", "optimizer=adamw"]),
        (["fit", "batch"], ["batch_size="]),
        (["fit", "--dr"], ["--dry-run"]),
        (["evaluate", "RUN", "--split", "t"], ["test", "train"]),
        (["configs", "sched"], ["schedule"]),
        (["configs", "schedule", "w"], ["wsd"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["data", ""], ["--help", "inspect", "tokenize"]),
        (["data", "inspect", "dig"], ["digits"]),
        (["data", "inspect", "text", "data.le"], ["data.length=", "data.level="]),
        (["data", "inspect", "text", "data.level=b"], ["data.level=bytes"]),
        (["data", "inspect", "--js"], ["--json"]),
        (["data", "tokenize", "--method", "u"], ["unigram"]),
        (["runs", "comp"], ["compare"]),
        (["runs", "best", "--m"], ["--metric", "--mode"]),
        (["runs", "best", "--mode", "m"], ["max", "min"]),
    ],
)
def test_offered(words: list[str], offered: list[str]) -> None:
    assert complete.completions(words) == offered


def test_paths_are_completed_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "rows.npz").touch()
    monkeypatch.chdir(tmp_path)
    assert complete.completions(["evaluate", "r"]) == ["runs/"]
    assert complete.completions(["runs", "runs/o"]) == ["runs/one/"]
    assert complete.completions(["runs", "compare", "runs/one", "r"]) == ["runs/"]
    assert complete.completions(["evaluate", "./runs/"]) == ["./runs/one/"]
    assert complete.completions(["fit", "data.path=r"]) == ["data.path=rows.npz", "data.path=runs/"]
    assert complete.completions(["fit", "run_dir=runs/o"]) == ["run_dir=runs/one/"]


def test_a_folder_of_the_users_is_seen(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: flax.nnx.Linear\n")
    assert complete.completions(["fit", "--config-dir", str(tmp_path), "model=mi"]) == ["model=mine"]


def test_options_are_those_of_the_commands() -> None:
    import typer

    from bigtrain.cli.app import app

    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for name in [name for name, verb in commands.items() if hasattr(verb, "commands")]:  # a group of verbs
        commands |= {f"{name} {under}": verb for under, verb in commands.pop(name).commands.items()}
    for verb, command in commands.items():
        known = {name for option in command.params for name in option.opts if name.startswith("--")}
        assert {*complete.OPTIONS[verb]} - {"--help"} == known, verb
    assert set(complete.OPTIONS) == set(commands)


def test_an_answer_imports_neither_typer_nor_jax() -> None:
    code = (
        "import sys; sys.argv = ['bigtrain', '__complete', 'fit', 'model.w'];"
        "from bigtrain.cli import main; main();"
        "assert not {'typer', 'jax', 'flax', 'hydra', 'rich'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["model.width=", "model.widths="]


def test_an_unknown_shell_is_refused() -> None:
    with pytest.raises(ConfigError, match="no script for 'tcsh'"):
        complete.script("tcsh")


BASH = """
bigtrain() {{ {python} -m bigtrain "$@"; }}
eval "$(bigtrain completion bash)"
COMP_LINE="$1"; COMP_POINT=${{#1}}; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
_bigtrain_complete
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("bigtrain fit mod", ["model="]),
        ("bigtrain fit model=rn", ["rnn"]),  # bash replaces only what follows the `=`
        ("bigtrain fit model=rnn model.cell=l", ["lstm"]),
    ],
)
def test_bash_completes_key_value_pairs(line: str, replies: list[str]) -> None:
    script = BASH.format(python=sys.executable)
    done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True, check=True)
    assert done.stdout.split() == replies


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes_key_value_pairs() -> None:
    script = f"function bigtrain; {sys.executable} -m bigtrain $argv; end; bigtrain completion fish | source; "
    done = subprocess.run(
        ["fish", "-c", script + 'complete -C "bigtrain fit model=va"'], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["model=vae", "model=vae/conv"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_reads_the_script() -> None:
    subprocess.run(["zsh", "-n", "-c", complete.script("zsh")], capture_output=True, check=True)
