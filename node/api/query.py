"""Query strings and control bodies as checked requests.

What nobody knows is an error that offers the nearest name: a misspelt `?rtoll=1e-4` that is ignored would give an
answer less exact than its asker believes.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, TypeVar

import msgspec

from protocol.client import MatmulRequest, PutRequest
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.quantities import duration_s, tolerance

SHOWN_CHARS = 64
"""Of a word that is refused, in the refusal."""

Request = TypeVar("Request", bound=msgspec.Struct)
Pairs = Iterable[tuple[str, str]]
"""Parameters in the order in which they came; a name may stand there twice."""


class _CheckedPut(PutRequest, frozen=True, kw_only=True):
    """msgspec (0.22) checks against bounds of 64 bits with a sign only, and `seed < 1 << 63` has one that is longer."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0


def put_request(name: str, query: Pairs, if_match: str | None, deadline_s: float) -> PutRequest:
    given: dict[str, object] = {
        "name": name,
        "if_match": wanted_version(if_match),
        "deadline_s": deadline_s,
    }
    checked = _request(_CheckedPut, given, query, _PUT)
    return PutRequest(**msgspec.structs.asdict(checked))


def matmul_request(
    name: str, query: Pairs, *, rtol: float | None, deadline_s: float
) -> MatmulRequest:
    """`rtol` and `deadline_s` hold where the query says nothing."""
    given: dict[str, object] = {"name": name, "rtol": rtol, "deadline_s": deadline_s}
    return _request(MatmulRequest, given, query, _MATMUL)


def weights_format(query: Pairs) -> str:
    """json or npy."""
    wanted = _once(query, ("format",)).get("format", "json")
    if wanted not in ("json", "npy"):
        raise _bad(f"format={wanted}: write json or npy")
    return wanted


def no_parameters(query: Pairs) -> None:
    _once(query, ())


def wanted_version(if_match: str | None) -> str | None:
    """The version in an If-Match header, None where there is none."""
    if if_match is None:
        return None
    version = if_match.strip()
    if len(version) < 3 or version[0] != '"' or version[-1] != '"' or '"' in version[1:-1]:
        raise _bad(f"If-Match: {if_match}: write the one version that ETag told, in double quotes")
    return version[1:-1]


def control_request(kind: type[Request], body: bytes, content_type: str) -> Request:
    """A JSON or MessagePack object as `kind`; an empty body stands for an empty object."""
    given = _object(body, content_type) if body else {}
    for key in given:
        if key not in kind.__struct_fields__:
            raise _unknown(key, kind.__struct_fields__)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _bad(_plain(error)) from error


def is_msgpack(content_type: str) -> bool:
    return any(
        f"application/{kind}" in content_type for kind in ("msgpack", "x-msgpack", "vnd.msgpack")
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean seed?)`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(",") if label.strip())


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError("write true or false")
    return text == "true"


Reader = Callable[[str], object]
_PUT: Mapping[str, tuple[str, Reader]] = {
    "replicas": ("replicas", str),
    "backend": ("backend", str),
    "device": ("device", str),
    "seed": ("seed", str),
    "only": ("only", _labels),
    "avoid": ("avoid", _labels),
    "deadline": ("deadline_s", duration_s),
}
"""Parameter to the request's field and what reads it; msgspec checks numbers and bounds after that."""
_MATMUL: Mapping[str, tuple[str, Reader]] = {
    "rtol": ("rtol", tolerance),
    "deadline": ("deadline_s", duration_s),
    "transpose": ("transpose", _switch),
    "deterministic": ("deterministic", _switch),
}


def _request(
    kind: type[Request],
    given: dict[str, object],
    query: Pairs,
    parameters: Mapping[str, tuple[str, Reader]],
) -> Request:
    words = _once(query, parameters, many=("only", "avoid"))
    for parameter, text in words.items():
        field, read = parameters[parameter]
        try:
            given[field] = read(text)
        except ConfigError as error:
            raise _bad(f"{parameter}={text}: {error}") from error
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _bad(_out_of_bounds(error, words, parameters)) from error


def _once(query: Pairs, known: Iterable[str], many: tuple[str, ...] = ()) -> dict[str, str]:
    """Each parameter with its text; those in `many` may be repeated, and are joined by commas."""
    known = tuple(known)
    words: dict[str, str] = {}
    for parameter, text in query:
        if parameter not in known:
            raise _unknown(parameter, known)
        if parameter in words and parameter not in many:
            raise _bad(f"{parameter} stands there twice: write it once")
        words[parameter] = f"{words[parameter]},{text}" if parameter in words else text
    return words


def _out_of_bounds(
    error: msgspec.ValidationError,
    words: Mapping[str, str],
    parameters: Mapping[str, tuple[str, Reader]],
) -> str:
    message, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`").partition("[")[0]
    if field == "name":
        return (
            "weights are named by 1 to 64 letters, digits, dots, dashes and underscores,"
            " the first a letter or a digit"
        )
    parameter = next((word for word, (name, _) in parameters.items() if name == field), field)
    return f"{parameter}={words.get(parameter, '')[:SHOWN_CHARS]}: {_lower(message)}"


def _object(body: bytes, content_type: str) -> dict[str, object]:
    try:
        if is_msgpack(content_type):
            return msgspec.msgpack.decode(body, type=dict[str, object])
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "MessagePack" if is_msgpack(content_type) else "JSON"
        raise _bad(f"the body is no {what} object: {_lower(str(error))}") from error


def _plain(error: msgspec.ValidationError) -> str:
    message, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`')}: {_lower(message)}" if path else _lower(message)


def _lower(message: str) -> str:
    return (message[:1].lower() + message[1:]).replace("`", "")


def _unknown(word: str, known: Iterable[str]) -> TaskError:
    known = tuple(known)
    hint = nearest(word, known) or (f" (known: {', '.join(known)})" if known else "")
    return _bad(f"{word[:64]}: no such parameter{hint}")


def _bad(reason: str) -> TaskError:
    return TaskError(ErrorCode.BAD_REQUEST, reason)
