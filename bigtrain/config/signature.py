"""What a `_target_` takes, read from its source without importing it.

Importing a model imports JAX, which takes seconds; a misspelled key must be answered before that. So the module's file
is found and parsed, re-exports are followed (`optax.adam` lives in `optax._src.alias`), and the arguments come from
the syntax tree.
"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from bigtrain.config import kinds
from bigtrain.config.errors import did_you_mean

REQUIRED = object()


class TargetError(LookupError):
    """A target that can't be found; the text says which part is missing."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a callee."""

    name: str
    kind: kinds.Kind
    default: object = REQUIRED  # a literal where the source has one, else its text
    annotation: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Callee:
    """A class or function that config can name, as its source describes it."""

    target: str
    path: Path
    is_class: bool
    parameters: dict[str, Parameter]
    open: bool  # takes **kwargs
    returns: str  # the last name of a function's return annotation; a class's own name
    bases: tuple[str, ...] = ()
    doc: str = ""
    constants: dict[str, object] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first sentence of the docstring, on one line."""
        paragraph = self.doc.strip().split("\n\n")[0]
        return " ".join(paragraph.split())


@functools.cache
def read(target: str) -> Callee:
    """The callee that a dotted `target` names; raises `TargetError` when there is none."""
    module, _, rest = _split_module(target)
    return _find(target, module, rest, depth=0)


def installed(package: str) -> bool:
    """Whether a top-level package or module can be imported; it isn't."""
    return _spec(package) is not None


def _find(target: str, path: Path, names: tuple[str, ...], depth: int) -> Callee:
    if depth > 8:
        raise TargetError(f"{target}: too many re-exports")
    if not names:
        raise TargetError(f"{target} is a module, not a class or function")
    name = names[0]
    for node in reversed(list(_statements(path))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name and len(names) == 1:
            return _described(target, path, node, depth)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(target, *_source(path, node, (alias.name, *names[1:])), depth + 1)
        if _assigns(node, name) and isinstance(node.value, (ast.Name, ast.Attribute)):
            return _find(target, path, (*ast.unparse(node.value).split("."), *names[1:]), depth + 1)
    raise _undefined(path, names)


def _assigns(node: ast.stmt, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)


def _undefined(path: Path, names: tuple[str, ...]) -> TargetError:
    """The error for a name that a module lacks, with the nearest of those it has."""
    near = {node.name for node in _statements(path) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    if path.name == "__init__.py":
        near |= {item.stem for item in path.parent.glob("*.py")} - {"__init__"}
    close = did_you_mean(names[0], sorted(near)) if len(names) == 1 or path.name == "__init__.py" else None
    module = path.parent.name if path.name == "__init__.py" else path.name
    return TargetError(f"{module} has no {'.'.join(names)!r}" + (f"; {close}" if close else ""))


def _source(path: Path, node: ast.ImportFrom, names: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """The file that an import statement takes a name from, and what is left of the name."""
    if not node.level:
        module, _, rest = _split_module(".".join((node.module or "", *names)))
        return module, rest
    package = path.parent  # from . import x
    for _ in range(node.level - 1):
        package = package.parent
    return _descend(package, (*(node.module.split(".") if node.module else ()), *names))


def _spec(package: str) -> importlib.machinery.ModuleSpec | None:
    if package == "__main__":  # the program that runs, which is no package
        return None
    try:
        return importlib.util.find_spec(package)  # of a top-level name: imports nothing, and sees editable installs
    except ValueError:  # a module without a spec
        return None


def _split_module(target: str) -> tuple[Path, str, tuple[str, ...]]:
    """The file of the deepest module in a dotted path, the package's name, and the names left over."""
    top, *rest = target.split(".")
    spec = _spec(top)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise TargetError(f"no package named {top!r} is installed")
    if spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations)))
        path, names = _descend(folder, tuple(rest))
        return path, top, names
    return Path(str(spec.origin)), top, tuple(rest)


def _descend(folder: Path, names: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    while names and (folder / names[0]).is_dir():
        folder, names = folder / names[0], names[1:]
    if names and (folder / f"{names[0]}.py").is_file():
        return folder / f"{names[0]}.py", names[1:]
    if not (folder / "__init__.py").is_file():
        raise TargetError(f"no module {'.'.join((folder.name, *names[:1]))!r}")
    return folder / "__init__.py", names


def _statements(path: Path) -> Iterator[ast.stmt]:
    """The statements of a module, those under a top-level `if` or `try` included."""
    waiting: list[ast.stmt] = list(reversed(_tree(path).body))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            waiting.extend(reversed([*node.body, *node.orelse]))


@functools.cache
def _tree(path: Path) -> ast.Module:
    if path.suffix != ".py":
        raise TargetError(f"{path.name} is no Python source")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} can't be read as Python: {error}") from error


def _described(target: str, path: Path, node: ast.ClassDef | ast.FunctionDef, depth: int) -> Callee:
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        parameters, is_open = _arguments(node, path, skip_self=False)
        returns = ast.unparse(node.returns).split(".")[-1].strip("'\"") if node.returns else ""
        return Callee(target, path, False, _documented(parameters, doc), is_open, returns, doc=doc)
    bases = tuple(ast.unparse(base).split(".")[-1] for base in node.bases)
    constants = {
        item.targets[0].id: item.value.value
        for item in node.body
        if isinstance(item, ast.Assign)
        and isinstance(item.targets[0], ast.Name)
        and isinstance(item.value, ast.Constant)
    }
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    parents = _parents(path, node, depth)
    parent = next(iter(parents), None)
    if init is not None:
        parameters, is_open = _arguments(init, path, skip_self=True)
        doc = doc + "\n\n" + (ast.get_docstring(init) or "")
    else:
        own = _fields(node, path) if _has_fields(node) else {}
        parameters = {**(parent.parameters if parent else {}), **own}
        is_open = parent.open if parent else not _has_fields(node)
    for inherited in parents:  # the first base wins, as Python resolves it
        constants = {**inherited.constants, **constants}
    return Callee(target, path, True, _documented(parameters, doc), is_open, node.name, bases, doc, constants)


def _parents(path: Path, node: ast.ClassDef, depth: int) -> list[Callee]:
    """The bases of a class whose source can be found: it inherits their constants, and a constructor if it has none."""
    known = []
    for base in node.bases:
        try:
            found = _find(ast.unparse(base), path, tuple(ast.unparse(base).split(".")), depth + 1)
        except TargetError:
            continue  # `nnx.Module`, `Protocol`: no constructor that takes fields
        if found.is_class:
            known.append(found)
    return known


def _has_fields(node: ast.ClassDef) -> bool:
    """Whether a constructor is made from the annotated names: a dataclass, or a named tuple."""
    made_by = (*(ast.unparse(item) for item in node.decorator_list), *(ast.unparse(base) for base in node.bases))
    return any("dataclass" in item or item.endswith("NamedTuple") for item in made_by)


def _fields(node: ast.ClassDef, path: Path) -> dict[str, Parameter]:
    found = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if "ClassVar" in ast.unparse(item.annotation):
                continue
            found[item.target.id] = _parameter(path, item.target.id, item.annotation, item.value)
    return found


def _arguments(node: ast.FunctionDef, path: Path, *, skip_self: bool) -> tuple[dict[str, Parameter], bool]:
    spec = node.args
    positional = [*spec.posonlyargs, *spec.args][1 if skip_self else 0 :]
    missing = [None] * (len(positional) - len(spec.defaults))
    pairs = list(zip(positional, [*missing, *spec.defaults], strict=False))
    pairs += list(zip(spec.kwonlyargs, spec.kw_defaults, strict=True))
    return {
        arg.arg: _parameter(path, arg.arg, arg.annotation, default) for arg, default in pairs
    }, spec.kwarg is not None


def _parameter(path: Path, name: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    value: object = REQUIRED
    if default is not None:
        try:
            value = ast.literal_eval(default)
        except ValueError:
            value = ast.unparse(default)
    kind = kinds.from_annotation(annotation, functools.partial(_alias, path))
    return Parameter(name, kind, value, ast.unparse(annotation) if annotation else "")


def _alias(path: Path, name: str) -> ast.expr | None:
    """What a type alias of a module stands for: `Cell` or `layers.Norm`, defined there or imported from elsewhere."""
    try:
        return _assigned(path, tuple(name.split(".")))
    except TargetError:
        return None


def _assigned(path: Path, names: tuple[str, ...]) -> ast.expr | None:
    for node in _statements(path):
        if _assigns(node, names[0]) and len(names) == 1:
            return node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == names[0]:
            return node.value if len(names) == 1 else None
        if isinstance(node, ast.ImportFrom) and node.module != "typing":
            for alias in node.names:
                if (alias.asname or alias.name) == names[0]:
                    module, rest = _source(path, node, (alias.name, *names[1:]))
                    return _assigned(module, rest) if rest else None
    return None


def _documented(parameters: dict[str, Parameter], doc: str) -> dict[str, Parameter]:
    """The parameters with what an `Args:` section says of each."""
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    inside = False
    for line in doc.splitlines():
        words = line.strip()
        if words in ("Args:", "Attributes:"):
            inside = True
        elif inside and words.endswith(":") and " " not in words and not line.startswith(" "):
            inside = False
        elif inside and words.split(":")[0].split(" ")[0] in parameters and ":" in words:
            name, text = words.split(":", 1)
            current = texts.setdefault(name.split(" ")[0], [text.strip()])
        elif inside and current is not None:
            current.append(words)
    said = {name: " ".join(" ".join(lines).split()) for name, lines in texts.items()}
    return {name: replace(item, doc=said.get(name, item.doc)) for name, item in parameters.items()}
