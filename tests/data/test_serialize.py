"""The spec as JSON: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bigtrain.config.errors import InputError
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.spec import Field, Spec, Vocabulary

FIELDS = {"inputs": Field((8,), "uint8", "tokens"), "targets": Field((), "int32", "label", low=None)}
SPEC = Spec("it", FIELDS, {"train": 3}, ("a", "b"), Vocabulary(("x", "y")))


def test_what_is_written_is_read() -> None:
    assert spec_from_json(json.loads(spec_to_json(SPEC)), "spec.json") == SPEC


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fields.inputs.kind", "picture"), ("fields.inputs.kind", ["tokens"]), ("fields.inputs.kind", "label"),
        ("fields.inputs.dtype", "object"), ("fields.inputs.dtype", "V9999999"), ("fields.inputs.dtype", "f4,f4"),
        ("fields.inputs.dtype", None), ("fields.inputs.dtype", "complex64"), ("fields.inputs.dtype", "<U3"),
        ("fields.inputs.shape", [0]), ("fields.inputs.shape", [-1]), ("fields.inputs.shape", [2**31, 2]),
        ("fields.inputs.shape", ["8"]), ("fields.inputs.shape", "8"), ("fields.inputs.shape", [True]),
        ("fields.inputs.shape", [1] * 99), ("fields.inputs.scale", "1"), ("fields.inputs.scale", None),
        ("fields.inputs.scale", float("nan")), ("fields.inputs.scale", 10**400), ("fields.inputs.low", "0"),
        ("fields.inputs.more", 1), ("fields.inputs", []), ("fields", []), ("fields", {}), ("sizes.train", 1.5),
        ("sizes.train", "3"), ("sizes.rest", 3), ("sizes", None), ("classes", "ab"), ("classes", [1, 2]),
        ("classes", None), ("vocabulary", None), ("vocabulary.symbols", [1]), ("vocabulary.raw", 1), ("name", 3),
        ("vocabulary", ["x"]),
    ],
)  # fmt: skip
def test_anything_else_is_no_spec(path: str, value: Any) -> None:
    plain = json.loads(spec_to_json(SPEC))
    *parents, last = path.split(".")
    at = plain
    for name in parents:
        at = at[name]
    at[last] = value
    with pytest.raises(InputError, match=r"^spec\.json: is no data spec: "):
        spec_from_json(plain, "spec.json")


@pytest.mark.parametrize("plain", [None, [], 3, "x", {}])
def test_no_table(plain: Any) -> None:
    with pytest.raises(InputError, match="is no data spec"):
        spec_from_json(plain, "spec.json")
