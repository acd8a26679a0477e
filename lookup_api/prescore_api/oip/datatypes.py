"""The datatypes of the Open Inference Protocol, in JSON and in the binary form of the same values.

The values of a tensor are a flat list or NumPy array, in row-major order. BYTES are text here: prescore has no others.

The binary form is little-endian without padding. Each element of BYTES follows its length, which takes four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

Values = Any
"""A flat list or one-dimensional NumPy array."""
Kind = Literal["bool", "int", "float", "bytes"]

# Beyond this, neighbours of an integer become the same float, so that the integer that was meant is unknown.
_EXACT = 2.0**53
_LENGTH = struct.Struct("<I")
_QUOTED_CHARACTERS = 60


@dataclass(frozen=True)
class Datatype:
    """A datatype of a tensor.

    `dtype` is what NumPy reads the binary form as, except for BF16 and BYTES. `contents` is the field of gRPC's
    InferTensorContents, empty for the datatypes that only have a binary form there.
    """

    name: str
    kind: Kind
    dtype: str
    contents: str

    @cached_property
    def _limits(self) -> tuple[int, int]:
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)

    def parse(self, values: list[Any]) -> list[Any]:
        """Return values from JSON as this datatype; raise ValueError that names the first invalid one."""
        types = set(map(type, values))
        match self.kind:
            case "bytes":
                return _texts(values, types)
            case "bool":
                return _booleans(values, types)
            case "int":
                return self._integers(values, types)
        return _floats(values, types)

    def unpack(self, content: bytes, count: int) -> Values:
        """Return `count` values from their binary form; raise ValueError if it has another size."""
        if self.kind == "bytes":
            return _unpack_texts(content, count)
        size = np.dtype(self.dtype).itemsize
        if len(content) != count * size:
            raise ValueError(f"{count:,} elements take {count * size:,} bytes, and there are {len(content):,}")
        values = np.frombuffer(content, self.dtype)
        if self.kind == "bool":
            return values != 0
        if self.name == "BF16":
            return (values.astype("<u4") << 16).view("<f4")
        return values

    def pack(self, values: Values) -> bytes:
        """Return values in their binary form. No output is BF16."""
        if self.kind == "bytes":
            return _pack_texts(values)
        return np.asarray(values, self.dtype).tobytes()

    def _integers(self, values: list[Any], types: set[type]) -> list[Any]:
        if not types <= {int}:
            values = [_integer(position, value) for position, value in enumerate(values)]
        lowest, highest = self._limits
        if values and not (lowest <= min(values) and max(values) <= highest):
            position, value = next((p, v) for p, v in enumerate(values) if not lowest <= v <= highest)
            raise ValueError(f"data[{position}] is {value}, which is out of range")
        return values


DATATYPES = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", "bool", "u1", "bool_contents"),
        Datatype("UINT8", "int", "u1", "uint_contents"),
        Datatype("UINT16", "int", "<u2", "uint_contents"),
        Datatype("UINT32", "int", "<u4", "uint_contents"),
        Datatype("UINT64", "int", "<u8", "uint64_contents"),
        Datatype("INT8", "int", "i1", "int_contents"),
        Datatype("INT16", "int", "<i2", "int_contents"),
        Datatype("INT32", "int", "<i4", "int_contents"),
        Datatype("INT64", "int", "<i8", "int64_contents"),
        Datatype("FP16", "float", "<f2", ""),
        Datatype("BF16", "float", "<u2", ""),
        Datatype("FP32", "float", "<f4", "fp32_contents"),
        Datatype("FP64", "float", "<f8", "fp64_contents"),
        Datatype("BYTES", "bytes", "", "bytes_contents"),
    )
}
"""The datatypes by name."""


def _texts(values: list[Any], types: set[type]) -> list[Any]:
    if types <= {str}:
        return values
    position, value = next((p, v) for p, v in enumerate(values) if not isinstance(v, str))
    raise ValueError(
        f'data[{position}] is {_display(value)}, and BYTES takes text. Some clients convert texts such as "1" to '
        "numbers, after which the text is lost: use another client, or gRPC"
    )


def _booleans(values: list[Any], types: set[type]) -> list[Any]:
    if types <= {bool}:
        return values
    for position, value in enumerate(values):
        # Some clients send 1.0 for true.
        if not isinstance(value, int | float) or value not in (0, 1):
            raise ValueError(f"data[{position}] is {_display(value)}, and BOOL takes true or false")
    return list(map(bool, values))


def _floats(values: list[Any], types: set[type]) -> list[Any]:
    if not types <= {int, float}:
        position, value = next((p, v) for p, v in enumerate(values) if type(v) not in (int, float))
        raise ValueError(f"data[{position}] is {_display(value)}, which is not a number")
    return list(map(float, values))


def _integer(position: int, value: Any) -> int:
    if type(value) is int:
        return value
    if not isinstance(value, float) or not value.is_integer():
        raise ValueError(f"data[{position}] is {_display(value)}, which is not a whole number")
    if abs(value) >= _EXACT:
        raise ValueError(
            f"data[{position}] is {value:.1f}, a floating-point number beyond 2^53, which other integers are rounded "
            "to. Send integers without a decimal point, in a binary tensor, or through gRPC"
        )
    return int(value)


def _unpack_texts(content: bytes, count: int) -> list[str]:
    texts = []
    position = 0
    for number in range(count):
        start = position + _LENGTH.size
        if start > len(content):
            raise ValueError(f"element {number:,} of {count:,} is missing")
        (length,) = _LENGTH.unpack_from(content, position)
        position = start + length
        if position > len(content):
            raise ValueError(f"element {number:,} has {length:,} bytes, which is more than there are")
        texts.append(decode(content[start:position], number))
    if position != len(content):
        raise ValueError(f"{len(content) - position:,} bytes follow the last of {count:,} elements")
    return texts


def decode(content: bytes, position: int) -> str:
    """Return an element of BYTES as text; raise ValueError if it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"element {position:,} is not text in UTF-8") from error


def _pack_texts(values: Sequence[str]) -> bytes:
    parts = []
    for value in values:
        content = value.encode()
        parts.append(_LENGTH.pack(len(content)))
        parts.append(content)
    return b"".join(parts)


def _display(value: Any) -> str:
    match value:
        case str():
            return f"the text {value[:_QUOTED_CHARACTERS]!r}"
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
    return "an object"
