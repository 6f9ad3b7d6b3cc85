"""Which series there are, and for how long."""

from gateway.routing import Route
from gateway.telemetry import Measured, Telemetry
from tests.unit.gateway.worlds import adapter, member, snapshot, tenant

NOW = snapshot(member(tenant("acme", adapter("ten_acme", stable="ver_2", v1="ver_1", v2="ver_2"))))


def measured(label: str, **more: object) -> Measured:
    values = {"status": 200, "seconds": 1.5, "overhead": 0.001, "first_token": 0.5, "retries": 0}
    values |= {"queued": 0.0, "retrieving": 0.0}
    usage = {"prompt_tokens": 3, "completion_tokens": 11}
    return Measured("ten_acme", Route("default", "ver", label, "stable"), usage=usage, **{**values, **more})


def versions(telemetry: Telemetry) -> set[str]:
    lines = telemetry.exposition().decode().splitlines()
    return {line.split('version="')[1].split('"')[0] for line in lines if 'version="' in line}


def test_series_of_versions_that_left_are_dropped_once_nobody_uses_them() -> None:
    telemetry = Telemetry()
    for label in ("default@v1", "default@v2", "base"):
        telemetry.record(measured(label))
    telemetry.forget(NOW.serves)
    assert versions(telemetry) == {"default@v1", "default@v2", "base"}
    telemetry.forget(NOW.serves)
    assert versions(telemetry) == {"default@v2", "base"}


def test_series_of_a_tenant_that_left_are_dropped() -> None:
    telemetry = Telemetry()
    telemetry.record(measured("base"))
    telemetry.forget(snapshot().serves)
    telemetry.forget(snapshot().serves)
    assert versions(telemetry) == set()


def test_the_time_of_a_token_is_of_those_after_the_first() -> None:
    telemetry = Telemetry()
    telemetry.record(measured("base"))
    labels = {"tenant": "ten_acme", "version": "base", "arm": "stable"}
    name = "gen_ai_server_time_per_output_token_seconds_sum"
    assert telemetry.registry.get_sample_value(name, labels) == 0.1


def test_what_a_request_does_not_spend_in_the_engine_is_told_by_stage() -> None:
    telemetry = Telemetry()
    telemetry.record(measured("base", overhead=0.75, queued=0.5, retrieving=0.125))
    telemetry.record(measured("base", overhead=0.25))
    found = {
        stage: [
            telemetry.registry.get_sample_value(f"graft_overhead_seconds_{what}", {"stage": stage})
            for what in ("count", "sum")
        ]
        for stage in ("queue", "retrieve", "gateway")
    }
    assert found == {"queue": [1, 0.5], "retrieve": [1, 0.125], "gateway": [2, 0.375]}
