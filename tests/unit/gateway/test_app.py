"""The data plane's process."""

import subprocess
import sys

HEAVY = ("torch", "faiss", "vllm", "transformers", "sentence_transformers", "peft", "trl", "numpy")
SPANS = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "gateway.spans")
"""Redis' client loads OpenTelemetry's metrics by itself."""


def test_a_worker_loads_no_model_library() -> None:
    code = f"import sys, gateway.app; print([name for name in {HEAVY + SPANS!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
