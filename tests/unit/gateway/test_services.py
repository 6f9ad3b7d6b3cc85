"""What the processes of a deployment are and are told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.plan import Plan, reachable
from gateway.probes import Probes
from gateway.services import services
from gateway.supervisor import ProcessSpec

PLAN = Plan(
    data_dir=Path("/data"),
    scratch=Path("/data/tmp"),
    host="0.0.0.0",
    port=8000,
    admin_host="127.0.0.1",
    admin_port=8001,
    database_url="sqlite+aiosqlite:////data/graft.db",
    redis_url="unix:///data/redis.sock",
    redis_socket=Path("/data/redis.sock"),
    engine_urls=("http://127.0.0.1:8100",),
    engine_port=8100,
    retrieval_url="http://127.0.0.1:8200",
    retrieval_port=8200,
    artifacts_url="file:///data/artifacts",
    base_model=Path("/model"),
    more_bases="",
    encoder=Path("/encoder"),
    internal_token="the-token",
    engine_token="the-engines-token",
    engine_cache=Path("/data/cache/engine"),
    engine_cache_bytes=2**30,
    admin_key="gk-admin-1",
    platform_key="gk-platform-1",
    workers=1,
    learner_threads=1,
    gpu=False,
    learner_gpu_share=0.45,
    max_loras=4,
    max_cpu_loras=16,
    max_lora_rank=16,
    engine_slots=64,
    tool_parser="hermes",
    reasoning_parser="",
    worker_port=0,
    queue_size=1024,
    queue_seconds=30.0,
)


def named(plan: Plan, inherited: dict[str, str] | None = None) -> dict[str, ProcessSpec]:
    return {spec.name: spec for spec in services(plan, inherited or {}, Probes(), 7)}


def test_an_embedded_system_has_all_six_processes() -> None:
    assert list(named(PLAN)) == ["redis", "engine", "retrieval", "control", "gateway", "learner"]


def test_what_is_configured_elsewhere_is_not_started() -> None:
    remote = replace(PLAN, redis_socket=None, engine_port=None, retrieval_port=None)
    assert list(named(remote)) == ["control", "gateway", "learner"]


def test_engines_of_further_base_models_are_started_where_they_have_a_port() -> None:
    """Each with a cache of its own: what one serves must not make room for another."""
    elsewhere = {"model": "/models/a", "engines": ["http://gpu2:8000"]}
    bases = {"a": elsewhere, "b": {"model": "/models/b", "port": 8101}, "c": {"model": "/c", "port": 8102}}
    found = named(replace(PLAN, more_bases=json.dumps(bases)))
    assert [name for name in found if name.startswith("engine")] == ["engine", "engine-2", "engine-3"]
    command = " ".join(found["engine-2"].command)
    assert "--model /models/b " in command and "--port 8101 " in command and "parser" not in command
    told = [found[name].environment["GRAFT_ENGINE_CACHE_DIR"] for name in ("engine", "engine-2", "engine-3")]
    assert told == ["/data/cache/engine", "/data/cache/engine/bases/b", "/data/cache/engine/bases/c"]
    assert "engine-2" in named(replace(PLAN, engine_port=None, more_bases=json.dumps(bases)))


def test_every_worker_gets_the_one_listening_socket() -> None:
    found = named(replace(PLAN, workers=2))
    assert [found[name].pass_fds for name in ("gateway-1", "gateway-2")] == [(7,), (7,)]


def test_a_worker_has_a_port_of_its_own_where_that_is_wanted() -> None:
    found = named(replace(PLAN, workers=2, worker_port=9100))
    assert [found[name].command[-2:] for name in ("gateway-1", "gateway-2")] == [
        ["--own-port", "9100"],
        ["--own-port", "9101"],
    ]
    assert "--own-port" not in named(PLAN)["gateway"].command


def test_the_engine_learns_only_what_its_plugin_needs() -> None:
    told = named(PLAN, {"GRAFT_ADMIN_KEY": "x", "PATH": "/bin"})["engine"].environment
    ours = {name.removeprefix("GRAFT_") for name in told if name.startswith("GRAFT_")}
    assert ours == {"ENGINE_TOKEN", "ENGINE_CACHE_DIR", "ENGINE_CACHE_BYTES", "ARTIFACTS_URL", "CONTROL_URL"}
    assert told["VLLM_API_KEY"] == told["GRAFT_ENGINE_TOKEN"] == "the-engines-token"
    assert PLAN.internal_token not in told.values()


def test_only_this_machine_reaches_the_engine_wherever_the_rest_listens() -> None:
    """Its key does not cover every route it has."""
    command = named(replace(PLAN, host="0.0.0.0", admin_host="0.0.0.0"))["engine"].command
    assert [command[place + 1] for place, word in enumerate(command) if word == "--host"] == ["127.0.0.1"]


def test_the_engine_is_told_how_its_model_writes_calls_and_thoughts() -> None:
    assert "--tool-call-parser hermes" in " ".join(named(PLAN)["engine"].command)
    assert "--reasoning-parser" not in named(PLAN)["engine"].command
    other = replace(PLAN, tool_parser="", reasoning_parser="qwen3")
    command = " ".join(named(other)["engine"].command)
    assert "--reasoning-parser qwen3" in command and "tool" not in command


def test_no_secret_is_on_a_command_line() -> None:
    lines = " ".join(word for spec in named(PLAN).values() for word in spec.command)
    assert not any(
        secret in lines
        for secret in (PLAN.internal_token, PLAN.engine_token, PLAN.admin_key, PLAN.platform_key)
    )


@pytest.mark.parametrize("name", ["retrieval", "control", "gateway", "learner"])
def test_our_processes_are_told_every_resolved_value(name: str) -> None:
    told = named(PLAN, {"GRAFT_BASE_MODEL": "stale"})[name].environment
    assert PLAN.environment().items() <= told.items()


def test_settings_that_no_plan_resolves_reach_our_processes() -> None:
    told = named(PLAN, {"GRAFT_STREAM_KEEP_ALIVE_SECONDS": "5"})["gateway"].environment
    assert told["GRAFT_STREAM_KEEP_ALIVE_SECONDS"] == "5"


def test_threads_are_pinned_in_every_numeric_process() -> None:
    found = named(replace(PLAN, learner_threads=3))
    threads = {name: spec.environment.get("OMP_NUM_THREADS") for name, spec in found.items()}
    assert threads == {
        "redis": None,
        "engine": "1",
        "retrieval": "1",
        "control": "1",
        "gateway": "1",
        "learner": "3",
    }


def test_an_engine_on_a_gpu_has_its_share_and_nothing_that_is_for_processors() -> None:
    engine = named(replace(PLAN, gpu=True, learner_gpu_share=0.3))["engine"]
    assert engine.command[-4:] == ["--gpu-memory-utilization", "0.65", "--max-model-len", "auto"]
    assert (
        "--enforce-eager" not in engine.command
        and "--gpu-memory-utilization" not in named(PLAN)["engine"].command
    )
    for name in (
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "TORCHDYNAMO_DISABLE",
        "OMP_NUM_THREADS",
    ):
        assert name in named(PLAN)["engine"].environment and name not in engine.environment


def test_the_learner_is_told_its_share_of_the_gpu() -> None:
    found = named(replace(PLAN, learner_gpu_share=0.3))
    assert found["learner"].environment["GRAFT_LEARNER_GPU_SHARE"] == "0.3"


def test_the_learner_gives_way_to_those_who_answer() -> None:
    found = named(PLAN)
    assert found["learner"].niceness > 0
    assert not any(spec.niceness for name, spec in found.items() if name != "learner")


def test_the_learner_has_time_to_finish_a_training_step() -> None:
    assert named(PLAN)["learner"].stop_within_s == 60.0


@pytest.mark.parametrize(
    ("host", "connect"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")]
)
def test_an_address_to_listen_on_becomes_one_to_connect_to(host: str, connect: str) -> None:
    assert reachable(host) == connect


def test_the_engine_takes_as_many_requests_as_the_gateway_sends() -> None:
    found = named(PLAN)
    command = found["engine"].command
    assert command[command.index("--max-num-seqs") + 1] == found["gateway"].environment["GRAFT_ENGINE_SLOTS"]
