"""A sweep as Hydra's own multirun: Hydra composes, its sweeper chooses, its launcher runs."""

from __future__ import annotations

import importlib.util
import logging
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigtrain.config import compose, groups
from bigtrain.config.errors import BigtrainError, ConfigError, did_you_mean

EXTRAS = {
    "joblib": "hydra-joblib-launcher", "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher", "ray": "hydra-ray-launcher", "ray_aws": "hydra-ray-launcher",
}  # fmt: skip
"""Launchers that other packages bring, and the package of each."""

OWN = ("isolated", "population")
"""Our own (a test compares them with `bigtrain.sweep.portion`)."""

_FIXED = (
    "hydra/sweeper=bigtrain", "hydra.sweep.subdir=.", "hydra.output_subdir=null", "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)  # fmt: skip


def run(
    overrides: Sequence[str],
    launching: Sequence[str],
    folder: Path,
    sweeper: Mapping[str, Any],
    launchers: Mapping[str, Mapping[str, Any]],
    plugins: Sequence[type],
    task: Callable[[Any], Any],
    config_dir: str | Path | None,
) -> Any:
    """Runs a sweep through Hydra's engine and returns what its sweeper returns.

    Args:
        overrides: what is typed for the runs, swept keys among them.
        launching: `hydra/launcher=…` and `hydra.launcher.KEY=…`.
        folder: the sweep's directory.
        sweeper: the node that Hydra makes the sweeper of.
        launchers: the nodes of our own launchers, by name.
        plugins: the classes that those nodes name.
        task: what a launcher calls for each job.
        config_dir: the user's own configs.
    """
    from hydra.core.plugins import Plugins

    for plugin in plugins:
        Plugins.instance().register(plugin)
    _store(sweeper, launchers)
    where = [compose.quoted("hydra.sweep.dir", str(folder)), *_FIXED]
    typed = compose.prepared(overrides, config_dir)
    with compose.engine(groups.search_dirs(config_dir)) as engine, _quiet():
        try:
            return engine.multirun(
                config_name="run", task_function=task, overrides=[*where, *launching, *typed],
                with_log_configuration=False,
            )  # fmt: skip
        except BigtrainError:
            raise
        except Exception as error:
            raise _told(error) or error from error


def _store(sweeper: Mapping[str, Any], launchers: Mapping[str, Mapping[str, Any]]) -> None:
    """Makes our own nodes known to Hydra."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="bigtrain", node=dict(sweeper), provider="bigtrain")
    for name, node in launchers.items():
        store.store(group="hydra/launcher", name=name, node=dict(node), provider="bigtrain")


def overrides_of_job() -> list[str]:
    """The overrides of the job that Hydra has composed in this process."""
    from hydra.core.hydra_config import HydraConfig

    return [str(text) for text in HydraConfig.get().overrides.task]


def returned(job: Any) -> Any:
    """What a job came back with; an exception where it failed."""
    from hydra.core.utils import JobStatus

    return job.return_value if job.status == JobStatus.COMPLETED else job._return_value


def check_name(launching: Sequence[str]) -> None:
    """Refuses a launcher that no installed package can bring, before any of them is imported; `launching` is typed."""
    found = importlib.util.find_spec("hydra_plugins")
    places = list(found.submodule_search_locations or ()) if found else []
    known = {"bigtrain_sweep", *(name.replace("-", "_") for name in EXTRAS.values())}
    others = {module.name for module in pkgutil.iter_modules(places)} - known
    for text in launching:
        key, _, name = text.partition("=")
        if key == "hydra/launcher" and not others and name not in (*OWN, *EXTRAS):
            raise _unknown(key, name, OWN)


def _unknown(key: str, name: str, known: Iterable[str]) -> ConfigError:
    hint = did_you_mean(name, [*known, *EXTRAS])
    return ConfigError(key, f"there is no launcher {name!r}", allowed=sorted({*known, *EXTRAS}), hint=hint)


def check_launcher(
    overrides: Sequence[str],
    launching: Sequence[str],
    launchers: Mapping[str, Mapping[str, Any]],
    config_dir: str | Path | None,
) -> None:
    """Refuses a launcher that doesn't exist, whose package isn't installed, or that has no such key.

    Args:
        overrides: what is typed for the runs.
        launching: what is typed for the launcher.
        launchers: the nodes of our own launchers.
        config_dir: the user's own configs.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.types import RunMode
    from hydra.utils import instantiate

    _store({"_target_": "none"}, launchers)
    Plugins.instance()  # has registered what installed packages bring
    known = {name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")} - {"basic"}
    for text in launching:
        key, _, name = text.partition("=")
        if key != "hydra/launcher" or name in known:
            continue
        if name in EXTRAS:
            extra = {"submitit_local": "slurm", "submitit_slurm": "slurm", "ray_aws": "ray"}.get(name, name)
            raise ConfigError(key, f"{name!r} is not installed", hint=f"pip install 'bigtrain[{extra}]'")
        raise _unknown(key, name, known)
    typed = compose.prepared(overrides, config_dir)
    with compose.engine(groups.search_dirs(config_dir)) as engine:
        try:
            cfg = engine.compose_config("run", [*_FIXED, *launching, *typed], RunMode.MULTIRUN)
            node = cfg.hydra.launcher
            if node._target_.startswith("hydra_plugins.bigtrain_sweep."):
                instantiate(node)  # checks its values
        except Exception as error:
            raise _told(error) or error from error


def _told(error: Exception) -> ConfigError | None:
    """Hydra's refusal of a launcher or of its keys, in our words where they are ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__
    text = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    if not type(error).__module__.startswith(("hydra", "omegaconf")):
        return None
    found = re.search(r"Key '([^']+)' is not in struct", text[0])
    if found is None:
        return ConfigError("hydra.launcher", text[0])
    hint = "its keys are those of the launcher that hydra/launcher=NAME chooses"
    return ConfigError(f"hydra.launcher.{found[1]}", "there is no such key", hint=hint)


@contextmanager
def _quiet() -> Any:
    """Launchers log what the sweep's own table says better."""
    root, level = logging.getLogger("hydra_plugins"), logging.getLogger("hydra_plugins").level
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(level)
