"""Command lines that are wrong, all in one process that can't import JAX: the corpus of `lines.txt`, and drawn ones.

Run by itself it prints what was answered otherwise than by one message and exit code 2.
"""

from __future__ import annotations

import importlib.abc
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hostile_runs
from attack import Place
from command import bigtrain, files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigtrain.config.suggest import spine_paths

HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax")
CORPUS = Path(__file__).parent / "lines.txt"
FILES = {
    "cfg/model/broken.yaml": b"widths: [1\n",
    "cfg/model/list.yaml": b"- 1\n",
    "cfg/model/tabs.yaml": b"\t_target_: x\n",
    "cfg/model/bytes.yaml": b"\xff\xfe\x00",
    "cfg/model/number.yaml": b"seed: " + b"9" * 5000,
    "cfg/model/date.yaml": b"_target_: 2001-99-99\n",
    "cfg/model/deep.yaml": b"_target_: " + b"[" * 3000 + b"]" * 3000,
    "cfg/model/self.yaml": b"_target_: bigtrain.models.mlp.MLP\nwidths: &a [*a]\n",
    "cfg/model/evil.yaml": b"_target_: os.system\ncommand: touch executed\n",
    "cfg/experiment/cycle.yaml": b"# @package _global_\ndefaults:\n  - override /model: [mlp, [rnn]]\n",
    "cfg/experiment/loop.yaml": b"# @package _global_\nseed: ${batch_size}\nbatch_size: ${seed}\n",
    "cfg/experiment/python.yaml": b"# @package _global_\nseed: !!python/object/apply:os.getpid []\n",
    "empty.csv": b"", "empty.txt": b"", "empty.npy": b"", "empty.npz": b"", "empty.png": b"", "empty.wav": b"",
    "text.txt": b"abc\n", "bytes.bin": bytes(range(256)), "half.npy": b"\x93NUMPY\x01\x00v\x00{'descr'",
    "half.npz": b"PK\x03\x04half", "row.csv": b"a,b\n1\n", "half.gz": b"\x1f\x8b\x08", "bad.json": b"{",
    "one.jsonl": b"[]\n", "x.parquet": b"PAR1", "x.ts": b"@data\n", "nul.txt": b"\0\0", "latin.txt": b"caf\xe9\n",
}  # fmt: skip


STARTS = [
    ("fit", "--cfg", (0, 2)), ("fit", "stepz=1", (2,)), ("launch -n 2 fit", "stepz=1", (2,)), ("launch", "", (2,)),
    ("plan", "stepz=1", (2,)), ("evaluate came", "--checkpoint 99", (2,)), ("evaluate", "nowhere", (2,)),
    ("predict came --output x.csv --input new.npy", "--checkpoint 99", (2,)), ("predict came", "--input nowhere", (2,)),
    ("sample came", "--checkpoint 99", (2,)), ("data inspect", "data.nope=1", (2,)), ("data tokenize", "nowhere", (2,)),
    ("configs", "", (0, 2)), ("completion", "", (0, 2)), ("", "nope", (2,)), ("__complete", "", (0, 1)),
]  # fmt: skip
"""What a line begins with, what it ends with, and the exit codes it may have."""

KEYS = [
    *spine_paths(),
    "model",
    "model.widths",
    "data.path",
    "data",
    "logger",
    "hydra.run.dir",
    "model._target_",
    "",
    "~",
]
VALUES = st.one_of(
    st.text("[]{}(),:=$~+'\"\\ \n\t0123456789.eabn%_-@\x1b\0\u00e9\U0001f600", max_size=12),
    st.integers().map(str), st.floats().map(str),
    st.sampled_from(["null", "[]", "{}", "${seed}", "${oc.env:HOME}", "???", "5%", "mlp", "[[1]]", "a,b", "range(1,3)",
                     "'", "[1,[2]]"]),
)  # fmt: skip
WORDS = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), st.sampled_from(KEYS), VALUES),
    st.sampled_from(["-", "--", "--nope", "-Q", "--trust", "--split", "--split=x", "came", "cfg", "text.txt", "-n",
                     "0"]),
    st.text(max_size=8).filter(lambda text: not text.startswith("-")),
)  # fmt: skip


class LoadedError(BaseException):
    """JAX was wanted for an answer that needs none; no `except Exception` hides this."""


class Blocked(importlib.abc.MetaPathFinder):
    """Lets nothing heavy be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raises for JAX and what brings it; where it lies may be asked, which imports nothing."""
        if name in HEAVY and sys._getframe(1).f_back.f_code.co_name == "_find_and_load_unlocked":  # type: ignore[union-attr]
            raise LoadedError(name)


def corpus() -> list[str]:
    """The lines of the fixed corpus."""
    text = CORPUS.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("# ")]


def write_files(folder: Path) -> None:
    """What the lines name: a run directory `came`, a config folder `cfg`, and broken files."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "came").mkdir()
    hostile_runs.plain(Place(folder, folder / "came", folder))


def wrong(words: Sequence[str], codes: Sequence[int] = (2,)) -> list[str]:
    """What is wrong with the answer to a command: nothing, when the list is empty."""
    try:
        done = bigtrain(*words)
    except LoadedError as error:
        return [f"it imports {error}"]
    except BaseException as error:
        return [f"it raises {type(error).__name__}: {error}"]
    found = [] if done.code in codes else [f"exit code {done.code}, not {' or '.join(map(str, codes))}"]
    if done.code == 2 and not done.err.startswith("error: "):
        found.append("the answer doesn't begin with 'error: '")
    if "Traceback" in done.err + done.out:
        found.append("there is a traceback")
    return [*found, done.err[:600]] if found else []


def split(line: str) -> list[str]:
    """The words of a line of the corpus; escapes such as \\x1b stand for what can't be typed."""
    return [word.encode().decode("unicode_escape") if "\\" in word else word for word in shlex.split(line)]


def _fixed(folder: Path, every: int) -> int:
    """Tries the corpus, or every so manyth line of it; how many lines are answered wrongly."""
    before, failed = files(folder), 0
    for line in corpus()[::every]:
        found = wrong(split(line))
        if (made := files(folder) - before) != set():
            found.append(f"it wrote {sorted(made)}")
            before |= made
        failed += _reported(line, found)
    return failed


def _drawn(number: int) -> int:
    """Tries lines of words drawn at random; how many are answered wrongly.

    Each ends with what can't be right, since a line that happens to be right would train, or says --cfg.
    """
    failed = 0

    @settings(
        max_examples=number, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(STARTS), st.lists(WORDS, max_size=4))
    def one(start: tuple[str, str, tuple[int, ...]], words: list[str]) -> None:
        nonlocal failed
        line = [*start[0].split(), *words, *start[1].split()]
        failed += _reported(shlex.join(line), wrong(line, start[2]))

    one()
    return failed


def _reported(line: str, found: list[str]) -> int:
    found += [f"{name} was imported" for name in HEAVY if name in sys.modules]
    if found:
        print(f"$ bigtrain {line}", *found, sep="\n  ", end="\n\n")
    return bool(found)


def main(folder: str, every: str, number: str) -> None:
    """Tries every so manyth line of the corpus, and so many more."""
    os.chdir(folder)
    write_files(Path(folder))
    sys.meta_path.insert(0, Blocked())
    failed = _fixed(Path(folder), int(every)) + _drawn(int(number))
    print(f"{len(corpus()[:: int(every)])} lines and {number} drawn ones, {failed} answered wrongly")


if __name__ == "__main__":
    main(*sys.argv[1:])
