"""No line of the package runs or unpickles what a file holds: a stranger may have written it. See SECURITY.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bigtrain"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "runpy"}
CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
    "yaml.full_load", "subprocess.getoutput", "subprocess.getstatusoutput", "pandas.read_pickle",
}  # fmt: skip
KEYWORDS = {("allow_pickle", True), ("shell", True), ("weights_only", False), ("trust_remote_code", True)}


def forbidden(text: str) -> list[str]:
    """What of a module's source could run what it reads, with the line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in CALLS:
            found.append(f"line {node.lineno}: calls {name}")
        given = {word.arg: word.value for word in node.keywords}
        for word, value in given.items():
            if isinstance(value, ast.Constant) and (word, value.value) in KEYWORDS:
                found.append(f"line {node.lineno}: {word}={value.value}")
        if name in ("np.load", "numpy.load") and "allow_pickle" not in given:
            found.append(f"line {node.lineno}: {name} doesn't say allow_pickle=False")
        if name.endswith("Image.open") and "formats" not in given:
            found.append(f"line {node.lineno}: {name} doesn't say which formats")  # PostScript starts a program
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_executes(path: Path) -> None:
    assert not forbidden(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "eval(x)", "exec(x)", "os.system(x)", "yaml.load(x, Loader)",
        "np.load(x)", "np.load(x, allow_pickle=True)", "subprocess.run(x, shell=True)", "Image.open(x)",
        "numpy.load(x, mmap_mode='r')", "torch.load(x, weights_only=False)",
    ],
)  # fmt: skip
def test_the_test_finds_it(line: str) -> None:
    assert forbidden(line)
