from compute.partition import Block
from node.execution.account import Account
from node.work import ShardDone

FIRST, SECOND = Block(0, 0), Block(1, 0)


def analog(macs: int, latency_s: float = 0.0) -> ShardDone:
    return ShardDone(analog_macs=macs, energy_j=1.0, latency_s=latency_s, reads=3, regime="fast")


def test_nodes_work_side_by_side_and_panels_one_after_the_other() -> None:
    account = Account(now=10.0)
    for slower, faster in ((3.0, 1.0), (2.0, 4.0)):
        account.served("a", [FIRST], analog(5, slower), 100)
        account.served("b", [SECOND], analog(5, faster), 0)
        account.panel_over()
    account.over(now=12.0)

    view = account.view(now=99.0)

    assert (view.latency_s, view.energy_j, view.bytes, view.seconds) == (7.0, 4.0, 200, 2.0)
    work = [(one.node, one.blocks, one.macs, one.reads, one.latency_s) for one in view.work]
    assert work == [("a", 1, 10, 6, 5.0), ("b", 1, 10, 6, 5.0)]


def test_parts_done_twice_count_twice_but_only_those_that_stand_are_certified() -> None:
    account = Account(now=0.0)
    rejected, digital = analog(8), ShardDone(digital_macs=8)
    account.served("a", [FIRST], rejected, 0)
    account.served("b", [FIRST], digital, 0)
    account.stands([digital], bound=1e-7)

    certificate = account.certificate()

    assert [work.macs for work in account.view(1.0).work] == [8, 8]
    assert (certificate.analog_fraction, certificate.bound) == (0.0, 1e-7)
    assert certificate.regime == "digital"


def test_the_worst_panel_is_the_bound() -> None:
    account = Account(now=0.0)
    mixed = ShardDone(analog_macs=1, digital_macs=1, regime="digital+fast")
    account.stands([analog(5)], bound=2e-3)
    account.stands([mixed, ShardDone(digital_macs=1)], bound=1e-7)

    assert account.certificate().bound == 2e-3
    assert account.certificate().analog_fraction == 0.75
    assert account.certificate().regime == "digital+fast"


def test_no_bound_is_stated_where_the_check_cannot_tell() -> None:
    account = Account(now=0.0)
    account.stands([analog(5)], bound=float("inf"))

    assert account.certificate().bound is None
