"""From overrides to a composed config: the one module that knows Hydra.

Hydra composes; it is driven through the engine that `GlobalHydra` holds, so that return values and exceptions come
back to us and a mistake is answered in bigtrain's words. Overrides of a component's fields are passed on as `++`, since
Hydra refuses a key that the YAML doesn't list; whether the callee takes it is judged by its signature (`check.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import check, groups, schema
from bigtrain.config.errors import ConfigError, did_you_mean

_GROUP_OF_KEY = {"loggers": "logger"}
_LEAF_ROOTS = (*schema.COMPONENTS, "loggers")


@dataclass(frozen=True)
class Composed:
    """A composed config: resolved for use, and as written (interpolations of the environment unresolved) for the disk."""

    resolved: dict[str, Any]
    written: dict[str, Any]
    choices: dict[str, Any]
    overrides: tuple[str, ...]


def compose(overrides: Sequence[str], config_dir: str | Path | None = None) -> Composed:
    """Composes `run.yaml` with overrides; raises `ConfigError` for anything that isn't allowed."""
    dirs = groups.search_dirs(config_dir)
    prepared = [_prepared(text, dirs) for text in overrides]
    with _engine(dirs) as engine:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode
        from omegaconf import OmegaConf, open_dict
        from omegaconf.errors import OmegaConfBaseException

        try:
            cfg = engine.compose_config(config_name="run", overrides=prepared, run_mode=RunMode.RUN)
        except Exception as error:
            raise _translated(error, dirs) from error
        HydraConfig.instance().set_config(cfg)
        choices = {key: value for key, value in dict(cfg.hydra.runtime.choices).items() if not key.startswith("hydra/")}
        with open_dict(cfg):
            del cfg["hydra"]
        try:
            cfg.run_dir = str(cfg.run_dir)  # `${now:…}` is a fact of this start, not to be worked out again
            written = OmegaConf.to_container(cfg, resolve=False)
            resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise _translated(error, dirs) from error
    assert isinstance(resolved, dict) and isinstance(written, dict)
    resolved.pop("experiment", None)
    written.pop("experiment", None)
    return Composed(resolved, written, choices, tuple(overrides))  # type: ignore[arg-type]


def to_yaml(values: Mapping[str, Any]) -> str:
    """A composed config as YAML text."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


@contextmanager
def _engine(dirs: Sequence[Path]) -> Iterator[Any]:
    """Hydra's engine over the shipped configs, with the user's folder in front of them."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    ConfigStore.instance().store("spine", schema.defaults())
    *users, builtin = dirs
    with hydra.initialize_config_dir(config_dir=str(builtin), job_name="bigtrain", version_base="1.3"):
        engine = GlobalHydra.instance().hydra
        path = engine.config_loader.get_search_path()
        for folder in reversed(users):
            path.prepend(provider="--config-dir", path=f"file://{folder}")
        engine.config_loader = type(engine.config_loader)(path)
        yield engine


def _prepared(text: str, dirs: Sequence[Path]) -> str:
    """One override, checked for its key and its group choice, in the form that Hydra takes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        hint = "an override is key=value, e.g. steps=500 model=vae 'model.widths=[64,64]'"
        raise ConfigError("", f"can't read the override {text!r}: {reason}", hint=hint) from error
    key = override.key_or_group
    if override.is_sweep_override():
        hint = f"for a list, write '{key}=[…]'"
        raise ConfigError(key, f"{text.split('=', 1)[1]!r} is several values; a run takes one", hint=hint)
    if key.split(".")[0] == "hydra":
        if key != "hydra.searchpath":
            raise ConfigError(key, "bigtrain has its own run directories and logs", hint="see run_dir and logger")
        return text
    available = groups.groups(dirs)
    if key in available:
        _check_choice(key, override.value(), available[key])
        return text
    check.known_path(key, available)
    deletes = override.is_delete()
    return text if deletes or key.split(".")[0] not in _LEAF_ROOTS or text.startswith("+") else f"++{text}"


def _check_choice(group: str, value: Any, choices: Mapping[str, Path]) -> None:
    for name in value if isinstance(value, list) else [value]:
        if name is not None and str(name) not in choices:
            hint = did_you_mean(str(name), choices) or f"see them with: bigtrain configs {group}"
            raise ConfigError(group, f"there is no {group} {str(name)!r}", allowed=choices, hint=hint)


def _translated(error: Exception, dirs: Sequence[Path]) -> ConfigError:
    """Hydra's or OmegaConf's exception as one message in bigtrain's form."""
    cause = error.__cause__ or error
    text = str(cause)
    path = re.search(r"full_key: (\S+)", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(cause).__name__
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing and "/" in missing[1]:
        group, _, name = missing[1].partition("/")
        choices = groups.groups(dirs).get(group, {})
        return ConfigError(group, f"there is no {group} {name!r}", allowed=choices, hint=did_you_mean(name, choices))
    return ConfigError(path[1] if path else "", first)
