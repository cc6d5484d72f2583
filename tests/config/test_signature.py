"""What a target takes, read from source alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from bigtrain.config import kinds, signature

CORE = '''
"""A package that is read and never imported."""
from __future__ import annotations
raise RuntimeError("imported")

from dataclasses import dataclass
from typing import Literal, Optional
from bigtrain.config.values import PositiveInt, Rate
from .sizes import Size, widths as wide
from . import sizes

Mode = Literal["fast", "slow"]
Shade: object = Literal["dark", "light"]


class Net:
    """A net.

    More of it.
    """

    objective = "elbo"

    def __init__(self, spec, *, mode: Mode = "fast", size: Size = 3, other: sizes.Size = 3, rate: Rate = 0.5,
                 shade: Shade = "dark", depth: Optional[PositiveInt] = None, computed=len("ab"), rngs) -> None:
        """Builds it.

        Args:
            mode: how fast
                it goes.
            rate: what is dropped: a share.

        Returns:
            mode: nothing.
        """


class Child(Net):
    """Inherits its constructor."""

    objective = "else"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        rows: how many.
    """

    rows: PositiveInt
    name: str = "t"
    note: "str | None" = None


@dataclass(frozen=True)
class Longer(Table):
    """With one more."""

    columns: int = 2


class Bare:
    """Takes nothing that can be read."""


def function(a: int, b: float = 2.0, *rest: int, c: bool = True, **more: object) -> sizes.Thing:
    """A function. With a second sentence."""


if True:
    def chosen(x: int): ...
else:
    def other(x: int): ...

try:
    from missing import nothing
except ImportError:
    pass

alias = function
'''


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packages")
    folder = root / "readonly_pkg"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("from readonly_pkg.core import Net as Public\nfrom .deep import inner\n")
    (folder / "core.py").write_text(CORE)
    (folder / "sizes.py").write_text("Size = int\ndef widths(x: int = 1): ...\n")
    (folder / "deep" / "__init__.py").write_text("from .inner import Deep\nfrom ..core import function as up\n")
    (folder / "deep" / "inner.py").write_text("class Deep:\n    def __init__(self, x: int) -> None: ...\n")
    (folder / "broken.py").write_text("def (:\n")
    (folder / "loop.py").write_text("from readonly_pkg.loop import round\n")
    (root / "readonly_module.py").write_text("def single(x: int = 1): ...\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        importlib.invalidate_caches()
        yield folder  # type: ignore[misc]


def test_nothing_is_imported() -> None:
    signature.read("readonly_pkg.core.Net")
    assert not [name for name in sys.modules if name.startswith("readonly_pkg.")]


def test_a_class() -> None:
    found = signature.read("readonly_pkg.core.Net")
    assert found.is_class
    assert not found.open
    assert list(found.parameters) == [
        "spec", "mode", "size", "other", "rate", "shade", "depth", "computed", "rngs"
    ]  # fmt: skip
    assert found.summary == "A net."
    assert found.constants == {"objective": "elbo"}
    assert found.parameters["spec"].default is signature.REQUIRED
    assert found.parameters["rngs"].default is signature.REQUIRED
    assert found.parameters["computed"].default == "len('ab')"
    assert found.parameters["computed"].kind is kinds.ANYTHING


def test_documented_arguments() -> None:
    found = signature.read("readonly_pkg.core.Net").parameters
    assert found["mode"].doc == "how fast it goes."
    assert found["rate"].doc == "what is dropped: a share."
    assert found["size"].doc == ""


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("mode", "fast, slow"),
        ("size", "an integer"),
        ("other", "an integer"),
        ("shade", "dark, light"),
        ("rate", "a number within [0, 1)"),
        ("depth", "an integer at least 1 or null"),
    ],
)
def test_aliases_are_followed(field: str, text: str) -> None:
    assert signature.read("readonly_pkg.core.Net").parameters[field].kind.text == text


def test_an_inherited_constructor() -> None:
    found = signature.read("readonly_pkg.core.Child")
    assert list(found.parameters) == list(signature.read("readonly_pkg.core.Net").parameters)
    assert found.constants == {"objective": "else"}
    assert found.summary == "Inherits its constructor."


def test_dataclasses() -> None:
    table, longer = signature.read("readonly_pkg.core.Table"), signature.read("readonly_pkg.core.Longer")
    assert list(table.parameters) == ["rows", "name", "note"]
    assert table.parameters["rows"].doc == "how many."
    assert table.parameters["note"].kind.text == "null or a string"
    assert list(longer.parameters) == ["rows", "name", "note", "columns"]
    assert longer.parameters["columns"].default == 2
    assert not longer.open


def test_a_class_without_constructor_is_open() -> None:
    assert signature.read("readonly_pkg.core.Bare").open


def test_a_function() -> None:
    found = signature.read("readonly_pkg.core.function")
    assert (found.is_class, found.open, found.returns) == (False, True, "Thing")
    assert {name: item.default for name, item in found.parameters.items()} == {
        "a": signature.REQUIRED, "b": 2.0, "c": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("readonly_pkg.Public", "Net"),
        ("readonly_pkg.inner.Deep", "Deep"),
        ("readonly_pkg.deep.Deep", "Deep"),
        ("readonly_pkg.deep.inner.Deep", "Deep"),
    ],
)
def test_reexports(target: str, name: str) -> None:
    assert signature.read(target).returns == name


def test_relative_imports_and_assigned_names() -> None:
    function = signature.read("readonly_pkg.core.function").parameters
    assert signature.read("readonly_pkg.deep.up").parameters == function
    assert signature.read("readonly_pkg.core.alias").parameters == function
    assert list(signature.read("readonly_pkg.core.wide").parameters) == ["x"]
    assert list(signature.read("readonly_pkg.core.chosen").parameters) == ["x"]
    assert list(signature.read("readonly_module.single").parameters) == ["x"]


def test_optax_is_read_through_its_reexports() -> None:
    found = signature.read("optax.adamw")
    assert found.returns in ("GradientTransformation", "GradientTransformationExtraArgs")
    assert found.parameters["learning_rate"].kind.text == "a number"
    assert found.parameters["learning_rate"].doc


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nowhere_pkg.Net", "no package named 'nowhere_pkg' is installed"),
        ("readonly_pkg.core.Nett", "core.py has no 'Nett'; did you mean 'Net'?"),
        ("readonly_pkg.coer.Net", "readonly_pkg has no 'coer.Net'; did you mean 'core'?"),
        ("readonly_pkg.core", "readonly_pkg.core is a module, not a class or function"),
        ("readonly_pkg.core.Net.method", "core.py has no 'Net.method'"),
        ("readonly_pkg.loop.round", "readonly_pkg.loop.round: too many re-exports"),
        ("math.sqrt", "is no Python source"),
        ("sys.exit", "is no Python source"),
        ("readonly_pkg.broken.x", "can't be read as Python: "),
        ("__main__.x", "no package named '__main__' is installed"),
    ],
)
def test_what_cannot_be_found(target: str, text: str) -> None:
    with pytest.raises(signature.TargetError) as caught:
        signature.read(target)
    assert text in str(caught.value)
