"""The rules of the house: which way imports point, who may touch what, and how long files and functions are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bigtrain"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ("cli",),
    ("sweep", "plan", "inference", "explain", "robustness"),
    ("train",),
    ("checkpoint", "tracking", "run", "optim", "privacy"),
    ("tasks", "augment"),
    ("metrics",),
    ("data", "models", "parallel"),
    ("config",),
)
"""A part imports its own layer and those below."""

LONG_FUNCTIONS: dict[str, str] = {
    "bigtrain.models.transformer.__init__": "23 fields, each with its line of type and its line of meaning",
}
"""Functions of more than 60 lines, each with the reason."""


def _name(path: Path) -> str:
    return ".".join(("bigtrain", *path.relative_to(PACKAGE).with_suffix("").parts))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a file imports, in functions too, with its line; those for type checkers alone don't count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part(module: str) -> str:
    """The first name below `bigtrain`."""
    return [*module.split("."), ""][1]


def layer(module: str) -> int | None:
    """The place of a module in `LAYERS`; None for `bigtrain` itself."""
    return next((place for place, parts in enumerate(LAYERS) if part(module) in parts), None)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    own = layer(_name(path))
    if own is None:
        assert path.stem in ("__init__", "__main__", "_version"), f"{path.name} is in no layer"
        return
    back = [
        f"line {line}: {name}"
        for line, name in imports(path)
        if name.startswith("bigtrain.") and (found := layer(name)) is not None and found < own
    ]
    assert not back, back


def _importers(*tops: str, under: str = "") -> list[str]:
    return [
        _name(path)
        for path in FILES
        if _name(path).startswith(f"bigtrain{under}") and any(name.split(".")[0] in tops for _, name in imports(path))
    ]


def test_data_touches_jax_in_one_file() -> None:
    assert _importers("jax", "flax", "optax", under=".data.") == ["bigtrain.data.placement"]


def test_config_touches_no_jax() -> None:
    assert _importers("jax", "flax", "optax", "orbax", "numpy", under=".config.") == []


def test_three_modules_know_hydra() -> None:
    """One composes; one hands a sweep to its engine; one reads the grammar of sweeps."""
    assert [name for name in _importers("hydra", "omegaconf") if "hydra_plugins" not in name] == [
        "bigtrain.config.compose",
        "bigtrain.config.multirun",
        "bigtrain.config.sweeps",
    ]


def test_one_module_imports_by_name() -> None:
    found = []
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(ast.unparse(call.func).endswith(("import_module", "__import__")) for call in calls):
            found.append(_name(path))
    assert found == ["bigtrain.config.build"]


def test_the_cli_loads_typer_alone() -> None:
    """At the top of the five files that `--help` needs; the verbs' own modules are loaded when they are called."""
    for path in (
        PACKAGE / "cli" / name for name in ("__init__.py", "app.py", "data_verbs.py", "options.py", "runs_verbs.py")
    ):
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {(node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name for node in tops}
        assert names <= {
            "__future__",
            "contextlib",
            "errno",
            "os",
            "signal",
            "sys",
            "threading",
            "pathlib",
            "typing",
            "typer",
            "bigtrain",
            "bigtrain.cli.data_verbs",
            "bigtrain.cli.options",
            "bigtrain.cli.runs_verbs",
            "typer.core",
        }


def test_train_names_no_tracker_and_no_optuna() -> None:
    trackers = ("tensorboard", "tensorboardX", "wandb", "mlflow", "optuna")
    assert _importers(*trackers, under=".train.") == []
    named = [
        f"{_name(path)}: {name}"
        for path in (PACKAGE / "train").glob("*.py")
        for _, name in imports(path)
        if name.startswith(("bigtrain.tracking.", "bigtrain.privacy", "bigtrain.sweep"))
        and not name.startswith("bigtrain.tracking.logger")
    ]
    assert not named, named


def test_models_and_tasks_do_not_know_each_other() -> None:
    for path in FILES:
        if part(_name(path)) in ("models", "tasks"):
            other = "bigtrain.tasks" if part(_name(path)) == "models" else "bigtrain.models"
            assert not [name for _, name in imports(path) if name.startswith(other)], _name(path)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300, "a file has at most 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            name = f"{_name(path)}.{node.name}"
            assert length <= 60 or name in LONG_FUNCTIONS, f"{name} has {length} lines"


def test_no_module_for_leftovers() -> None:
    leftovers = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    assert not [_name(path) for path in FILES if path.stem in leftovers]
