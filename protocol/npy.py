"""The .npy format, as clients send and receive matrices (NEP 1; numpy.lib.format versions 1.0 to 3.0).

Only the header is read here, and it is read as data: nothing is evaluated or unpickled. What may come in is
float32 and float64 in either byte order and either memory order; what goes out is little-endian float32, row by
row.

    0         6         8        10 (v1) or 12 (v2, v3)
    \\x93NUMPY  major minor  length  {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  spaces \\n  values
"""

import math
import re
from dataclasses import dataclass

from protocol.errors import ErrorCode, TaskError
from protocol.limits import BLOCKS_MAX, MATRIX_SIDE_MAX

MAGIC = b"\x93NUMPY"
NPY_HEADER_BYTES_MAX = 64 * 1024
"""The text between the length and the values; numpy writes about 118 bytes."""

VALUES_MAX = BLOCKS_MAX * 1024 * 1024
"""Values of one matrix: as many as fill all blocks that a manifest may have."""

_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Major version to the width of the length field, little-endian."""

_ALIGNMENT = 64
"""Values begin at a multiple of this, so that a mapped file is aligned for vector loads."""

_SIDES_MAX = 32
"""numpy 1's own limit on axes; past it nobody needs to hear how many there are."""

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<text>'[^'\\\n]*'|"[^"\\\n]*")
      | (?P<number>[0-9]+)L?      # Python 2 wrote (3L, 4L)
      | (?P<word>True|False)
      | (?P<sign>[{}()\[\],:])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.ASCII,
)
_DTYPE = re.compile(r"([<>=|]?)([A-Za-z?])([0-9]{0,4})(\[[A-Za-z0-9]{1,8}\])?", re.ASCII)
_KINDS = {
    "b": "bool",
    "i": "int",
    "u": "uint",
    "f": "float",
    "c": "complex",
    "S": "bytes",
    "U": "text",
    "V": "structured",
    "M": "datetime",
    "m": "timedelta",
}
_CAST = "send float32: X.astype(numpy.float32)"


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """Shape and layout of a matrix in a .npy body."""

    shape: tuple[int, ...]
    """One or two sides; whether one is enough is for the request to say."""
    itemsize: int
    """4 or 8 bytes a value."""
    big_endian: bool
    fortran: bool
    header_bytes: int
    """Where the values begin."""

    @property
    def values_bytes(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count * self.itemsize

    @property
    def converted(self) -> tuple[str, ...]:
        """What must be converted to get little-endian float32 rows, in words."""
        words = []
        if self.itemsize == 8:
            words.append("float64 to float32")
        if self.big_endian:
            words.append("big-endian to little-endian")
        if self.fortran and len(self.shape) == 2:
            words.append("Fortran order to row order")
        return tuple(words)


def parse(prefix: bytes | bytearray) -> NpyHeader | None:
    """The header that a body begins with, or None while more of it is needed.

    `prefix` is all that has come so far, and may run on into the values. TaskError (BAD_REQUEST) says what is
    wrong and what to send instead, as early as that can be seen.
    """
    if not MAGIC.startswith(prefix[:6]) and prefix[:6] != MAGIC:
        raise _refused(
            "the body is not a .npy file (it begins with other bytes): write it with numpy.save"
        )
    if len(prefix) < 8:
        return None
    begins = 8 + _length_bytes(prefix[6])
    if len(prefix) < begins:
        return None
    length = int.from_bytes(prefix[8:begins], "little")
    if length > NPY_HEADER_BYTES_MAX:
        raise _refused(
            f"the .npy header has {length} bytes, and at most {NPY_HEADER_BYTES_MAX} are read"
        )
    if len(prefix) < begins + length:
        return None
    # Latin-1 takes any byte; what is not ASCII then fails as a token, in version 3 (UTF-8) too.
    return _header(bytes(prefix[begins : begins + length]).decode("latin-1"), begins + length)


def encode_header(shape: tuple[int, ...]) -> bytes:
    """What stands before little-endian float32 values in row order (version 1.0)."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape!r}, }}"
    room = len(MAGIC) + 2 + 2 + len(text) + 1
    text += " " * (-room % _ALIGNMENT) + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def require_2d(header: NpyHeader, what: str) -> tuple[int, int]:
    """The shape of a matrix; TaskError where `what` (such as "weights") has one side only."""
    if len(header.shape) == 2:
        return header.shape[0], header.shape[1]
    side = header.shape[0]
    raise _refused(
        f"{what} must have two sides, and these have the shape ({side},):"
        f" write W.reshape({side}, 1) or W.reshape(1, {side})"
    )


def _length_bytes(major: int) -> int:
    if major not in _LENGTH_BYTES:
        raise _refused(
            f"the .npy file has version {major}, and 1 to 3 are known: write it with numpy.save"
        )
    return _LENGTH_BYTES[major]


def _header(text: str, header_bytes: int) -> NpyHeader:
    fields = _Fields(text).read()
    descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    if not isinstance(descr, str):
        raise _refused(f"'descr' of the .npy header must be a text such as '<f4': {_CAST}")
    if not isinstance(fortran, bool):
        raise _refused("'fortran_order' of the .npy header must be True or False")
    if not isinstance(shape, tuple):
        raise _refused("'shape' of the .npy header must be a tuple of whole numbers such as (3, 4)")
    itemsize, big_endian = _values(descr)
    return NpyHeader(_checked_shape(shape), itemsize, big_endian, fortran, header_bytes)


def _values(descr: str) -> tuple[int, bool]:
    """Bytes a value and whether the greatest comes first; without a mark, as on all machines we run on."""
    match = _DTYPE.fullmatch(descr)
    if match is None:
        raise _refused(f"the dtype {descr[:40]!r} of the .npy header is unknown: {_CAST}")
    order, kind, size, _unit = match.groups()
    if kind == "f" and size in ("4", "8"):
        return int(size), order == ">"
    if kind == "O":
        raise _refused(f"an array of objects is never unpickled: {_CAST}")
    if kind == "c":
        raise _refused(
            "complex values are not multiplied: send X.real.astype(numpy.float32) and"
            " X.imag.astype(numpy.float32) one after the other"
        )
    name = _KINDS.get(kind, f"of kind {kind!r}")
    bits = str(int(size) * 8) if size and kind in "iuf" else ""
    raise _refused(f"values of dtype {name}{bits} are not taken, float32 and float64 are: {_CAST}")


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape:
        raise _refused("the array has no sides (0-d): send at least one row, X.reshape(1, -1)")
    if len(shape) > 2:
        raise _refused(
            f"the array has {len(shape)} sides and at most 2 are taken: X.reshape(-1, X.shape[-1])"
        )
    if 0 in shape:
        raise _refused(
            f"the array is empty: its shape is {shape}, and each side must be at least 1"
        )
    if max(shape) > MATRIX_SIDE_MAX:
        raise _refused(f"a side of {shape} is longer than {MATRIX_SIDE_MAX}: send it in parts")
    if math.prod(shape) > VALUES_MAX:
        raise _refused(f"an array of {shape} has more than {VALUES_MAX} values: send it in parts")
    return shape


Field = str | bool | tuple[int, ...]


class _Fields:
    """Reads the one dict that a header may be: three keys, each a text, a switch or a tuple of numbers.

    Not `ast.literal_eval`: 64 KiB of brackets or signs drive a general parser into its recursion limits, and this
    grammar has no recursion at all.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        self._expect("{")
        while not self._took("}"):
            key = self._key(fields)
            self._expect(":")
            fields[key] = self._field()
            if not self._took(","):
                self._expect("}")
                break
        if self._next().lastgroup != "end":
            raise _refused("the .npy header goes on after its dict: write the file with numpy.save")
        if missing := sorted({"descr", "fortran_order", "shape"} - fields.keys()):
            raise _refused(f"the .npy header lacks {missing[0]!r}: write the file with numpy.save")
        return fields

    def _key(self, fields: dict[str, Field]) -> str:
        key = self._next()["text"]
        if key is None:
            raise self._malformed()
        if key[1:-1] in fields:
            raise _refused(f"the .npy header says {key[1:-1]!r} twice")
        if key[1:-1] not in ("descr", "fortran_order", "shape"):
            raise _refused(
                f"the .npy header has a key {key[1:-1][:40]!r} that is unknown: write it with numpy.save"
            )
        return key[1:-1]

    def _field(self) -> Field:
        token = self._next()
        if (text := token["text"]) is not None:
            return text[1:-1]
        if (word := token["word"]) is not None:
            return word == "True"
        if token["sign"] == "(":
            return self._tuple()
        if token["sign"] == "[":
            raise _refused(
                f"a structured array has no plain values: take one field of it and {_CAST}"
            )
        raise self._malformed()

    def _tuple(self) -> tuple[int, ...]:
        sides: list[int] = []
        while not self._took(")"):
            number = self._next()["number"]
            if number is None:
                raise self._malformed()
            # More digits than a 64-bit count has; int() of thousands of digits is slow, then an error.
            sides.append(int(number) if len(number) < 20 else 10**20)
            if len(sides) > _SIDES_MAX:
                raise _refused(
                    f"the array has more than {_SIDES_MAX} sides and at most 2 are taken"
                )
            if not self._took(","):
                self._expect(")")
                break
        return tuple(sides)

    def _next(self) -> re.Match[str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._malformed()
        self._at = match.end()
        return match

    def _took(self, sign: str) -> bool:
        before = self._at
        if self._next()["sign"] == sign:
            return True
        self._at = before
        return False

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise self._malformed()

    def _malformed(self) -> TaskError:
        around = self._text[self._at : self._at + 20]
        return _refused(
            f"the .npy header cannot be read at {around!r}: write the file with numpy.save"
        )


def _refused(reason: str) -> TaskError:
    return TaskError(ErrorCode.BAD_REQUEST, reason)
