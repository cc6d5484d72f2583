"""Which values an annotation admits, and what the callee gets."""

from __future__ import annotations

import ast

import pytest

from bigtrain.config import kinds
from bigtrain.config.duration import Duration

INF, NAN, HUGE = float("inf"), float("nan"), 10**400


def kind_of(annotation: str) -> kinds.Kind:
    return kinds.from_annotation(ast.parse(annotation, mode="eval").body)


@pytest.mark.parametrize(
    ("annotation", "value", "converted"),
    [
        ("int", 3, 3),
        ("int", 3.0, 3),
        ("float", 3, 3.0),
        ("str", "a", "a"),
        ("str", 3, "3"),
        ("bool", True, True),
        ("None", None, None),
        ("int | None", None, None),
        ("Optional[int]", 3, 3),
        ("Union[int, str]", "a", "a"),
        ("'int'", 3, 3),
        ("Annotated[int, 'note']", 3, 3),
        ("typing.Literal['a', 1]", 1, 1),
        ("Literal[True]", True, True),
        ("tuple[int, ...]", [1, 2], (1, 2)),
        ("Sequence[float]", (1, 2), (1.0, 2.0)),
        ("tuple[int, int]", [1, 2], (1, 2)),
        ("list[str]", [], ()),
        ("dict[str, int]", {"a": 1}, {"a": 1}),
        ("Mapping[str, int]", {}, {}),
        ("base.ScalarOrSchedule", 3, 3),
        ("jax.typing.ArrayLike", 0.5, 0.5),
        ("PositiveInt", 1, 1),
        ("values.Rate", 0, 0.0),
        ("Fraction", 1, 1.0),
        ("Steps", "10epochs", Duration(10, "epochs")),
        ("Steps", 5, Duration(5, "steps")),
        ("Component", {"_target_": "x"}, {"_target_": "x"}),
        ("Callable[[int], int]", "anything", "anything"),
        ("int | Whatever", "anything", "anything"),
        ("str | int", 3, 3),  # a string would admit the number too
    ],
)
def test_admitted(annotation: str, value: object, converted: object) -> None:
    found = kind_of(annotation).convert(value)
    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", 1.5), ("int", True), ("int", "3"), ("int", INF), ("int", NAN), ("int", HUGE), ("int", None),
        ("float", "3"), ("float", False), ("float", NAN), ("float", INF), ("float", HUGE), ("float", -HUGE),
        ("str", True), ("str", None), ("str", ["a"]), ("bool", 1), ("bool", "true"),
        ("Literal['a', 1]", True), ("Literal[1]", True), ("Literal[True]", 1), ("Literal['a']", ["a"]),
        ("tuple[int, ...]", "12"), ("tuple[int, ...]", 3), ("tuple[int, ...]", [1, "a"]), ("tuple[int, int]", [1]),
        ("dict[str, int]", []), ("ArrayLike", True), ("ArrayLike", NAN), ("ArrayLike", -INF), ("ArrayLike", HUGE),
        ("ArrayLike", "x"),
        ("PositiveInt", 0), ("NonNegativeInt", -1), ("PositiveFloat", 0.0), ("NonNegativeFloat", -1e-9),
        ("Fraction", 1.1), ("Rate", 1.0), ("Rate", NAN), ("Steps", -1), ("Steps", "soon"), ("Steps", True),
        ("Steps", None), ("Component", "mlp"), ("PositiveInt | Literal['auto']", "best"),
    ],
)  # fmt: skip
def test_refused(annotation: str, value: object) -> None:
    kind = kind_of(annotation)
    with pytest.raises(kinds.Mismatch) as caught:
        kind.convert(value)
    assert str(caught.value) == kind.text
    assert not kind.takes(value)


def test_texts_say_what_is_allowed() -> None:
    assert kind_of("PositiveInt | Literal['auto'] | None").text == "an integer at least 1 or auto or null"
    assert kind_of("tuple[Rate, Rate]").text == "a list of 2 values, each a number within [0, 1)"
    assert kind_of("Literal['a', None]").text == "a, null"
    assert kind_of("NonNegativeFloat").text == "a number at least 0"
    assert kind_of("PositiveFloat").text == "a number above 0"


def test_no_annotation_admits_anything() -> None:
    assert kinds.from_annotation(None) is kinds.ANYTHING
    assert kind_of("'not valid python ('") is kinds.ANYTHING
