"""What a person probably meant by a key that doesn't exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from bigtrain.config import groups, schema, signature
from bigtrain.config.errors import ConfigError, nearest

Available = Mapping[str, Mapping[str, Path]]
"""The config groups: group -> choice -> file."""

SPINE = "bigtrain.config.schema."
_ALIASES = {
    "lr": "optimizer.learning_rate", "learning_rate": "optimizer.learning_rate", "epoch": "steps", "epochs": "steps",
    "num_epochs": "steps", "max_steps": "steps", "num_steps": "steps", "iterations": "steps", "gpus": "mesh.data",
    "devices": "mesh.data", "dtype": "precision", "output": "run_dir", "output_dir": "run_dir", "out_dir": "run_dir",
    "workers": "placement", "warmup": "schedule.warmup",
}  # fmt: skip
"""What other programs call a key, where the spelling alone doesn't lead to ours."""


def spine_paths() -> list[str]:
    """Every key of the spine, dotted; components as their roots."""
    paths = []
    for name in signature.read(SPINE + "RunConfig").parameters:
        nested = signature.read(SPINE + schema.NESTED[name]).parameters if name in schema.NESTED else ()
        paths += [f"{name}.{item}" for item in nested] or [name]
    return paths


def meant_key(name: str, *, spelled_near: bool = False) -> str | None:
    """The key of the spine that has this name, here or in other programs, or is spelled like it."""
    paths = spine_paths()
    exact = name if name in paths else _ALIASES.get(name)
    return exact or (next(iter(nearest(name, paths)), None) if spelled_near else None)


def known_path(key: str, available: Available, value: str = "…") -> None:
    """Refuses a key that is no group, no spine key and no field of a component."""
    root, _, rest = key.partition(".")
    if root in (*schema.COMPONENTS, *schema.TABLES) and rest:
        return
    fields = {item.name for item in dataclasses.fields(schema.RunConfig)}
    if key.startswith("mesh.rules.") or key in fields | set(spine_paths()):
        return
    raise unknown_key(key, [*spine_paths(), *available, *_component_paths(available)], "the run", value)


def unknown_key(key: str, paths: Iterable[str], where: str, value: str = "…") -> ConfigError:
    """The error for a key that doesn't exist: the nearest spelling, or the same last name somewhere else."""
    paths = list(dict.fromkeys(paths))
    same = [path for path in paths if path.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    close = nearest(key, paths) or nearest(key, [path.rsplit(".", 1)[-1] for path in paths])
    full = [path for path in paths if close and (path == close[0] or path.rsplit(".", 1)[-1] == close[0])]
    if key == "hardware":
        return ConfigError(key, "is what a plan is made for", hint=f"bigtrain plan hardware={value} …")
    best = _ALIASES.get(key) or (same[0] if same else full[0] if full else None)
    if best == "steps" and "epoch" in key:
        value = f"{'10' if value == '…' else value}epochs"
    hint = f"did you mean {best}={value}?" if best else "see every key with: bigtrain configs run"
    return ConfigError(key, f"{where} has no such key", hint=hint)


def unknown_field(
    path: str, name: str, callee: signature.Callee, supplied: Collection[str], beside: Collection[str] = ()
) -> ConfigError:
    """The error for a field that a component doesn't take: the nearest that it does, or a choice that takes it.

    Args:
        path: where the component is in the config.
        name: the field.
        callee: the component.
        supplied: parameters of it that bigtrain fills in.
        beside: keys at the same path that hold whichever component is chosen.
    """
    fields = [known for known in callee.parameters if known not in supplied]
    label = callee.target.rsplit(".", 1)[-1]
    alias = _ALIASES.get(name, "").removeprefix(f"{path}.")
    close = [alias] if alias in fields else nearest(name, [*fields, *beside])
    if close:
        hint = f"did you mean {path}.{close[0]}?"
    else:
        hint = _elsewhere(path, name) or (None if beside else _other_key(name)) or _see(path, callee)
    return ConfigError(
        f"{path}.{name}", f"{label} has no {name!r}", allowed=[*fields, *beside] or "(no fields)", hint=hint
    )


def _component_paths(available: Available) -> Iterable[str]:
    for group in schema.COMPONENTS:
        for _, callee in groups.callees(group, available.get(group, {})):
            yield from (f"{group}.{field}" for field in callee.parameters)


def _elsewhere(path: str, name: str) -> str | None:
    """Another choice of the same group that does take the field."""
    group = _group(path)
    for choice, callee in groups.callees(group, groups.groups(groups.search_dirs()).get(group, {})):
        if name in callee.parameters:
            return f"{group}={choice} takes it: {group}={choice} {path}.{name}=…"
    return None


def _group(path: str) -> str:
    """The config group that the component at a path is chosen from."""
    return schema.TABLES.get(path.split(".")[0], path)


def _other_key(name: str) -> str | None:
    close = nearest(name, [key.rsplit(".", 1)[-1] for key in spine_paths()])
    full = [key for key in spine_paths() if close and key.rsplit(".", 1)[-1] == close[0]]
    return f"did you mean {full[0]}?" if full else None


def _see(path: str, callee: signature.Callee) -> str | None:
    """The command that lists what the component takes, where it is one of the choices."""
    group = _group(path)
    for choice, known in groups.callees(group, groups.groups(groups.search_dirs()).get(group, {})):
        if known.target == callee.target:
            return f"see what it takes with: bigtrain configs {group} {choice}"
    return None
