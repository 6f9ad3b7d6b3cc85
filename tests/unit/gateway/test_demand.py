from gateway.demand import EXPECTED, SESSION_S, Demand
from tests.unit.gateway.worlds import adapter, tenant

ACME = tenant(
    "acme",
    adapter("ten_acme", "default", stable="ver_1", v1="ver_1"),
    adapter("ten_acme", "sales", stable="ver_2", v1="ver_2"),
    adapter("ten_acme", "empty"),
)


def test_the_first_request_of_a_session_brings_the_tenants_other_adapters() -> None:
    demand = Demand(lambda: 0.0)
    demand.note(ACME, "ver_1")
    assert demand.fresh
    assert demand.take() == {"ver_1": 1.0, "ver_2": EXPECTED}
    assert not demand.fresh


def test_later_requests_bring_only_what_they_ask_for() -> None:
    now = [0.0]
    demand = Demand(lambda: now[0])
    demand.note(ACME, "ver_1")
    demand.take()
    now[0] = SESSION_S / 2
    demand.note(ACME, "ver_1")
    demand.note(ACME, None)
    assert demand.take() == {"ver_1": 1.0}


def test_after_a_silence_a_session_begins_anew() -> None:
    now = [0.0]
    demand = Demand(lambda: now[0])
    demand.note(ACME, None)
    demand.take()
    now[0] = SESSION_S
    demand.note(ACME, None)
    assert demand.take() == {"ver_1": EXPECTED, "ver_2": EXPECTED}


def test_what_could_not_be_told_is_told_later() -> None:
    demand = Demand(lambda: 0.0)
    demand.note(ACME, "ver_1")
    demand.give_back(demand.take())
    demand.note(ACME, "ver_1")
    assert demand.take()["ver_1"] == 2.0
