"""Where fault tests write down what they counted: `tests/faults/run.py` makes a table of it."""

from __future__ import annotations

import json
import os


def counted(fault: str, **numbers: int | str) -> None:
    """One line of the table, where one is being made."""
    path = os.environ.get("BIGTRAIN_FAULTS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"fault": fault, **numbers}) + "\n")
