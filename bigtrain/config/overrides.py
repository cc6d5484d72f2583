"""One override, `key=value`, judged before anything is composed: its key, its choice of a group, its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bigtrain.config import groups, schema
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.suggest import Available, known_path, spine_paths

_FREE = (*(f"{name}." for name in (*schema.COMPONENTS, *schema.TABLES)), "mesh.rules.")
"""Where keys may be added and taken away: the fields of components, and the table of sharding rules."""

_SEVERAL = (*schema.TABLES.values(), "experiment")
"""Groups of which a run may take more than one choice, or none."""


@dataclass(frozen=True)
class Override:
    """An override as Hydra's parser reads it."""

    text: str
    key: str
    value: Any
    package: str | None = None
    deletes: bool = False
    several: bool = False  # a sweep

    @property
    def typed(self) -> str:
        """The value as it was typed."""
        return self.text.split("=", 1)[1] if "=" in self.text else ""


def key_of(text: str) -> str:
    """The key of an override that hasn't been parsed: `run_dir` of `++run_dir=x`."""
    return text.lstrip("+~").split("=")[0]


def unreadable(text: str, available: Available, example: str = "steps=500 model=vae") -> ConfigError:
    """The error for text that is no override, with the choice or the quoting that was probably meant."""
    key, equals, value = text.partition("=")
    if not equals:
        group = next((group for group, choices in available.items() if text in choices), None)
        hint = f"did you mean {group}={text}?" if group else None
        return ConfigError("", f"{text!r} is no key=value", allowed=f"key=value, e.g. {example}", hint=hint)
    if not key.strip("+~").replace(".", "").replace("_", "").isalnum():
        return ConfigError("", f"{text!r} names no key", allowed=f"key=value, e.g. {example}")
    hint = f"""a list is '{key}=[1,2]'; text with special characters is {key}='"…"'"""
    return ConfigError(key, f"the value {value!r} can't be read", hint=hint)


def accepted(given: Override, available: Available) -> str:
    """The override in the form that Hydra takes; raises `ConfigError` for a key or a choice that doesn't exist.

    Overrides of a component's fields become `++`, since Hydra refuses a key that the YAML doesn't list; whether the
    callee takes it is judged by its signature (`check.py`).
    """
    key = given.key
    if not key or given.package:
        raise ConfigError("", f"{given.text!r} names no key", allowed="key=value, e.g. steps=500 model=vae")
    if given.several:
        wants_list = key in ("freeze", "plugins") or key not in spine_paths()
        hint = f"a list is '{key}=[{given.typed}]'" if wants_list and "(" not in given.typed else None
        hint = f"{hint}; to try each of them, add -m" if hint else "to try each of them, add -m"
        raise ConfigError(key, f"{given.typed!r} is several values; a run takes one", hint=hint)
    if key.split(".")[0] in ("sweep", "sweep_dir", "hydra/launcher"):
        raise ConfigError(key, "belongs to a sweep", hint="bigtrain fit -m KEY=VALUE,VALUE … runs one")
    if key.split(".")[0] == "hydra":
        hint = "--config-dir DIR puts your own configs in front" if key == "hydra.searchpath" else "see run_dir, logger"
        raise ConfigError(key, "Hydra's own settings can't be changed", hint=hint)
    if given.deletes:
        return _deletion(given, available)
    if key in available:
        _check_choice(given, available)
        return given.text
    known_path(key, available, given.typed)
    if key in (*schema.TABLES, "mesh.rules"):
        raise ConfigError(key, "can't be set as a whole", hint=f"write {_entry(key, available)}")
    return f"++{given.text.lstrip('+')}" if key.startswith(_FREE) else given.text


def _entry(key: str, available: Available) -> str:
    """How the entries of a table are set."""
    if key not in schema.TABLES:
        return "mesh.rules.DIM=AXIS"
    group = schema.TABLES[key]
    return f"{group}=[{','.join(list(available.get(group, {}))[:2])}]"


def _deletion(given: Override, available: Available) -> str:
    if given.key in _SEVERAL or given.key.startswith(_FREE):
        return given.text
    if given.key not in available:
        known_path(given.key, available)
    raise ConfigError(given.key, "can't be taken away", hint=f"give it another value: {given.key}=…")


def _check_choice(given: Override, available: Available) -> None:
    group, value, choices = given.key, given.value, available[given.key]
    see = f"see them with: bigtrain configs {group}"
    if isinstance(value, dict):
        field = next((f"{group}.{name}={item}" for name, item in value.items()), f"{group}.FIELD=VALUE")
        problem = f"{given.typed!r} is a table; a group takes the name of a choice"
        raise ConfigError(group, problem, allowed=choices, hint=f"set a field with: {field}")
    names: Iterable[object] = value if isinstance(value, list) else [value]
    if group not in _SEVERAL and (isinstance(value, list) or value is None):
        raise ConfigError(group, f"{given.typed!r} is not one choice", allowed=choices, hint=see)
    for name in names:
        if name is not None and str(name) not in choices:
            hint = did_you_mean(str(name), choices) or see
            raise ConfigError(group, f"there is no {group} {str(name)!r}", allowed=choices, hint=hint)
        if name is not None:
            groups.describe(group, str(name), choices[str(name)])  # a broken file is named here
