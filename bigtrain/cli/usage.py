"""A command line that can't be understood, answered in the form that every other mistake is answered in."""

from __future__ import annotations

import re
from typing import Any

from bigtrain.config.errors import ConfigError, InputError, nearest

_ALIASES = {
    "train": "fit", "run": "fit", "learn": "fit", "eval": "evaluate", "test": "evaluate", "score": "evaluate",
    "infer": "predict", "apply": "predict", "generate": "sample", "draw": "sample", "config": "configs",
    "list": "configs", "help": "--help", "compare": "runs compare", "best": "runs best",
    "estimate": "plan", "cost": "plan", "memory": "plan",
}  # fmt: skip
"""What other programs call a verb."""


def explained(error: Any) -> InputError:
    """Typer's usage error as one block: what is wrong, what is allowed, and what was probably meant.

    Args:
        error: a `UsageError`; Typer brings its own copy of Click, so the class has no public name.
    """
    command = error.ctx.command_path if error.ctx else "bigtrain"
    text = error.format_message().rstrip(".")
    lower = text[:1].lower() + text[1:]
    name, param = getattr(error, "option_name", None), getattr(error, "param", None)
    if (found := re.match(r"No such command '(.*?)'", text)) is not None:
        return _no_such_verb(found[1], list(error.ctx.command.commands), command)
    if name and error.ctx and text.startswith("No such option"):
        options = [option for item in error.ctx.command.params for option in item.opts if option.startswith("--")]
        return ConfigError(name, f"{command} has no such option", allowed=options, hint=_meant(name, options, command))
    if name:  # an option without its value, or a switch with one
        return ConfigError(name, lower.removeprefix(f"option {name!r} "), hint=_see(command))
    if param is not None and error.message and text.startswith("Invalid"):
        label = next((option for option in param.opts if option.startswith("--")), param.opts[0])
        return ConfigError(label, error.message[:1].lower() + error.message[1:].rstrip("."), hint=_see(command))
    return ConfigError("", f"{command}: {lower}", hint=_see(command))


def _no_such_verb(verb: str, verbs: list[str], command: str = "bigtrain") -> ConfigError:
    if command != "bigtrain":  # a group of verbs
        near = nearest(verb, verbs)
        hint = f"did you mean {command} {near[0]}?" if near else _see(command)
        return ConfigError("", f"there is no command {verb!r} in {command}", allowed=verbs, hint=hint)
    close = [_ALIASES[verb]] if verb in _ALIASES else nearest(verb, [*verbs, *_ALIASES], cutoff=0.5)
    meant = _ALIASES.get(close[0], close[0]) if close else None
    if "=" in verb:
        meant = f"fit {verb}"
    hint = f"did you mean bigtrain {meant}?" if meant else _see("bigtrain")
    return ConfigError("", f"there is no command {verb!r}", allowed=verbs, hint=hint)


def _meant(name: str, options: list[str], command: str) -> str:
    """The nearest option, or the config key that was typed as one."""
    from bigtrain.config.suggest import meant_key

    plain, takes_keys = name.lstrip("-").replace("-", "_"), command.endswith(" fit")
    close = nearest(name, options)
    key = meant_key(plain, spelled_near=not close) if takes_keys else None
    if key:
        return f"config values have no dashes: {key}=…"
    return f"did you mean {close[0]}?" if close else _see(command)


def _see(command: str) -> str:
    return f"see: {command} --help"
