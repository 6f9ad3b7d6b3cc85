"""The data plane's process."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

from gateway.app import _turns
from gateway.quota import Share
from gateway.settings import Settings

HEAVY = ("torch", "faiss", "vllm", "transformers", "sentence_transformers", "peft", "trl", "numpy")
SPANS = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "gateway.spans")
"""Redis' client loads OpenTelemetry's metrics by itself."""


def test_a_worker_loads_no_model_library() -> None:
    code = f"import sys, gateway.app; print([name for name in {HEAVY + SPANS!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_drained_replicas_have_no_places_unless_all_are() -> None:
    heartbeat = SimpleNamespace(share=Share(2, 0), drained=[])
    slots = SimpleNamespace(waiting_at=lambda urls: 0)
    pools = {"base": ["http://a", "http://b"], "large": ["http://c"]}
    turns = _turns(Settings(engine_slots=6), pools, cast(Any, heartbeat), cast(Any, slots))
    found = []
    for drained in ([], ["http://a", "http://gone"], ["http://a", "http://b"]):
        heartbeat.drained = drained
        found.append((turns["base"]._places(), turns["large"]._places()))
    assert found == [(6, 3), (3, 3), (6, 3)]
