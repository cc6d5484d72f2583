"""Which values a field takes: read from an annotation's syntax tree, so a check imports nothing."""

from __future__ import annotations

import ast
import sys
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bigtrain.config import values
from bigtrain.config.duration import Duration, DurationError

_NUMBER_NAMES = {"ArrayLike", "ScalarOrSchedule", "Scalar", "Numeric"}  # how Optax and JAX annotate a number
_UNBOUNDED = values.Bounds()
_MANY = {"Sequence", "list", "List", "tuple", "Tuple", "Iterable"}


class Mismatch(ValueError):
    """A value that a field doesn't take."""


@dataclass(frozen=True)
class Kind:
    """Any value at all: what an annotation that can't be read statically admits."""

    text: str = "any value"

    def convert(self, value: object) -> object:
        """The value as the callee gets it; raises `Mismatch` when it isn't allowed."""
        return value

    def takes(self, value: object) -> bool:
        """Whether the value is allowed."""
        try:
            self.convert(value)
        except Mismatch:
            return False
        return True


@dataclass(frozen=True)
class Exactly(Kind):
    """One of a few literal values."""

    choices: tuple[object, ...] = ()

    def convert(self, value: object) -> object:
        """See `Kind`."""
        for choice in self.choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        raise Mismatch(self.text)


@dataclass(frozen=True)
class Number(Kind):
    """An integer or a float within bounds."""

    integer: bool = False
    bounds: values.Bounds = _UNBOUNDED

    def convert(self, value: object) -> int | float:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Mismatch(self.text)
        if not _is_finite(value) or (self.integer and value != int(value)):
            raise Mismatch(self.text)
        if not self.bounds.admits(value):
            raise Mismatch(self.text)
        return int(value) if self.integer else float(value)


@dataclass(frozen=True)
class Quantity(Kind):
    """A number of no declared type (Optax's `ArrayLike`): an integer stays one, a float stays one."""

    def convert(self, value: object) -> int | float:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise Mismatch(self.text)
        return value


@dataclass(frozen=True)
class Plain(Kind):
    """A value of one Python type."""

    of: type = str

    def convert(self, value: object) -> object:
        """See `Kind`."""
        if self.of is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)  # `data.inputs=0` reads as a number in YAML
        if not isinstance(value, self.of):
            raise Mismatch(self.text)
        return value


@dataclass(frozen=True)
class Span(Kind):
    """A duration: a number of steps, or a string such as '10epochs' or '5%'. Converted once the data is known."""

    def convert(self, value: object) -> Duration:
        """See `Kind`."""
        if isinstance(value, Duration):
            return value
        try:
            return Duration.parse(value)
        except DurationError as error:
            raise Mismatch(self.text) from error


@dataclass(frozen=True)
class Many(Kind):
    """A list whose items are all of one kind; a tuple once converted."""

    item: Kind = Kind()
    length: int | None = None

    def convert(self, value: object) -> tuple[object, ...]:
        """See `Kind`."""
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise Mismatch(self.text)
        if self.length is not None and len(value) != self.length:
            raise Mismatch(self.text)
        try:
            return tuple(self.item.convert(item) for item in value)
        except Mismatch as mismatch:
            raise Mismatch(self.text) from mismatch


@dataclass(frozen=True)
class Either(Kind):
    """The first of several kinds that takes the value."""

    options: tuple[Kind, ...] = ()

    def convert(self, value: object) -> object:
        """See `Kind`."""
        for option in self.options:
            try:
                return option.convert(value)
            except Mismatch:
                continue
        raise Mismatch(self.text)


ANYTHING = Kind()
_PLAIN = {
    "int": Number("an integer", integer=True),
    "float": Number("a number"),
    "str": Plain("a string", of=str),
    "bool": Plain("true or false", of=bool),
    "dict": Plain("a mapping", of=dict),
    "Mapping": Plain("a mapping", of=dict),
    "Path": Plain("a path", of=str),
    "None": Exactly("null", choices=(None,)),
}


Alias = Callable[[str], "ast.expr | None"]


def _no_alias(name: str) -> ast.expr | None:
    return None


def from_annotation(node: ast.expr | None, alias: Alias = _no_alias) -> Kind:
    """The kind an annotation stands for; `ANYTHING` for one that this module doesn't know.

    Args:
        node: the annotation's syntax tree.
        alias: finds what a name of the source stands for (`Cell = Literal[…]`), or None.
    """
    if node is None:
        return ANYTHING
    if isinstance(node, ast.Constant):
        return _PLAIN["None"] if node.value is None else from_annotation(_parsed(node.value), alias)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return either((from_annotation(node.left, alias), from_annotation(node.right, alias)))
    if isinstance(node, ast.Subscript):
        return _subscripted(_last_name(node.value), node.slice, alias)
    named = _named(_last_name(node))
    if named is ANYTHING and (meant := alias(ast.unparse(node))) is not None:
        return from_annotation(meant)
    return named


def either(options: Iterable[Kind]) -> Kind:
    """One kind out of several; nested alternatives are flattened, and one that takes anything swallows the rest."""
    flat: list[Kind] = []
    for option in options:
        flat.extend(option.options if isinstance(option, Either) else (option,))
    if any(type(option) is Kind for option in flat):
        return ANYTHING
    flat.sort(key=lambda option: isinstance(option, Plain) and option.of is str)  # a string admits numbers: last
    return Either(" or ".join(dict.fromkeys(option.text for option in flat)), options=tuple(flat))


def _is_finite(value: int | float) -> bool:
    """Whether a float can hold it: neither NaN nor infinite, and no integer of 400 digits."""
    return abs(value) <= sys.float_info.max


def _parsed(text: object) -> ast.expr | None:
    try:
        return ast.parse(str(text), mode="eval").body
    except SyntaxError:
        return None


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _named(name: str) -> Kind:
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _NUMBER_NAMES:
        return Quantity("a number")
    if name == "Steps":
        return Span("steps (2000), '10epochs', '5%' or '1_000_000examples'")
    annotated = getattr(values, name, None)
    if name == "Component":
        return _PLAIN["dict"]
    if typing.get_origin(annotated) is typing.Annotated:
        of, bounds = typing.get_args(annotated)
        return Number(f"{'an integer' if of is int else 'a number'} {bounds}", integer=of is int, bounds=bounds)
    return ANYTHING


def _subscripted(name: str, inner: ast.expr, alias: Alias) -> Kind:
    items = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        choices = tuple(ast.literal_eval(item) for item in items)
        return Exactly(", ".join("null" if choice is None else str(choice) for choice in choices), choices=choices)
    if name == "Optional":
        return either((from_annotation(items[0], alias), _PLAIN["None"]))
    if name == "Union":
        return either(from_annotation(item, alias) for item in items)
    if name == "Annotated":
        return from_annotation(items[0], alias)
    if name in ("dict", "Mapping"):
        return _PLAIN["dict"]
    if name in _MANY:
        return _many(name, items, alias)
    return ANYTHING


def _many(name: str, items: list[ast.expr], alias: Alias) -> Kind:
    endless = any(isinstance(item, ast.Constant) and item.value is Ellipsis for item in items)
    item = from_annotation(items[0], alias)
    if name in ("tuple", "Tuple") and not endless:
        return Many(f"a list of {len(items)} values, each {item.text}", item=item, length=len(items))
    return Many(f"a list, each item {item.text}", item=item)
