"""What a node tells of its arrays."""

from dataclasses import replace

import pytest

from compute.health import HealthSummary
from node.deployment.arrays import COSTS_KEPT_S, REMNANTS_MAX, Inventory
from node.memory.short_term import REGIMES
from node.work import BlockArrays
from protocol.digests import DeviceProfile, RegimeCosts, WeightsVersion
from protocol.messages import StoreBlock

VERSION, NEXT = WeightsVersion(1, 0, "a"), WeightsVersion(2, 0, "a")
OWN = DeviceProfile("rram", "rram-wan2022", 4)
SOUND = HealthSummary(10, 10, (0.01, 0.02, 0.03), 0.0, writes=1, age_s=0.0)
BAD = HealthSummary(30, 0, (0.05, 0.06, 0.07), 0.1, writes=4, age_s=9.0)


def arrays(health: HealthSummary = SOUND, slices: int = 1) -> BlockArrays:
    return BlockArrays(health, slices, slices, 1, error=0.1, dearer=1.0, drift_t0_s=None)


def block(
    column: int, rows: int = 256, columns: int = 128, version: WeightsVersion = VERSION
) -> StoreBlock:
    return StoreBlock(
        put="p",
        name="w",
        version=version,
        block=(0, column),
        rows=rows,
        columns=columns,
        backend="rram",
        device="",
        seed=0,
    )


def told(inventory: Inventory, now: float = 0.0, **costs: float) -> DeviceProfile:
    return inventory.profile(OWN, costs, now)


def test_a_node_without_arrays_tells_what_it_would_multiply_with() -> None:
    assert told(Inventory()) == OWN


def test_health_is_that_of_all_tiles_together() -> None:
    inventory = Inventory()
    inventory.record(block(0), arrays(SOUND), 0.0)
    inventory.record(block(1), arrays(BAD), 0.0)

    profile = told(inventory)

    assert profile.healthy == 0.25
    assert profile.sigma == (0.04, 0.05, 0.06)
    assert (profile.stuck, profile.writes) == (0.075, 4)
    assert (profile.backend, profile.device, profile.workers) == ("rram", "rram-wan2022", 4)


def test_cells_that_drift_are_told_again_when_they_are_worse_by_an_eighth() -> None:
    def sigma_told(*sigma: float) -> tuple[float, ...]:
        worse = replace(SOUND, sigma=(sigma[0], sigma[1], sigma[2]))
        inventory.record(block(0), arrays(worse), 0.0)
        return told(inventory).sigma

    inventory = Inventory()

    assert sigma_told(0.02, 0.03, 0.04) == (0.02, 0.03, 0.04)
    assert sigma_told(0.022, 0.033, 0.044) == (0.02, 0.03, 0.04)
    assert sigma_told(0.022, 0.033, 0.046) == (0.022, 0.033, 0.046)
    assert sigma_told(0.022, 0.028, 0.046) == (0.022, 0.028, 0.046)


def test_cells_that_are_nearly_right_may_be_so_by_any_factor() -> None:
    inventory = Inventory()
    for sigma in (1e-4, 3e-4, 9e-4):
        best = replace(SOUND, sigma=(sigma, sigma, sigma))
        inventory.record(block(0), arrays(best), 0.0)
        assert told(inventory).sigma == (1e-4, 1e-4, 1e-4)


def test_further_arrays_and_writings_are_told_at_once() -> None:
    inventory = Inventory()
    inventory.record(block(0), arrays(), 0.0)
    before = told(inventory)

    inventory.record(block(0), arrays(replace(SOUND, writes=2), slices=2), 0.0)

    after = told(inventory)
    assert (after.arrays, after.writes) == (2 * before.arrays, 2)


def test_remnants_share_arrays_and_both_polarities_count() -> None:
    inventory = Inventory()
    inventory.record(block(0, 256, 128), arrays(), 0.0)
    assert told(inventory).arrays == 2 * 2
    inventory.record(block(1, 64, 64), arrays(), 0.0)
    assert told(inventory).arrays == 2 * 3
    for column in (2, 3, 4):
        inventory.record(block(column, 64, 64), arrays(), 0.0)
    assert told(inventory).arrays == 2 * 3


def test_each_slice_has_arrays_of_its_own() -> None:
    inventory = Inventory()
    inventory.record(block(0, 256, 128), arrays(slices=3), 0.0)

    assert told(inventory).arrays == 3 * 2 * 2


def test_very_many_remnants_are_counted_by_how_full_packing_gets() -> None:
    inventory = Inventory()
    for column in range(REMNANTS_MAX + 1):
        inventory.record(block(column, 64, 64), arrays(), 0.0)

    assert told(inventory).arrays == pytest.approx(2 * (REMNANTS_MAX + 1) / 4 / 0.97, abs=2.0)


def test_weights_that_are_let_go_are_told_no_more() -> None:
    inventory = Inventory()
    inventory.record(block(0), arrays(), 0.0)
    inventory.record(block(0, version=NEXT), arrays(BAD), 0.0)

    inventory.forget(VERSION)

    assert [one.store.version for one in inventory.blocks] == [NEXT]
    assert told(inventory).healthy == 0.0


def test_arrays_that_are_older_than_the_process_were_written_before_it_began() -> None:
    inventory = Inventory()
    inventory.record(block(0), arrays(replace(SOUND, age_s=100.0)), 7.0)

    (one,) = inventory.blocks
    assert (one.written_at, one.seen_age_s) == (-93.0, 100.0)


def test_each_regime_that_is_measured_has_a_place_in_what_is_told() -> None:
    assert RegimeCosts.__struct_fields__ == REGIMES


def test_what_a_regime_costs_is_told_at_once_and_again_when_it_has_moved_by_much() -> None:
    inventory = Inventory()

    assert told(inventory, 0.0, fast=1e-9).costs == RegimeCosts(fast=1e-9)
    assert told(inventory, 1.0, fast=5e-9).costs == RegimeCosts(fast=1e-9)
    assert told(inventory, 2.0, fast=1e-9, integer=3e-8).costs == RegimeCosts(1e-9, integer=3e-8)
    at = 2.0 + COSTS_KEPT_S
    assert told(inventory, at, fast=1.9e-9).costs == RegimeCosts(1e-9, integer=3e-8)
    assert told(inventory, at, fast=2.1e-9).costs == RegimeCosts(2.1e-9, integer=3e-8)
    assert told(inventory, 2 * at).costs == RegimeCosts(2.1e-9, integer=3e-8)
