"""The check of a composed config against what each part takes, before anything heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bigtrain.config import kinds, schema, signature, trust
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError, nearest
from bigtrain.config.suggest import SPINE, spine_paths, unknown_field, unknown_key

SUPPLIED: Mapping[str, frozenset[str]] = {
    "model": frozenset({"spec", "rngs"}),
    "data": frozenset(),
    "task": frozenset({"spec", "objective"}),
    "optimizer": frozenset({"mask", "weight_decay_mask"}),
    "schedule": frozenset({"total_steps"}),
    "loggers": frozenset({"directory", "resumed"}),
    "augment": frozenset({"spec"}),
    "sweep": frozenset({"space", "objectives", "numbers"}),
}
"""Arguments that bigtrain fills in because they are known late; a callee asks for them by name."""

NESTED = schema.NESTED
MOST_STEPS = 2**31 - 1  # steps are counted in int32


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
    augment: dict[str, Node]


def check(values: Mapping[str, Any], trusted: trust.Trust) -> Checked:
    """Checks a composed config; raises `ConfigError` for the first key or value that isn't allowed."""
    spine = signature.read(SPINE + "RunConfig")
    given_spine: dict[str, Any] = {}
    for name, value in values.items():
        if name not in spine.parameters:
            raise unknown_key(str(name), spine_paths(), "the run")
        if name in NESTED:
            given_spine[name] = _nested(name, value)
        elif name not in schema.COMPONENTS and name not in schema.TABLES:
            given_spine[name] = converted(name, spine.parameters[name], value)
    _check_lengths(given_spine)
    nodes = {name: check_node(name, values.get(name), trusted) for name in schema.COMPONENTS}
    tables = {name: _table(name, group, values.get(name), trusted) for name, group in schema.TABLES.items()}
    given = {name: values[name] for name in schema.COMPONENTS} | {name: values.get(name) or {} for name in tables}
    return Checked(schema.RunConfig(**given_spine, **given), nodes, **tables)


def _table(name: str, group: str, value: Any, trusted: trust.Trust) -> dict[str, Node]:
    """The components of a table by name."""
    if not isinstance(value or {}, dict):
        raise ConfigError(name, f"{value!r} is no table", hint=f"choose with {group}=[…]: bigtrain configs {group}")
    return {entry: check_node(f"{name}.{entry}", node, trusted) for entry, node in (value or {}).items()}


def _check_lengths(spine: Mapping[str, Any]) -> None:
    """What a number's type can't say: a run has a length, and what is due every 0 steps would never be due."""
    run_dir = spine.get("run_dir")
    if run_dir is not None and not run_dir.strip():
        raise ConfigError("run_dir", f"{run_dir!r} is not allowed", allowed="a folder, e.g. runs/first")
    lengths = {name: spine[name] for name in ("steps", "eval_every", "log_every") if name in spine}
    if spine.get("stop_at") is not None:
        lengths["stop_at"] = spine["stop_at"]
    if "checkpoint" in spine:
        lengths["checkpoint.every"] = spine["checkpoint"].every
        if spine["checkpoint"].keep_every is not None:
            lengths["checkpoint.keep_every"] = spine["checkpoint"].keep_every
    for path, length in lengths.items():
        if Duration.parse(length).amount == 0:
            raise ConfigError(path, f"{length} is not allowed", allowed="at least 1 step")
    steps = Duration.parse(lengths.get("steps", 1))
    if steps.unit == "percent":
        raise ConfigError("steps", f"{steps} of what?", allowed="steps (2000), '10epochs' or '1_000_000examples'")
    if steps.unit == "steps" and steps.amount > MOST_STEPS:
        raise ConfigError("steps", f"{steps} is not allowed", allowed=f"at most {MOST_STEPS} steps")


def _nested(path: str, value: Any) -> Any:
    callee = signature.read(SPINE + NESTED[path])
    if not isinstance(value, dict):
        hint = f"set its keys, e.g. {path}.{next(iter(callee.parameters))}=…"
        raise ConfigError(path, f"{value!r} is no table", allowed=callee.parameters, hint=hint)
    for name in value:
        if name not in callee.parameters:
            raise unknown_key(f"{path}.{name}", [f"{path}.{known}" for known in callee.parameters], path)
    found = {name: converted(f"{path}.{name}", callee.parameters[name], item) for name, item in value.items()}
    return getattr(schema, NESTED[path])(**found)


def check_node(path: str, value: Any, trusted: trust.Trust, beside: Collection[str] = ()) -> Node:
    """One component: its target may be built, takes every key, and every value is of the right kind.

    Args:
        path: where it is in the config.
        value: its table.
        trusted: whose code may be built.
        beside: keys that have been taken out of the table since they are no component's: an error names them too.
    """
    group = path.split(".")[0]
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        hint = f"choose one: bigtrain configs {schema.TABLES.get(group, group)}"
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
        if not isinstance(name, str) or (name not in callee.parameters and not callee.open):
            raise unknown_field(path, str(name), callee, supplied, beside)
        arguments[name] = (
            converted(f"{path}.{name}", callee.parameters[name], item) if name in callee.parameters else item
        )
    _check_required(path, callee, arguments, supplied)
    rate = arguments.get("learning_rate")
    if group == "optimizer" and isinstance(rate, (int, float)) and rate < 0:
        raise ConfigError(f"{path}.learning_rate", f"{rate!r} is not allowed", allowed="a number at least 0")
    return Node(path, callee, arguments)


def _check_required(path: str, callee: signature.Callee, given: Collection[str], supplied: Collection[str]) -> None:
    for name, parameter in callee.parameters.items():
        if parameter.default is signature.REQUIRED and name not in given and name not in supplied:
            raise ConfigError(f"{path}.{name}", "is required", allowed=parameter.kind.text)


def converted(path: str, parameter: signature.Parameter, value: Any) -> Any:
    """A value as what its parameter takes; the `ConfigError` of another has the nearest one that is allowed."""
    if value is None and parameter.default is None:
        return None
    try:
        return parameter.kind.convert(value)
    except kinds.Mismatch as mismatch:
        hint = _respelled(path, parameter.kind, value)
        shown = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)  # as YAML has it
        raise ConfigError(path, f"{shown} is not allowed", allowed=str(mismatch), hint=hint) from mismatch


def _respelled(path: str, kind: kinds.Kind, value: Any) -> str | None:
    """The nearest allowed value, or the one value as a list where a list is wanted."""
    options = kind.options if isinstance(kind, kinds.Either) else (kind,)
    for option in options:
        if isinstance(value, str) and isinstance(option, kinds.Exactly):
            close = nearest(value, [str(choice) for choice in option.choices])
            if close:
                return f"did you mean {path}={close[0]}?"
        if isinstance(option, kinds.Many) and not isinstance(value, (list, dict)) and option.takes([value]):
            return f"did you mean '{path}=[{value}]'?"
    return None
