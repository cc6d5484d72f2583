"""What goes wrong in code that isn't bigtrain's is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import typed

MODEL = '''
from __future__ import annotations

import jax
from flax import nnx

from bigtrain.data.spec import Spec


class Broken(nnx.Module):
    """A line that fails."""

    def __init__(self, *, spec: Spec, rngs: nnx.Rngs) -> None:
        """Makes it."""
        self.layer = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Fails."""
        return self.nothing(inputs)
'''


def test_an_error_in_a_users_own_model_names_its_line(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "theirs").mkdir()
    (workdir / "theirs/__init__.py").touch()
    (workdir / "theirs/broken.py").write_text(MODEL)
    (workdir / "conf/model").mkdir(parents=True)
    (workdir / "conf/model/broken.yaml").write_text("_target_: theirs.broken.Broken\n")
    monkeypatch.syspath_prepend(workdir)
    done = typed("fit --config-dir conf --trust theirs model=broken steps=3 run_dir=r")
    line = MODEL.splitlines().index("        return self.nothing(inputs)") + 1
    assert done.code == 1
    assert done.err.startswith(f"error: theirs/broken.py:{line} in __call__: AttributeError: 'Broken' object has no"), (
        done.err
    )
    assert "bug in bigtrain" not in done.err
    assert not (workdir / "r").exists()


@pytest.mark.parametrize("key", ["optimizer.learning_rate", "clip_norm", "watchdog", "early_stopping.min_delta"])
def test_no_number_is_infinite(key: str, workdir: Path) -> None:
    done = typed(f"fit {key}=inf")
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {key}: inf is not allowed")


def test_a_text_that_is_too_long_for_a_model_is_refused(workdir: Path) -> None:
    (workdir / "t.txt").write_text("the quick brown fox " * 40)
    small = (
        "model.width=8 model.heads=2 model.layers=1 model.positions=learned data.length=8 batch_size=4 logger=[jsonl]"
    )
    assert typed(f"fit model=transformer data=text data.path=t.txt steps=2 run_dir=r {small}").code == 0
    done = typed("predict r --input t.txt --output o.csv")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: 800 steps are more than the 8 whose positions were learned",
    )
    assert not (workdir / "o.csv").exists()
