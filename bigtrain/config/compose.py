"""From overrides to a composed config: the one module that drives Hydra (`sweeps.py` reads its grammar alone).

Hydra composes; it is driven through the engine that `GlobalHydra` holds, so that return values and exceptions come
back to us and a mistake is answered in bigtrain's words.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.config import groups, overrides, schema, secrets, suggest
from bigtrain.config.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Composed:
    """A composed config: resolved for use, and as written (interpolations unresolved) for the disk."""

    resolved: dict[str, Any]
    written: dict[str, Any]
    choices: dict[str, Any]
    overrides: tuple[str, ...]


def compose(typed: Sequence[str], config_dir: str | Path | None = None) -> Composed:
    """Composes `run.yaml` with overrides; raises `ConfigError` for anything that isn't allowed."""
    dirs = groups.search_dirs(config_dir)
    with engine(dirs) as hydra_engine:
        cfg, choices = _unresolved(hydra_engine, typed, dirs)
        return _finished(cfg, choices, typed, dirs)


def compose_each(
    shared: Sequence[str], own: Sequence[Sequence[str]], config_dir: str | Path | None = None
) -> Iterator[Composed]:
    """Composes one config for each of `own`, on top of what they share; each is what `compose` makes of both together.

    Where only values differ, Hydra composes once and the values are set as it would set them: 5 ms instead of 90.
    """
    dirs = groups.search_dirs(config_dir)
    available = {"experiment": {}, **groups.groups(dirs)}
    with engine(dirs) as hydra_engine:
        base = None
        for texts in own:
            given = [parse(text) for text in texts]
            plain = all(item is not None and item.key not in available and not item.deletes for item in given)
            if not plain or any("${" in text for text in texts):
                cfg, choices = _unresolved(hydra_engine, [*shared, *texts], dirs)
            else:
                base = base or _unresolved(hydra_engine, shared, dirs)
                prepared = [overrides.accepted(item, available) for item in given if item is not None]
                cfg, choices = _with_values(base[0], prepared, dirs), base[1]
            yield _finished(cfg, choices, [*shared, *texts], dirs, available)


def _unresolved(engine: Any, typed: Sequence[str], dirs: Sequence[Path]) -> tuple[Any, dict[str, Any]]:
    """The config as Hydra composes it, and the choices of its groups."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import open_dict

    for text in typed:
        if overrides.key_of(text) != "run_dir":  # the name of a folder can't be hidden
            secrets.remember(text)
    overriding = [_prepared(text, dirs) for text in typed]
    try:
        cfg = engine.compose_config(config_name="run", overrides=overriding, run_mode=RunMode.RUN)
    except Exception as error:
        raise _translated(error, dirs) from error
    HydraConfig.instance().set_config(cfg)
    choices = {key: value for key, value in dict(cfg.hydra.runtime.choices).items() if not key.startswith("hydra/")}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def _with_values(base: Any, overriding: Sequence[str], dirs: Sequence[Path]) -> Any:
    """A composed config with some values set, in the way that Hydra sets them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    cfg = copy.deepcopy(base)
    for override in OverridesParser.create().parse_overrides(list(overriding)):
        try:
            forced = override.is_force_add()
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=forced)
        except OmegaConfBaseException as error:
            raise _translated(error, dirs) from error
    return cfg


def _finished(
    cfg: Any,
    choices: dict[str, Any],
    typed: Sequence[str],
    dirs: Sequence[Path],
    available: Mapping[str, Mapping[str, Path]] | None = None,
) -> Composed:
    """A composed config with its run directory named, as written and resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        if isinstance(cfg.run_dir, (str, int, float)):
            named = any(overrides.key_of(text) == "run_dir" for text in typed)
            # as text: `${now:…}` is a fact of this start, not to be worked out again
            cfg.run_dir = str(cfg.run_dir) if named else _one_folder(str(cfg.run_dir), choices.values())
        written: Any = OmegaConf.to_container(cfg, resolve=False)
        secrets.remember(str({**written, "run_dir": None}))
        resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError) as error:
        raise _translated(error, dirs) from error
    _check_files(choices, groups.groups(dirs) if available is None else available)
    for values in (resolved, written):
        values.pop("experiment", None)
    return Composed(resolved, written, choices, tuple(typed))


def _one_folder(run_dir: str, choices: Iterable[Any]) -> str:
    """The run directory without the slashes of choices: cnn/lenet5 is no folder in a folder."""
    for name in choices:
        if isinstance(name, str) and "/" in name:
            run_dir = run_dir.replace(name, name.replace("/", "-"))
    return run_dir


def to_yaml(values: Mapping[str, Any]) -> str:
    """A composed config as YAML text, just as OmegaConf writes it."""
    import yaml

    how: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    own, fast = _dumpers()
    found: str = yaml.dump(dict(values), Dumper=fast, **how)
    if r"\U" in found:  # characters that the writer in C escapes
        found = yaml.dump(dict(values), Dumper=own, **how)
    return found


@functools.cache
def _dumpers() -> tuple[Any, Any]:
    """OmegaConf's writer of YAML, and the same in C, where there is one: 0.6 ms for a config instead of 2."""
    import yaml
    from omegaconf._utils import get_omega_conf_dumper

    own: Any = get_omega_conf_dumper()
    plain = {"ignore_aliases": lambda self, data: True, "yaml_representers": own.yaml_representers}
    return type("_Plain", (own,), plain), type("_InC", (getattr(yaml, "CDumper", own),), plain)


@contextmanager
def engine(dirs: Sequence[Path]) -> Iterator[Any]:
    """Hydra's engine over the shipped configs, with the user's folder in front of them.

    There is one at a time; in the middle of a sweep, the sweep's own is set aside while a run is composed.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    outer, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    ConfigStore.instance().store("spine", schema.defaults())
    *users, builtin = dirs
    try:
        with hydra.initialize_config_dir(config_dir=str(builtin), job_name="bigtrain", version_base="1.3"):
            found: Any = GlobalHydra.instance().hydra
            path = found.config_loader.get_search_path()
            for folder in reversed(users):
                path.prepend(provider="--config-dir", path=f"file://{folder}")
            found.config_loader = type(found.config_loader)(path)
            yield found
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, config


def parse(text: str) -> overrides.Override | None:
    """One override as Hydra reads it; None when it can't."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        found = OverridesParser.create().parse_override(text)
        several = found.is_sweep_override()
        value = None if several else found.value()
    except (HydraException, ValueError, RecursionError):  # a number of 5,000 digits; a hundred brackets
        return None
    return overrides.Override(text, found.key_or_group, value, found.package, found.is_delete(), several)


def quoted(key: str, value: str) -> str:
    """The override that sets a key to just this text, quoted if Hydra would read it otherwise."""
    from hydra.core.override_parser.types import Quote, QuotedString

    plain = parse(f"{key}={value}")
    if plain is not None and not plain.several and plain.value == value and not value.endswith("\\"):
        return plain.text  # a backslash at its end would take the comma that may follow for text
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def prepared(typed: Sequence[str], config_dir: str | Path | None = None) -> list[str]:
    """Overrides, checked, in the form that Hydra takes."""
    dirs = groups.search_dirs(config_dir)
    return [_prepared(text, dirs) for text in typed]


def _prepared(text: str, dirs: Sequence[Path]) -> str:
    """One override, checked, in the form that Hydra takes."""
    available = {"experiment": {}, **groups.groups(dirs)}
    given = parse(text)
    if given is None:
        raise overrides.unreadable(text, available)
    return overrides.accepted(given, available)


def _check_files(choices: Mapping[str, Any], available: Mapping[str, Mapping[str, Path]]) -> None:
    """Refuses a chosen file that holds no table: Hydra passes over a list without a word."""
    for group, chosen in choices.items():
        for name in chosen if isinstance(chosen, list) else [chosen]:
            if name in available.get(group, {}):
                groups.describe(group, str(name), available[group][name])


def _translated(error: Exception, dirs: Sequence[Path]) -> ConfigError:
    """Hydra's or OmegaConf's exception as one message in bigtrain's form."""
    cause = error.__cause__ or error
    text = str(cause)
    if not type(cause).__module__.startswith(("hydra", "omegaconf")):  # of YAML, or of an encoding
        mark = getattr(cause, "problem_mark", None)
        named = [Path(mark.name)] if mark else [path for folder in dirs[:-1] for path in sorted(folder.rglob("*.yaml"))]
        for path in named:
            if path.is_file():
                groups.describe("", path.stem, path)
    found = re.search(r"full_key: (\S+)", text)
    key = found[1] if found else ""
    return _known_failure(key, text, dirs) or ConfigError(key, (text.strip().splitlines() or [type(cause).__name__])[0])


def _known_failure(key: str, text: str, dirs: Sequence[Path]) -> ConfigError | None:
    """The failures that a config file can cause, by the words that Hydra and OmegaConf have for them."""
    available = groups.groups(dirs)
    if (found := re.search(r"Could not find '([^'/]+)/([^']+)'", text)) is not None:
        group, name = found.groups()
        choices = available.get(group, {})
        return ConfigError(group, f"there is no {group} {name!r}", allowed=choices, hint=did_you_mean(name, choices))
    if (found := re.search(r"In '([^']+)': Could not override '([^']+)'", text)) is not None:
        problem = f"overrides the group {found[2]!r}, which doesn't exist"
        return ConfigError(found[1], problem, allowed=available, hint=did_you_mean(found[2], available))
    if (found := re.search(r"Environment variable '([^']+)' not found", text)) is not None:
        hint = f"export {found[1]}=…, or give a default: ${{oc.env:{found[1]},…}}"
        return ConfigError(key, f"the environment variable {found[1]} is not set", hint=hint)
    if "Recursive interpolation" in text or "maximum recursion" in text:
        return ConfigError(key, "an interpolation ${…} refers to itself", hint="write the value out")
    if (found := re.search(r"Unsupported interpolation type (\w+)", text)) is not None:
        return ConfigError(key, f"${{{found[1]}:…}} is unknown", allowed="${KEY} and ${oc.env:NAME}")
    if (found := re.search(r"Interpolation key '([^']+)' not found", text)) is not None:
        hint = did_you_mean(found[1], suggest.spine_paths())
        return ConfigError(key, f"${{{found[1]}}} refers to a key that doesn't exist", hint=hint)
    if re.search(r"is not in struct|not in '\w+'", text):
        return suggest.unknown_key(key, suggest.spine_paths(), "the run")
    if "Missing mandatory value" in text:
        return ConfigError(key, "has no value: the config file leaves it to you (???)", hint=f"give one: {key}=…")
    return None
