"""The check of a composed config against what each part takes, before anything heavy is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import groups, kinds, schema, signature, trust
from bigtrain.config.errors import ConfigError, nearest

SUPPLIED: Mapping[str, frozenset[str]] = {
    "model": frozenset({"spec", "rngs"}),
    "data": frozenset(),
    "task": frozenset({"spec", "objective"}),
    "optimizer": frozenset({"mask", "weight_decay_mask"}),
    "schedule": frozenset({"total_steps"}),
    "loggers": frozenset({"directory", "resumed"}),
}
"""Arguments that bigtrain fills in because they are known late; a callee asks for them by name."""

_SCHEMA = "bigtrain.config.schema."
NESTED = {"mesh": "MeshConfig", "checkpoint": "CheckpointConfig"}


@dataclass(frozen=True)
class Node:
    """A component as configured: its callee and the checked, converted arguments."""

    path: str
    callee: signature.Callee
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """A config whose every key exists and whose every value is allowed."""

    run: schema.RunConfig
    nodes: dict[str, Node]
    loggers: dict[str, Node]


def check(values: Mapping[str, Any], trusted: trust.Trust) -> Checked:
    """Checks a composed config; raises `ConfigError` for the first key or value that isn't allowed."""
    spine = signature.read(_SCHEMA + "RunConfig")
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in spine.parameters:
            raise unknown_key(name, spine_paths(), "the run")
        if name in NESTED:
            converted[name] = _nested(name, value)
        elif name not in schema.COMPONENTS and name != "loggers":
            converted[name] = _converted(name, spine.parameters[name], value)
    nodes = {name: check_node(name, values.get(name), trusted) for name in schema.COMPONENTS}
    loggers = {}
    for name, value in (values.get("loggers") or {}).items():
        loggers[name] = check_node(f"loggers.{name}", value, trusted)
    run = schema.RunConfig(
        **converted, loggers=dict(values.get("loggers") or {}), **{name: values[name] for name in schema.COMPONENTS}
    )
    return Checked(run, nodes, loggers)


def _nested(path: str, value: Any) -> Any:
    callee = signature.read(_SCHEMA + NESTED[path])
    if not isinstance(value, dict):
        raise ConfigError(path, f"{value!r} is no table", allowed=callee.parameters)
    for name in value:
        if name not in callee.parameters:
            raise unknown_key(f"{path}.{name}", [f"{path}.{known}" for known in callee.parameters], path)
    found = {name: _converted(f"{path}.{name}", callee.parameters[name], item) for name, item in value.items()}
    return getattr(schema, NESTED[path])(**found)


def check_node(path: str, value: Any, trusted: trust.Trust) -> Node:
    """One component: its target may be built, takes every key, and every value is of the right kind."""
    group = path.split(".")[0]
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        hint = f"choose one: bigtrain configs {'logger' if group == 'loggers' else group}"
        raise ConfigError(path, "needs a component with a _target_", hint=hint)
    target = value["_target_"]
    trusted.check_name(f"{path}._target_", target)
    try:
        callee = signature.read(target)
    except signature.TargetError as error:
        raise ConfigError(f"{path}._target_", f"{target!r} can't be found: {error}") from error
    supplied = SUPPLIED[group]
    arguments = {}
    for name, item in value.items():
        if name == "_target_":
            continue
        if name in supplied and name in callee.parameters:
            raise ConfigError(f"{path}.{name}", "is filled in by bigtrain and can't be set")
        if name not in callee.parameters and not callee.open:
            raise _unknown_field(path, name, callee, supplied)
        arguments[name] = (
            _converted(f"{path}.{name}", callee.parameters[name], item) if name in callee.parameters else item
        )
    _check_required(path, callee, arguments, supplied)
    return Node(path, callee, arguments)


def _check_required(path: str, callee: signature.Callee, given: Collection[str], supplied: Collection[str]) -> None:
    for name, parameter in callee.parameters.items():
        if parameter.default is signature.REQUIRED and name not in given and name not in supplied:
            raise ConfigError(f"{path}.{name}", "is required", allowed=parameter.kind.text)


def _converted(path: str, parameter: signature.Parameter, value: Any) -> Any:
    if value is None and parameter.default is None:
        return None
    try:
        return parameter.kind.convert(value)
    except kinds.Mismatch as mismatch:
        hint = None
        if isinstance(value, str) and isinstance(parameter.kind, kinds.Exactly):
            close = nearest(value, [str(choice) for choice in parameter.kind.choices])
            hint = f"did you mean {path}={close[0]}?" if close else None
        raise ConfigError(path, f"{value!r} is not allowed", allowed=str(mismatch), hint=hint) from mismatch


def _unknown_field(path: str, name: str, callee: signature.Callee, supplied: Collection[str]) -> ConfigError:
    fields = [known for known in callee.parameters if known not in supplied]
    label = callee.target.rsplit(".", 1)[-1]
    close = nearest(name, fields)
    if close:
        hint = f"did you mean {path}.{close[0]}?"
    else:
        hint = _elsewhere(path, name) or _other_key(name)
    return ConfigError(f"{path}.{name}", f"{label} has no {name!r}", allowed=fields or "(no fields)", hint=hint)


def _elsewhere(path: str, name: str) -> str | None:
    """Another choice of the same group that does take the field."""
    group = {"loggers": "logger"}.get(path.split(".")[0], path.split(".")[0])
    for choice, file in groups.groups(groups.search_dirs()).get(group, {}).items():
        callee = groups.describe(group, choice, file).callee
        if callee and name in callee.parameters:
            return f"{group}={choice} takes it: {group}={choice} {path}.{name}=…"
    return None


def _other_key(name: str) -> str | None:
    close = nearest(name, [key.rsplit(".", 1)[-1] for key in spine_paths()])
    full = [key for key in spine_paths() if close and key.rsplit(".", 1)[-1] == close[0]]
    return f"did you mean {full[0]}?" if full else None


def spine_paths() -> list[str]:
    """Every key of the spine, dotted; components as their roots."""
    paths = []
    for name in signature.read(_SCHEMA + "RunConfig").parameters:
        nested = signature.read(_SCHEMA + NESTED[name]).parameters if name in NESTED else ()
        paths += [f"{name}.{item}" for item in nested] or [name]
    return paths


def known_path(key: str, available: Mapping[str, Mapping[str, Path]]) -> None:
    """Refuses a key that is no group, no spine key and no field of a component."""
    root, _, rest = key.partition(".")
    if root in (*schema.COMPONENTS, "loggers") and rest:
        return
    fields = {item.name for item in dataclasses.fields(schema.RunConfig)}
    if root == "mesh" and rest.startswith("rules.") or key in fields | set(spine_paths()):
        return
    raise unknown_key(key, [*spine_paths(), *available, *_component_paths(available)], "the run")


def _component_paths(available: Mapping[str, Mapping[str, Path]]) -> Iterable[str]:
    for group in schema.COMPONENTS:
        for name, path in available.get(group, {}).items():
            callee = groups.describe(group, name, path).callee
            yield from (f"{group}.{field}" for field in (callee.parameters if callee else ()))


def unknown_key(key: str, paths: Iterable[str], where: str) -> ConfigError:
    """The error for a key that doesn't exist: the nearest spelling, or the same last name somewhere else."""
    paths = list(dict.fromkeys(paths))
    aliases = {"lr": "optimizer.learning_rate", "epochs": "steps", "learning_rate": "optimizer.learning_rate"}
    same = [path for path in paths if path.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    close = nearest(key, paths) or nearest(key, [path.rsplit(".", 1)[-1] for path in paths])
    full = [path for path in paths if close and (path == close[0] or path.rsplit(".", 1)[-1] == close[0])]
    best = aliases.get(key) or (same[0] if same else full[0] if full else None)
    if key == "epochs":
        hint = "write steps=10epochs"
    else:
        hint = f"did you mean {best}=…?" if best else "see every key with: bigtrain configs"
    return ConfigError(key, f"{where} has no such key", hint=hint)
