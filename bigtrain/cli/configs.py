"""`bigtrain configs`: what can be configured, read from the files and signatures themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bigtrain.config import check, groups, signature
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.schema import TABLES

SPINE = "run"


def run(group: str, name: str, *, as_json: bool, config_dir: Path | None) -> None:
    """Prints all groups, one group, or one choice with its fields."""
    dirs = groups.search_dirs(config_dir)
    available = groups.groups(dirs)
    if group == SPINE:
        _show_fields(SPINE, "the run as a whole", _spine_rows(), as_json=as_json)
        return
    if group and group not in available:
        raise ConfigError(
            "", f"there is no group {group!r}", allowed=[*available, SPINE], hint=did_you_mean(group, available)
        )
    if name and name not in available[group]:
        choices = available[group]
        raise ConfigError(group, f"there is no {group} {name!r}", allowed=choices, hint=did_you_mean(name, choices))
    if name:
        choice = groups.describe(group, name, available[group][name])
        rows = _node_rows(choice) if choice.callee else _table_rows(choice)
        _show_fields(f"{group}={name}", choice.summary, rows, as_json=as_json)
    else:
        _show_groups({group: available[group]} if group else available, as_json=as_json)


def _show_groups(shown: dict[str, dict[str, Path]], *, as_json: bool) -> None:
    found = {
        group: {name: groups.describe(group, name, path).summary for name, path in choices.items()}
        for group, choices in shown.items()
    }
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("group", "choice", "what it is"):
        table.add_column(title, no_wrap=title != "what it is")
    for group, choices in found.items():
        for index, (name, summary) in enumerate(choices.items()):
            table.add_row(group if index == 0 else "", name, summary)
    console = Console(highlight=False)
    console.print(table)
    first = next(iter(shown))
    example = f"bigtrain configs {first} {next(iter(shown[first]))}"
    console.print(f"\nFields of a choice: {example} · of the run: bigtrain configs {SPINE}")


def _show_fields(title: str, summary: str, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"name": title, "summary": summary, "fields": rows}) + "\n")
        return
    console = Console(highlight=False)
    console.print(f"[bold]{title}[/]  {summary}\n", soft_wrap=True)
    for row in rows:
        default = "required" if row["required"] else f"default {json.dumps(row['default'])}"
        console.print(f"[cyan]{row['key']}[/]  {row['type']}; {default}", soft_wrap=True, markup=True)
        if row["doc"]:
            console.print(f"    {row['doc']}", soft_wrap=True, markup=False)


def _row(key: str, parameter: signature.Parameter, default: Any) -> dict[str, Any]:
    required = default is signature.REQUIRED
    return {
        "key": key,
        "type": parameter.kind.text,
        "default": None if required else default,
        "required": required,
        "doc": parameter.doc,
    }


def _node_rows(choice: groups.Choice) -> list[dict[str, Any]]:
    assert choice.callee is not None
    table = next((name for name, group in TABLES.items() if group == choice.group), None)
    root = f"{table}.{choice.name}" if table else choice.group
    supplied = check.SUPPLIED.get(root.split(".")[0], frozenset())
    rows = [
        _row(f"{root}.{name}", parameter, choice.values.get(name, parameter.default))
        for name, parameter in choice.callee.parameters.items()
        if name not in supplied
    ]
    return [*rows, *_every_sweep(choice)] if choice.group == "sweep" else rows


def _every_sweep(choice: groups.Choice) -> list[dict[str, Any]]:
    """What holds for every sweep, whichever its search."""
    from bigtrain.config.sweep_schema import SweepConfig

    known, plain = signature.read("bigtrain.config.sweep_schema.SweepConfig").parameters, SweepConfig()
    return [
        _row(f"sweep.{name}", parameter, choice.values.get(name, getattr(plain, name)))
        for name, parameter in known.items()
    ]


def _table_rows(choice: groups.Choice) -> list[dict[str, Any]]:
    """The values that a table (mesh) or a recipe (experiment) sets."""
    fields = {row["key"]: row for row in _spine_rows()}
    rows = []
    for name, value in choice.values.items():
        if name == "defaults":
            continue
        key = f"{choice.group}.{name}" if f"{choice.group}.{name}" in fields else name
        known = fields.get(key, {"key": key, "type": "set by this file", "doc": "", "required": False})
        rows.append({**known, "default": value})
    return rows


def _spine_rows() -> list[dict[str, Any]]:
    rows = []
    spine = signature.read("bigtrain.config.schema.RunConfig")
    from bigtrain.config.schema import defaults

    plain = defaults()
    for name, parameter in spine.parameters.items():
        if name in check.NESTED:
            nested = signature.read(f"bigtrain.config.schema.{check.NESTED[name]}")
            rows += [_row(f"{name}.{key}", item, plain[name][key]) for key, item in nested.parameters.items()]
        elif name in plain:
            rows.append(_row(name, parameter, plain[name]))
    return rows
