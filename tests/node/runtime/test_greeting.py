"""Who may talk to whom, and what both operators read if they may not."""

import pytest

from node.runtime.greeting import OWN_ADDRESS, Terms, Unfit
from protocol.errors import ErrorCode
from protocol.ids import MeshId, NodeId
from protocol.limits import PROTOCOL_MAX, PROTOCOL_MIN
from protocol.messages import Hello

ANNA, BERT = NodeId("anna" * 13), NodeId("bert" * 13)
MESH, OTHER = MeshId("1" * 64), MeshId("2" * 64)

OURS = Terms(ANNA, MESH, "sedma-node 1.4", protocol_min=2, protocol_max=3)


def hello(
    node: NodeId = BERT,
    mesh: MeshId | None = MESH,
    low: int = 2,
    high: int = 3,
    software: str = "sedma-node 1.5",
) -> Hello:
    return Hello(protocol_min=low, protocol_max=high, software=software, mesh=mesh, node=node)


def judged(theirs: Hello, proven: str | None, terms: Terms = OURS) -> Unfit:
    with pytest.raises(Unfit) as unfit:
        terms.judge(theirs, proven, dialed=False)
    return unfit.value


def test_a_hello_says_who_we_are() -> None:
    said = OURS.hello(bulk=True)

    assert (said.node, said.mesh, said.bulk) == (ANNA, MESH, True)
    assert (said.protocol_min, said.protocol_max) == (2, 3)


@pytest.mark.parametrize(("low", "high"), [(2, 3), (1, 2), (3, 9), (1, 9)])
def test_versions_that_overlap_fit(low: int, high: int) -> None:
    OURS.judge(hello(low=low, high=high), BERT, dialed=True)


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (4, 6, "update node annaanna from sedma-node 1.4"),
        (1, 1, "update node bertbert from sedma-node 1.5"),
    ],
)
def test_versions_apart_name_both_ranges_and_the_node_to_update(
    low: int, high: int, advice: str
) -> None:
    unfit = judged(hello(low=low, high=high), BERT)

    assert unfit.code is ErrorCode.VERSION_MISMATCH
    assert f"protocol versions {low} to {high}" in str(unfit)
    assert "(sedma-node 1.4) 2 to 3" in str(unfit)
    assert str(unfit).endswith(advice)


def test_both_sides_name_the_same_node_to_update() -> None:
    newer = Terms(BERT, MESH, "sedma-node 1.5", protocol_min=4, protocol_max=4)

    here = judged(newer.hello(bulk=False), BERT)
    there = judged(OURS.hello(bulk=False), ANNA, newer)

    assert str(here).split("update")[1] == str(there).split("update")[1]


def test_another_mesh_is_named() -> None:
    unfit = judged(hello(mesh=OTHER), BERT)

    assert unfit.code is ErrorCode.WRONG_MESH
    assert "mesh 22222222, this one to 11111111" in str(unfit)


@pytest.mark.parametrize(
    ("proven", "shown"),
    [(None, "shows no certificate"), ("carl" * 13, "shows the certificate of carlcarl")],
)
def test_nobody_is_believed_an_id_without_its_certificate(proven: str | None, shown: str) -> None:
    unfit = judged(hello(), proven)

    assert unfit.code is ErrorCode.FORBIDDEN
    assert shown in str(unfit)


def test_plain_links_believe_what_is_said() -> None:
    Terms(ANNA, MESH, "", plain=True).judge(
        hello(low=PROTOCOL_MIN, high=PROTOCOL_MAX), None, dialed=True
    )


def test_our_own_id_is_ourselves() -> None:
    assert OWN_ADDRESS in str(judged(hello(node=ANNA), ANNA))


def test_a_stranger_may_come_but_is_not_dialed() -> None:
    OURS.judge(hello(mesh=None), None, dialed=False)

    with pytest.raises(Unfit, match="belongs to no mesh"):
        OURS.judge(hello(mesh=None), BERT, dialed=True)


def test_a_joiner_talks_to_a_member_of_the_mesh_it_wants() -> None:
    joiner = Terms(ANNA, None, "", protocol_min=2, protocol_max=3)

    joiner.judge(hello(), BERT, dialed=True)
    assert judged(hello(low=4, high=4), BERT, joiner).code is ErrorCode.VERSION_MISMATCH
    assert judged(hello(), "carl" * 13, joiner).code is ErrorCode.FORBIDDEN
