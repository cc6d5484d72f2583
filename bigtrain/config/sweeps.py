"""Overrides that give a key several values, `optimizer.learning_rate=1e-3,1e-2`, as Hydra's grammar reads them."""

from __future__ import annotations

import fnmatch
import functools
import json
import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

from bigtrain.config import compose, groups, overrides
from bigtrain.config.errors import ConfigError, did_you_mean

MOST = 100_000
"""Values that one key may be given: a slip in a range is told, not enumerated."""

_FUNCTIONS = ("choice", "range", "interval", "tag", "glob", "shuffle", "sort", "int", "float", "str", "bool")

_FORMS = "a,b · choice(a,b) · range(1,5) · interval(0,1) · tag(log,interval(1e-4,1)) · int(interval(1,8)) · glob(*)"


@dataclass(frozen=True)
class Dimension:
    """The values of one key: a list of choices, or an interval.

    Args:
        key: the dotted path of the key, or a config group.
        choices: the values as they would be typed after `key=`; empty for an interval.
        low: the smallest value of an interval.
        high: its largest.
        log: whether the logarithm is what varies evenly.
        integer: whether an interval holds whole numbers only.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    @property
    def continuous(self) -> bool:
        """Whether this is an interval: a grid can't list it."""
        return not self.choices

    @property
    def values(self) -> Sequence[object]:
        """The choices, or the whole numbers of an interval."""
        return self.choices or range(round(self.low), round(self.high) + 1)

    def text(self, value: float) -> str:
        """A number of the interval as it would be typed: read back, it is the very same number."""
        return str(round(value)) if self.integer else repr(float(value))

    def clipped(self, value: float) -> str:
        """The number of the interval that is nearest to `value`, as it would be typed."""
        return self.text(min(max(value, self.low), self.high))

    def held(self, text: str) -> str | None:
        """The value of this dimension that `text` means, as it is typed here; None where there is none."""
        if self.choices:
            same = (choice for choice in self.choices if meaning(choice) == meaning(text))
            return text if text in self.choices else next(same, None)
        number = _number(text)
        return text if number is not None and self.low <= number <= self.high else None


@functools.lru_cache(1 << 16)  # Hydra's grammar takes a millisecond
def meaning(text: str) -> str:
    """What is equal for texts that mean the same value: 1 and 1.0, relu and 'relu', [1,2] and [1, 2]."""
    number = _number(text)
    if number is not None:
        return json.dumps(_plain(int(text) if re.fullmatch(r"[+-]?\d+", text) else number))
    if re.fullmatch(r"[A-Za-z]\w*", text) and text.lower() not in ("true", "false", "null", "inf", "nan"):
        return json.dumps(text)
    parsed = compose.parse(f"x={text}")
    return text if parsed is None or parsed.several else json.dumps(_plain(parsed.value), sort_keys=True, default=str)


def _number(text: str) -> float | None:
    """A number in the usual form; None for other text."""
    return float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", text) and len(text) < 40 else None


def _plain(value: Any) -> Any:
    """A value whose numbers are equal to the fifteenth digit if they are written differently."""
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.15g}")  # ranges were summed up once: 0.1 + 0.1 + 0.1 is not quite 0.3
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def swept(text: str, config_dir: str | Path | None = None) -> Dimension | None:
    """The values of a swept override; None for an override with one value.

    Raises:
        ConfigError: for values that can't be read, or of which there are none.
    """
    from hydra.core.override_parser import types
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, typed = text.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError) as error:
        raise _unreadable(text, str(error), config_dir) from error
    if not parsed.is_sweep_override():
        return None
    key = parsed.key_or_group
    if parsed.is_delete() or parsed.package is not None:
        raise ConfigError(key, f"{text!r} can't be swept", allowed=f"{key}=VALUE,VALUE")
    value: Any = parsed._value
    tags = sorted(getattr(value, "tags", ()))
    if unknown := [tag for tag in tags if tag != "log"]:
        raise ConfigError(key, f"the tag {unknown[0]!r} says nothing here", allowed="tag(log,interval(LOW,HIGH))")
    if isinstance(value, types.IntervalSweep):
        return _interval(key, typed, value.start, value.end, log=bool(tags))
    if tags:
        raise ConfigError(key, f"{typed!r}: only an interval can be log", allowed="tag(log,interval(LOW,HIGH))")
    if isinstance(value, types.Glob):
        return Dimension(key, _globbed(key, typed, value.include, value.exclude, config_dir))
    found = list(islice(_elements(key, typed, value), MOST + 1))
    if getattr(value, "shuffle", False):
        random.Random(typed).shuffle(found)  # the same order each time: a sweep that goes on asks again
    return Dimension(key, _choices(key, typed, [_text(key, typed, item) for item in found]))


def _interval(key: str, typed: str, low: Any, high: Any, *, log: bool) -> Dimension:
    integer = isinstance(low, int) and isinstance(high, int)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(key, f"{typed!r} has no end", allowed="interval(LOW,HIGH) with finite numbers")
    if low >= high:
        hint = f"did you mean interval({high:g},{low:g})?" if low > high else f"one value is {key}={low:g}"
        raise ConfigError(key, f"{typed!r} is empty", allowed="interval(LOW,HIGH) with LOW below HIGH", hint=hint)
    if log and low <= 0:
        hint = "a log interval starts above 0: tag(log,interval(1e-5,…))"
        raise ConfigError(key, f"{typed!r}: there is no logarithm of {low:g}", allowed="LOW above 0", hint=hint)
    return Dimension(key, low=float(low), high=float(high), log=log, integer=integer)


def _elements(key: str, typed: str, value: Any) -> Iterable[Any]:
    """The values of a list or a range, one after another."""
    if hasattr(value, "list"):
        return iter(value.list)
    numbers = [value.start, value.stop, value.step]
    if not all(math.isfinite(number) for number in numbers) or value.step == 0:
        raise ConfigError(key, f"{typed!r} never ends", allowed="range(START,STOP,STEP), STEP other than 0")
    if all(isinstance(number, int) for number in numbers):
        return iter(value.range())
    start, stop, step = (Decimal(repr(number)) for number in numbers)  # summed as they are written: 0.3, and no 0.4
    terms = (start + place * step for place in count())
    return map(float, takewhile(lambda term: term < stop if step > 0 else term > stop, terms))


def typed_as(key: str, value: Any) -> str:
    """`key=value` as it would be typed for a value of a YAML file; text is taken as typed already: `1e-3,1e-2`."""
    return f"{key}={value if isinstance(value, str) else _text(key, str(value), value)}"


def _text(key: str, typed: str, value: Any) -> str:
    """One value as it would be typed: quotes are kept, and commas in text are escaped."""
    from hydra.core.override_parser.types import Override, QuotedString, Sweep

    if isinstance(value, Sweep):
        raise ConfigError(key, f"{typed!r} mixes lists and intervals", allowed="a list of values, or one interval")
    if isinstance(value, bool):
        return str(value).lower()  # as YAML has it
    if isinstance(value, str) and not isinstance(value, QuotedString) and "${" in value:
        return value  # an interpolation: escaped, it would be text
    return str(Override._get_value_element_as_str(value))


def _choices(key: str, typed: str, texts: Sequence[str]) -> tuple[str, ...]:
    if not texts:
        hint = "range(START,STOP) ends before STOP; downwards is range(5,1,-1)" if "range(" in typed else None
        raise ConfigError(key, f"{typed!r} holds no value", allowed=_FORMS, hint=hint)
    if len(texts) > MOST:
        hint = f"an interval has no list: {key}='interval(LOW,HIGH)'"
        raise ConfigError(key, f"{typed!r} is more than {MOST:,} values", hint=hint)
    first: dict[str, str] = {}
    for text in texts:
        if (other := first.get(meaning(text))) is not None:
            twice = f"{text} twice" if other == text else f"the same value twice: {other} and {text}"
            hint = "leave one out: the same run twice tells nothing"
            raise ConfigError(key, f"{typed!r} has {twice}", hint=hint)
        first[meaning(text)] = text
    return tuple(texts)


def _globbed(
    key: str, typed: str, include: Sequence[str], exclude: Sequence[str], config_dir: str | Path | None
) -> tuple[str, ...]:
    """The choices of a config group whose names match."""
    available = groups.groups(groups.search_dirs(config_dir))
    if key not in available:
        hint = "the values of a key are listed: a,b"
        raise ConfigError(key, f"{typed!r}: glob chooses of a config group", allowed=available, hint=hint)

    def matches(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    found = tuple(name for name in available[key] if matches(name, include) and not matches(name, exclude))
    if not found:
        raise ConfigError(key, f"no {key} matches {typed!r}", allowed=available[key])
    return found


def _unreadable(text: str, problem: str, config_dir: str | Path | None) -> ConfigError:
    key, _, typed = text.partition("=")
    key = key.strip("+~")
    called = re.match(r"(\w+)\(", typed)
    if called is None or not key:
        return overrides.unreadable(text, {"experiment": {}, **groups.groups(groups.search_dirs(config_dir))})
    if called[1] not in _FUNCTIONS:
        hint = did_you_mean(called[1], _FUNCTIONS)
        return ConfigError(key, f"there is no {called[1]}(…)", allowed=_FUNCTIONS, hint=hint)
    if "empty choice" in problem:
        return ConfigError(key, f"{typed!r} holds no value", allowed="choice(VALUE,VALUE)")
    return ConfigError(key, f"{typed!r} can't be read", allowed=_FORMS)
