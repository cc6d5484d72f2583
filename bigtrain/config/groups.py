"""The config groups on disk: which choices each has, and what each choice builds. Reads files, imports nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import signature
from bigtrain.config.errors import ConfigError


def builtin_dir() -> Path:
    """The shipped config folder: inside the wheel, or `configs/` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


def search_dirs(config_dir: str | Path | None = None) -> tuple[Path, ...]:
    """Where configs are looked for: the user's folder first, then the shipped one."""
    if config_dir is None:
        return (builtin_dir(),)
    folder = Path(config_dir).expanduser().resolve()
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "there is no such folder"
        allowed = "a folder with config groups: model/, data/, experiment/, …"
        raise ConfigError("--config-dir", f"{str(config_dir)!r}: {problem}", allowed=allowed)
    return (folder, builtin_dir())


def groups(dirs: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Every group with its choices and their files; an earlier folder's choice hides a later one's."""
    found: dict[str, dict[str, Path]] = {}
    for folder in reversed(dirs):
        for path in sorted(folder.glob("*/**/*.yaml")):
            parts = path.relative_to(folder).with_suffix("").parts
            found.setdefault(parts[0], {})["/".join(parts[1:])] = path
    return {group: dict(sorted(choices.items())) for group, choices in sorted(found.items())}


@dataclass(frozen=True)
class Choice:
    """One YAML of a group, and the callee its `_target_` names (None for tables and recipes)."""

    group: str
    name: str
    path: Path
    values: dict[str, Any]
    comment: str
    callee: signature.Callee | None

    @property
    def summary(self) -> str:
        """The file's opening comment where it has one, else the first sentence of the callee's docstring."""
        return self.comment or (self.callee.summary if self.callee else "")


@functools.cache
def describe(group: str, name: str, path: Path) -> Choice:
    """Reads one choice; a file that is no table in YAML is a `ConfigError` that names it."""
    text, values = _table(path)
    comments = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
    comment = next((line for line in comments if line and not line.startswith("@package")), "")
    callee = None
    if isinstance(values.get("_target_"), str):
        try:
            callee = signature.read(values["_target_"])
        except signature.TargetError as error:
            comment = f"(can't be read: {error})"
    return Choice(group, name, path, values, comment, callee)


def callees(group: str, choices: Mapping[str, Path]) -> Iterator[tuple[str, signature.Callee]]:
    """What each choice of a group builds; files that can't be read are left out, since this serves suggestions."""
    for name, path in choices.items():
        try:
            callee = describe(group, name, path).callee
        except ConfigError:
            continue
        if callee:
            yield name, callee


def _table(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a config file and the table it holds."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is no UTF-8 text: byte {error.start}") from error
    except OSError as error:
        raise ConfigError(str(path), f"can't be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(str(path), f"is no valid YAML: {where}{problem}") from error
    except RecursionError as error:
        raise ConfigError(str(path), "is no valid YAML: it is nested too deeply") from error
    except ValueError as error:  # an integer of 5,000 digits, a date that there isn't
        raise ConfigError(str(path), f"is no valid YAML: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(str(path), f"holds a {type(values).__name__}", allowed="a table of key: value")
    return text, values or {}
