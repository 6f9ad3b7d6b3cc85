"""The data plane stays light."""

import subprocess
import sys

HEAVY = ("torch", "faiss", "vllm", "transformers", "peft", "trl", "sentence_transformers")


def test_importing_the_data_plane_loads_no_model_library() -> None:
    program = f"import sys, gateway.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_importing_control_loads_no_model_library() -> None:
    program = f"import sys, gateway.admin; print([name for name in {HEAVY!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
