"""What nodes of neighbouring versions understand of each other's digests."""

import msgspec

from protocol.digests import DeviceProfile, RegimeCosts, Text


class FormerProfile(msgspec.Struct, frozen=True, array_like=True):
    """As it was before arrays were told."""

    backend: Text = ""
    device: Text = ""
    workers: int = 0


PROFILE = DeviceProfile(
    "rram",
    "rram-harsh",
    4,
    arrays=12,
    healthy=0.25,
    sigma=(0.01, 0.02, 0.03),
    stuck=0.1,
    writes=2,
    costs=RegimeCosts(fast=1e-9),
)


def test_a_node_that_tells_nothing_of_arrays_has_none() -> None:
    told = msgspec.msgpack.encode(FormerProfile("rram", "rram-wan2022", 2))

    assert msgspec.msgpack.decode(told, type=DeviceProfile) == DeviceProfile(
        "rram", "rram-wan2022", 2
    )


def test_a_node_that_knows_nothing_of_arrays_understands_the_rest() -> None:
    told = msgspec.msgpack.encode(PROFILE)

    former = msgspec.msgpack.decode(told, type=FormerProfile)
    assert former == FormerProfile("rram", "rram-harsh", 4)
    assert msgspec.msgpack.decode(told, type=DeviceProfile) == PROFILE
