"""A compiled program's text: its computations, and how often each runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{\s*$")
_NAME = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|branch_computations)=\{?((?:%?[\w.\-]+(?:, ?)?)+)\}?")
_TRIPS = re.compile(r'"?known_trip_count"?\s*[:=]\s*\{\s*"?n"?\s*[:=]\s*"?(\d+)"?')
_WIDTHS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}


@dataclass(frozen=True)
class Instruction:
    """One line: the result's name and type, the operation, and what follows."""

    name: str
    type: str
    opcode: str
    rest: str

    @property
    def called(self) -> list[str]:
        """The computations that it runs."""
        found = []
        for match in _CALLED.finditer(self.rest):
            found += [name.strip().lstrip("%") for name in match[1].split(",") if name.strip()]
        return found

    def named(self, role: str) -> str | None:
        """The computation in one role: body or condition."""
        match = re.search(rf"\b{role}=%?([\w.\-]+)", self.rest)
        return match[1] if match else None


@dataclass(frozen=True)
class Module:
    """The computations of a program by name."""

    computations: Mapping[str, Sequence[Instruction]]
    entry: str

    def runs(self) -> Iterator[tuple[Instruction, float, str]]:
        """Each instruction with how often it runs and the name of its computation.

        A loop whose length the compiler doesn't know counts as one pass: that over the steps of a dispatch.
        """
        yield from self._runs(self.entry, 1.0)

    def _runs(self, name: str, times: float) -> Iterator[tuple[Instruction, float, str]]:
        for instruction in self.computations.get(name, ()):
            yield instruction, times, name
            if instruction.opcode == "while":
                body = instruction.named("body")
                yield from self._runs(body or "", times * self._trips(instruction))
            elif instruction.opcode in ("fusion", "call", "conditional", "async-start"):
                for called in instruction.called:
                    yield from self._runs(called, times)

    def _trips(self, loop: Instruction) -> int:
        """How often a loop runs: as the compiler says, or the constant that its condition compares with."""
        known = _TRIPS.search(loop.rest)
        if known:
            return int(known[1])
        condition = self.computations.get(loop.named("condition") or "", ())
        constants = [entry for entry in condition if entry.opcode == "constant" and entry.type.startswith("s32[]")]
        if len(constants) != 1 or not any("direction=LT" in entry.rest for entry in condition):
            return 1
        value = re.match(r"(\d+)\)", constants[0].rest)
        return int(value[1]) if value else 1


def parse(text: str) -> Module:
    """Reads the text that `compiled.as_text()` gives."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header and " = " not in line.split("(")[0]:
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and (named := _NAME.match(line)):
            rest = line[named.end() :]
            operation = _OPCODE.search(f" {rest}") if not rest.startswith("(") else _after_tuple(rest)
            if operation is not None:
                at = operation.start() - (0 if rest.startswith("(") else 1)
                current.append(Instruction(named[1], rest[: max(at, 0)], operation[1], rest[at:].partition("(")[2]))
    return Module(computations, entry)


def _after_tuple(rest: str) -> re.Match[str] | None:
    """The operation behind a tuple type, whose layouts have brackets of their own."""
    depth = 0
    for at, letter in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return _OPCODE.search(rest, at)
    return None


def arrays(type_text: str) -> list[int]:
    """The bytes of each array in a type; of one alone, or of all in a tuple."""
    found = []
    for dtype, dims in _ARRAY.findall(re.sub(r"\{[^{}]*\}", "", type_text)):
        width = _WIDTHS.get(dtype) or int((re.search(r"\d+", dtype) or ["0"])[0])
        found.append(math.ceil(math.prod(int(size) for size in dims.split(",") if size) * width / 8))
    return found
