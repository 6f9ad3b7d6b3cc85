"""What a supervised engine on a GPU shares with the learner, and whether it fits there. vLLM would say so too, after a
minute of loading."""

import json
import subprocess
from pathlib import Path

from gateway.launch_errors import LaunchError

SPARE_SHARE = 0.05
"""Of the GPU, for the CUDA contexts of both processes."""
ENGINE_WORKING_BYTES = 2 * 2**30
"""Beside the weights: CUDA graphs, activations, adapters' slots and the keys and values of a short conversation."""
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


def engine_share(learner_share: float) -> float:
    """Of the GPU's memory, for vLLM's --gpu-memory-utilization."""
    return round(1 - SPARE_SHARE - learner_share, 2)


def gpu_bytes() -> int | None:
    """Memory of the first GPU; None where the driver shows none."""
    try:
        answer = subprocess.check_output(_NVIDIA_SMI, stderr=subprocess.DEVNULL, text=True, timeout=60)
        return int(answer.splitlines()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def engine_bytes(base_model: Path) -> int:
    """The least that vLLM takes on a GPU to serve this base model, whose float32 weights it holds in 16 bits."""
    config = json.loads((base_model / "config.json").read_bytes())
    config = {**config.get("text_config", {}), **config}
    weights = sum(file.stat().st_size for file in base_model.glob("*.safetensors"))
    halved = config.get("dtype", config.get("torch_dtype")) == "float32"
    return weights // (2 if halved else 1) + ENGINE_WORKING_BYTES


def require_gpu(base_model: Path, learner_share: float) -> None:
    """Raises LaunchError where there is no GPU, or the engine's share of it is too small."""
    total = gpu_bytes()
    if total is None:
        raise LaunchError(
            "The environment is made for a GPU, and nvidia-smi shows none.",
            fix="Run `make setup GRAFT_ACCELERATOR=cpu`, or name engines elsewhere in GRAFT_ENGINE_URLS.",
        )
    needed, given = engine_bytes(base_model), engine_share(learner_share) * total
    if needed > given:
        raise LaunchError(
            f"The engine would take {_gib(needed)} of the GPU's {_gib(total)} to serve {base_model.name}, and gets "
            f"{_gib(max(0, given))} beside the learner.",
            fix="Lower GRAFT_LEARNER_GPU_SHARE, choose a smaller GRAFT_BASE_MODEL, or a GPU with more memory.",
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
