"""A `Spec` as JSON: with it a trained model is used where the data isn't."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from bigtrain.config.errors import InputError
from bigtrain.data.spec import Field, Spec, Vocabulary


def spec_to_json(spec: Spec) -> str:
    """The spec as JSON text."""
    plain = {
        "name": spec.name,
        "fields": {name: dataclasses.asdict(entry) for name, entry in spec.fields.items()},
        "sizes": dict(spec.sizes),
        "classes": spec.classes,
        "vocabulary": dataclasses.asdict(spec.vocabulary) if spec.vocabulary else None,
    }
    return json.dumps(plain, indent=1)


def spec_from_json(plain: Any, where: object) -> Spec:
    """The spec from parsed JSON; `where` names the file in the error for one that is no spec."""
    try:
        fields = {str(name): _field(entry) for name, entry in plain["fields"].items()}
        vocabulary = plain.get("vocabulary")
        return Spec(
            str(plain["name"]),
            fields,
            dict(plain["sizes"]),
            tuple(plain["classes"]) if plain.get("classes") is not None else None,
            Vocabulary(tuple(vocabulary["symbols"]), bool(vocabulary["raw"])) if vocabulary else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: is no data spec: {error!r}") from error


def _field(entry: dict[str, Any]) -> Field:
    values: dict[str, Any] = {**entry, "shape": tuple(int(size) for size in entry["shape"])}
    return Field(**values)
