"""The task that follows from the model and the data."""

import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Field, Spec
from bigtrain.tasks.auto import auto
from bigtrain.tasks.classification import Classification
from bigtrain.tasks.elbo import ELBO
from bigtrain.tasks.language_modeling import LanguageModeling
from bigtrain.tasks.regression import Regression


def spec(kind=None, shape=()):
    inputs = Field((3,), "int32", "tokens") if kind == "tokens" else Field((3, 2), "float32", "features")
    fields = {"inputs": inputs}
    if kind:
        fields["targets"] = Field(shape, "int32", kind)
    return Spec("made up", fields, {"train": 8})


TASKS = [("label", Classification), ("real", Regression), ("tokens", LanguageModeling)]


@pytest.mark.parametrize(("kind", "task"), TASKS)
def test_the_targets_decide(kind, task):
    assert auto(spec(kind), None) == task(spec=spec(kind))


def test_a_label_at_each_step_is_classified():
    assert auto(spec("label", (3,)), None) == Classification(spec=spec("label", (3,)))


def test_tokens_are_not_predicted_from_real_values():
    fields = {"inputs": Field((3, 2), "float32", "features"), "targets": Field((3,), "int32", "tokens")}
    data = Spec("made up", fields, {"train": 8})
    with pytest.raises(
        ConfigError, match=r"^task: LanguageModeling needs tokens as inputs, and data 'made up' has real"
    ):
        auto(data, None)
    assert auto(data, "elbo") == ELBO()


def test_a_model_s_own_objective_comes_first():
    assert auto(spec("label"), "elbo") == ELBO()
    assert auto(spec(), "elbo") == ELBO()


def test_without_targets_there_is_nothing_to_predict():
    with pytest.raises(ConfigError) as caught:
        auto(spec(), None)
    assert str(caught.value) == (
        "task: data 'made up' has no targets to predict\n  use model=vae, or name the labels (data.targets=…)"
    )
