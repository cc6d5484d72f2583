"""Overrides with several values become dimensions, and their values are text that reads back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigtrain.config import compose, sweeps
from bigtrain.config.errors import ConfigError
from bigtrain.sweep.space import Dimension, combinations, identity, parse_space, size, unmet


def choices(text: str, config_dir: Path | None = None) -> tuple[str, ...]:
    (dimension,), fixed = parse_space([text], config_dir)
    assert not fixed
    assert not dimension.continuous
    return dimension.choices


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("steps=1,2", "1|2"),
        ("steps=choice(1,2)", "1|2"),
        ("steps=choice(1)", "1"),
        ("steps=range(1,5)", "1|2|3|4"),
        ("steps=range(3)", "0|1|2"),
        ("steps=range(5,1,-2)", "5|3"),
        ("x=range(0,0.5,0.1)", "0.0|0.1|0.2|0.3|0.4"),
        ("x=range(0.1,0.4,0.1)", "0.1|0.2|0.3"),
        ("x=range(0.4,0.1,-0.1)", "0.4|0.3|0.2"),
        ("x=1e-3,1e-4", "0.001|0.0001"),
        ("x=sort(3,1,2)", "1|2|3"),
        ("x=sort(3,1,2,reverse=true)", "3|2|1"),
        ("x=true,null,1", "true|null|1"),
        ("x=10epochs,5%", "10epochs|5%"),
        ("x='a,b',\"c d\",e", "'a,b'|\"c d\"|e"),
        ("x=[1,2],[3]", "[1,2]|[3]"),
        ("x={a:1},{b:[2]}", "{a:1}|{b:[2]}"),
        ("x=${seed},2", "${seed}|2"),
        ("+model.norm=layer,null", "layer|null"),
        ("augment=[],[flip]", "[]|[flip]"),
    ],
)
def test_lists(text: str, wanted: str) -> None:
    assert choices(text) == tuple(wanted.split("|"))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1", "1.0", True),
        ("0.001", "1e-3", True),
        ("0.30000000000000004", "0.3", True),  # as ranges were once summed up
        ("relu", "'relu'", True),
        ("[1, 2.0]", "[1,2]", True),
        ("true", "True", True),
        ("1", "true", False),
        ("1", "'1'", False),
        ("null", "'null'", False),
        ("9007199254740993", "9007199254740992", False),
        ("${seed}", "${ema}", False),
    ],
)
def test_what_is_written_differently_is_the_same_configuration(left: str, right: str, same: bool) -> None:
    assert (identity({"x": left, "y": "2"}) == identity({"y": "2", "x": right})) is same
    assert (Dimension("x", (right, "other")).held(left) == right) is same


def test_the_order_of_a_shuffled_list_is_always_the_same() -> None:
    found = choices("x=shuffle(range(0,20))")
    assert found == choices("x=shuffle(range(0,20))")
    assert sorted(map(int, found)) == list(range(20))
    assert list(found) != sorted(found, key=int)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x=interval(0,1)", Dimension("x", low=0.0, high=1.0)),
        ("x=tag(log,interval(1e-5,0.1))", Dimension("x", low=1e-5, high=0.1, log=True)),
        ("x=int(interval(1,8))", Dimension("x", low=1.0, high=8.0, integer=True)),
        ("x=tag(log,int(interval(1,100)))", Dimension("x", low=1.0, high=100.0, log=True, integer=True)),
        ("x=int(tag(log,interval(1,100)))", Dimension("x", low=1.0, high=100.0, log=True, integer=True)),
        ("model.x=interval(-2,-1)", Dimension("model.x", low=-2.0, high=-1.0)),
    ],
)
def test_intervals(text: str, wanted: Dimension) -> None:
    assert parse_space([text]) == ((wanted,), [])


def test_what_is_not_swept_is_left_as_it_is() -> None:
    space, fixed = parse_space(["steps=10", "seed=1,2", "logger=[csv,jsonl]", "~augment", "model=mlp,rnn"])
    assert [dimension.key for dimension in space] == ["seed", "model"]
    assert fixed == ["steps=10", "logger=[csv,jsonl]", "~augment"]


def test_glob_takes_the_choices_of_a_group(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Model\n")
    assert choices("model=glob([m*,r*],exclude=rnn)", tmp_path) == ("mine", "mlp")
    assert choices("model=glob(m*)") == ("mlp",)
    assert len(choices("optimizer=glob(*)")) == 10


@pytest.mark.parametrize(
    ("texts", "path", "said"),
    [
        (["x=choice()"], "x", "'choice()' holds no value"),
        (["x=range(5,1)"], "x", "range(5,1,-1)"),
        (["x=range(1,5,0)"], "x", "never ends"),
        (["x=range(0,inf)"], "x", "never ends"),
        (["x=range(0,1000000000)"], "x", "more than 100,000 values"),
        (["x=interval(1,1)"], "x", "one value is x=1"),
        (["x=interval(5,1)"], "x", "did you mean interval(1,5)?"),
        (["x=interval(0,inf)"], "x", "has no end"),
        (["x=interval(nan,1)"], "x", "has no end"),
        (["x=int(interval(0.2,0.8))"], "x", "is empty"),
        (["x=tag(log,interval(0,1))"], "x", "there is no logarithm of 0"),
        (["x=tag(log,choice(1,2))"], "x", "only an interval can be log"),
        (["x=tag(lin,interval(0,1))"], "x", "the tag 'lin' says nothing here"),
        (["x=interval(0,1),2"], "x", "mixes lists and intervals"),
        (["x=intervall(0,1)"], "x", "did you mean 'interval'?"),
        (["x=tag(log,1,2)"], "x", "can't be read"),
        (["x=1,1"], "x", "has 1 twice"),
        (["x=1,2,1.0"], "x", "has the same value twice: 1 and 1.0"),
        (["x=relu,'relu'"], "x", "has the same value twice: relu and 'relu'"),
        (["x=1,2", "y=3", "x=3,4"], "x", "is swept twice"),
        (["x=1,2", "x=3"], "x", "is given one value and swept as well"),
        (["x=1,"], "x", "can't be read"),
        (["~x=1,2"], "x", "can't be swept"),
        (["x=uniform(0,1)"], "x", "there is no uniform(…)"),
        (["model=glob(q*)"], "model", "no model matches 'glob(q*)'"),
        (["steps=glob(*)"], "steps", "glob chooses of a config group"),
        (["mlp"], "", "did you mean model=mlp?"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes(texts: list[str], path: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(texts)
    assert caught.value.path == path
    assert said in str(caught.value)
    assert "Hydra" not in str(caught.value)


def test_a_number_without_end_is_not_its_word() -> None:
    assert parse_space(["x=inf,'inf',nan,'nan'"])[0][0].choices == ("inf", "'inf'", "nan", "'nan'")


PLAIN = st.one_of(
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8),
)


@given(st.lists(PLAIN, min_size=2, max_size=4, unique_by=repr))
def test_values_read_back_as_they_were(values: list[object]) -> None:
    """Whatever a value is: as one of several, quoted where it must be, it is the value that it is alone."""
    texts = [compose.quoted("x", value) if isinstance(value, str) else f"x={_yaml(value)}" for value in values]
    alone = [compose.parse(text) for text in texts]
    try:
        found = sweeps.swept("x=" + ",".join(text.removeprefix("x=") for text in texts))
    except ConfigError as error:
        assert "twice" in str(error)  # noqa: PT017 - 1 and '1' are told apart, 1.0 and 1.0 aren't
        return
    assert found is not None
    for one, text in zip(alone, found.choices, strict=True):
        again = compose.parse(f"x={text}")
        assert one is not None
        assert again is not None
        assert (again.value, type(again.value)) == (one.value, type(one.value))


def _yaml(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def test_numbers_of_an_interval_read_back_as_they_were() -> None:
    dimension = Dimension("x", low=1e-9, high=1.0)
    for value in (0.1 + 0.2, 1e-9, 1 / 3, 5e-7):
        parsed = compose.parse(f"x={dimension.text(value)}")
        assert parsed is not None
        assert parsed.value == value
    assert Dimension("x", low=1, high=9, integer=True).text(3.0) == "3"
    assert dimension.clipped(7.0) == "1.0"
    assert dimension.clipped(0.0) == "1e-09"


def test_combinations() -> None:
    space, _ = parse_space(["a=1,2", "b=x,y,z"])
    assert size(space) == 6
    assert [tuple(values.values()) for values in combinations(space)] == [
        ("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z"),
    ]  # fmt: skip
    assert size((*space, Dimension("c", low=0, high=1))) is None
    whole = (Dimension("c", low=-1, high=1, integer=True),)
    assert size((*space, *whole)) == 18
    assert list(combinations(whole)) == [{"c": "-1"}, {"c": "0"}, {"c": "1"}]


def test_choices_that_a_first_round_does_not_have() -> None:
    space, _ = parse_space(["optimizer=adam,sgd,adamw", "seed=1,2", "ema=interval(0.5,0.9)"])
    met = [{"optimizer": "adam", "seed": "2", "ema": "0.6"}, {"optimizer": "adamw", "seed": "1", "ema": "0.7"}]
    assert list(unmet(space, met)) == [[{"optimizer": "sgd", "seed": "1", "ema": "0.5"}], [], []]
