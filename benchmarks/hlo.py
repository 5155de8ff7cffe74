"""What a compiled program's text tells: its collectives, and what writes most to memory."""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

#: Bytes of a number; other types (tokens, flags of asynchronous operations) are not data.
SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
         "f32": 4, "s64": 8, "u64": 8, "f64": 8}  # fmt: skip
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
#: They name memory that another instruction wrote.
FREE = ("bitcast", "constant", "get-tuple-element", "opt-barrier", "parameter", "tuple", "while")
#: What a fusion is named after: the first of these that it holds.
LEADING = ("convolution", "dot", "select-and-scatter", "scatter", "gather", "reduce-window",
           "reduce")  # fmt: skip

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<label>[\w.-]+) = (?P<type>\(.*?\)|\S+) "
    r"(?P<name>[a-z][\w-]*)\((?P<rest>.*)$"
)
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")
#: The layout of an array that stays on the chip names another memory than the chip's main one.
_ON_CHIP = re.compile(r"S\([1-9]\d*\)")


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
        label: its own, such as "fusion.7".
        name: of the operation, such as "fusion".
        type: of its result, with layouts.
        rest: operands and attributes, as they stand.
    """

    label: str
    name: str
    type: str
    rest: str


class Write(NamedTuple):
    """What operations of one kind write, together.

    Attributes:
        operation: the kind: for a fusion, of what it computes.
        part: "forward", "backward" or "other".
        type: of the numbers.
        size: bytes.
    """

    operation: str
    part: str
    type: str
    size: int


def computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the name of the program's own."""
    found, current, entry = collections.defaultdict(list), "", ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = header[2]
            entry = current if header[1] else entry
        elif current and (match := _INSTRUCTION.match(line)):
            found[current].append(Instruction(*match.group("label", "name", "type", "rest")))
    return dict(found), entry


def collectives(text: str) -> dict[str, int]:
    """How many collectives of each kind there are; their asynchronous halves count as one."""
    names = [
        instruction.name.removesuffix("-start")
        for instructions in computations(text)[0].values()
        for instruction in instructions
    ]
    return {kind: names.count(kind) for kind in COLLECTIVES if kind in names}


def writes(text: str) -> list[Write]:
    """What the program writes to the device's main memory, the largest first.

    Counted are the results of the program's own instructions, fusions as one; what stays on the
    chip is not.
    """
    found, entry = computations(text)
    sizes = collections.Counter()
    for instruction in found[entry]:
        if instruction.name in FREE or instruction.name.endswith("-done"):
            continue
        for kind, size in _results(instruction):
            sizes[_operation(instruction, found), _part(instruction.rest), kind] += size
    return [Write(*key, size) for key, size in sizes.most_common() if size]


def kinds(text: str) -> dict[str, tuple[str, str]]:
    """Operation and part, as in `Write`, of each of the program's instructions, by its label."""
    found, _ = computations(text)
    return {
        instruction.label: (_operation(instruction, found), _part(instruction.rest))
        for instructions in found.values()
        for instruction in instructions
    }


def _results(instruction: Instruction) -> Iterator[tuple[str, int]]:
    """Type and bytes of each array of a result in main memory."""
    arrays = _ARRAY.findall(instruction.type)
    # An asynchronous operation's tuple holds its operand, too.
    if instruction.name == "copy-start":
        arrays = arrays[:1]
    elif instruction.name in ("async-start", "slice-start"):
        arrays = arrays[1:2]
    for kind, shape, layout in arrays:
        if kind in SIZES and not _ON_CHIP.search(layout):
            yield kind, SIZES[kind] * math.prod(int(side) for side in shape.split(",") if side)


def _operation(instruction: Instruction, found: dict[str, list[Instruction]]) -> str:
    if instruction.name != "fusion":
        return instruction.name.removesuffix("-start")
    called = re.search(r"calls=%?([\w.-]+)", instruction.rest)[1]
    inside = {inner.name for inner in found[called]}
    return next((name for name in LEADING if name in inside), "elementwise")


def _part(rest: str) -> str:
    origin = re.search(r'op_name="([^"]*)"', rest)
    if origin is None or "jvp(" not in origin[1]:
        return "other"
    return "backward" if "transpose(jvp(" in origin[1] else "forward"
