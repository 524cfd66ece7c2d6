"""What a product keeps of its reckoning stays small, however many panels it has."""

from pathlib import Path

import numpy as np
import pytest

from compute.partition import BlockGrid
from node.execution.dealing import COSTS_KEPT, HANDS_KEPT, Dealer, Hand
from protocol.client import MatmulRequest
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockEntry, Manifest, ManifestHead
from tests.node.execution.bench_mesh import VERSION, BenchMesh, Weights

ANNA = NodeId("anna")
GRID = BlockGrid(4096, 3072)


@pytest.fixture
def dealer(tmp_path: Path) -> Dealer:
    """Of weights in 12 blocks, which anna holds."""
    small = Weights(tmp_path, np.zeros((8, 8), np.float32), "digital", lambda block: (ANNA,))
    head = ManifestHead(
        name="w",
        version=VERSION,
        rows=GRID.rows,
        columns=GRID.columns,
        backend="digital",
        holders=(ANNA,),
        blocks=GRID.count,
    )
    entry = BlockEntry(ContentId("c"), ContentId("s"), (0,))
    manifest = Manifest(head, (entry,) * GRID.count)
    return Dealer(manifest, MatmulRequest(name="w"), BenchMesh(small))


def test_prices_are_kept_for_few_numbers_of_rows_however_many_panels_there_are(
    dealer: Dealer,
) -> None:
    first = dealer.decide(dealer.blocks, 900, now=0.0)
    for rows_left in range(900, 0, -30):
        dealer.decide(dealer.blocks, rows_left, now=0.0)
        dealer.decide(dealer.blocks, 30, now=0.0)

    assert len(dealer._costs) == COSTS_KEPT
    assert dealer.decide(dealer.blocks, 900, now=0.0) == first


def test_widths_are_kept_for_few_hands_however_often_blocks_are_dealt(dealer: Dealer) -> None:
    whole = Hand(ANNA, dealer.blocks)
    need = dealer.part_bytes(whole, 1)
    for number in range(1, 1 << GRID.count):
        some = [block for place, block in enumerate(dealer.blocks) if number >> place & 1]
        dealer.part_bytes(Hand(ANNA, tuple(some)), 1)

    assert len(dealer._widths) == GRID.count + HANDS_KEPT
    assert dealer.part_bytes(whole, 1) == need
