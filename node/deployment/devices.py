"""Which device weights are put on, as text that reads the same on every node.

People write a device in many ways: by its name, with keys that change nothing, with blanks. What stands in a manifest
is the shortest of these, checked before a byte of the weights moves.
"""

from protocol.errors import ErrorCode, TaskError


def device_text(backend: str, asked: str | None, default: str) -> str:
    """As manifests hold it, nothing where the backend has none; TaskError names the key that cannot be."""
    if backend == "digital":
        if asked is not None:
            reason = "device: digital weights stand on none: leave it out, or write backend=rram"
            raise TaskError(ErrorCode.BAD_REQUEST, reason)
        return ""
    # A node that holds digital weights alone never loads them.
    from compute.device import DeviceError
    from compute.presets import device as model_of
    from compute.presets import to_text

    try:
        return to_text(model_of(asked or default))
    except DeviceError as wrong:
        raise TaskError(ErrorCode.BAD_REQUEST, f"device: {wrong}") from wrong
