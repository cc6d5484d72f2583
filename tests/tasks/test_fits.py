"""Which task, model and data go together, and what is said where they don't."""

import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.fits import check_fits
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression

REAL = Field((4, 2), "float32", "features")
TOKENS = Field((4,), "int32", "tokens")


def spec(inputs=REAL, kind=None, shape=()):
    targets = {"targets": Field(shape, "int32", kind)} if kind else {}
    return Spec("made up", {"inputs": inputs, **targets}, {"train": 8})


FITTING = [
    (Classification(), spec(kind="label"), None),
    (Classification(), spec(kind="label", shape=(4,)), None),
    (Classification(), spec(TOKENS, "label", (4,)), None),
    (Regression(), spec(kind="real"), None),
    (LanguageModeling(), spec(TOKENS, "tokens", (4,)), None),
    (ELBO(), spec(), "elbo"),
    (object(), spec(kind="tokens"), None),
]


@pytest.mark.parametrize(("task", "data", "objective"), FITTING)
def test_what_goes_together_is_accepted(task, data, objective):
    check_fits(task, data, objective)


AUTO = "task=auto chooses from the model and the data"
STEPS = "for integer inputs set data.kind=tokens; for a class at each step data.target_kind=label"
REFUSED = [
    (ELBO(), spec(), None, "ELBO needs a model trained on the elbo\n  use model=vae, or task=auto"),
    (
        Regression(),
        spec(kind="real"),
        "elbo",
        "Regression can't train a model whose objective is the elbo\n  use task=auto",
    ),
    (
        Regression(),
        spec(kind="label"),
        None,
        f"Regression needs real targets, and data 'made up' has class labels\n  {AUTO}",
    ),
    (
        Classification(),
        spec(kind="real"),
        None,
        "Classification needs class labels, and data 'made up' has real targets\n"
        f"  if they are classes set data.target_kind=label; {AUTO}",
    ),
    (
        LanguageModeling(),
        spec(TOKENS),
        None,
        f"LanguageModeling needs tokens to predict, and data 'made up' has no targets\n  {AUTO}",
    ),
    *(
        (
            LanguageModeling(),
            spec(REAL, kind, (4,)),
            None,
            f"LanguageModeling needs tokens as inputs, and data 'made up' has real values\n  {STEPS}",
        )
        for kind in ("tokens", "label", "real")
    ),
]


@pytest.mark.parametrize(("task", "data", "objective", "message"), REFUSED)
def test_what_does_not_is_refused_with_what_to_set(task, data, objective, message):
    with pytest.raises(ConfigError) as caught:
        check_fits(task, data, objective)
    assert str(caught.value) == f"task: {message}"
