"""Where training computes, and what memory it may take there: the first GPU where there is one, else the processor."""

import psutil
import torch

from training.cgroups import left_by_groups


def on_gpu() -> bool:
    return bool(torch.cuda.is_available())


def device() -> torch.device:
    return torch.device("cuda:0" if on_gpu() else "cpu")


def limit(gpu_share: float) -> None:
    """Never take more than this share of the GPU's memory, however much is free: the engine may be about to start
    again. The CUDA context comes on top."""
    if on_gpu():
        torch.cuda.set_per_process_memory_fraction(gpu_share, device())


def free_memory(gpu_share: float = 1.0) -> int:
    """Bytes that a training may take: of its share of the GPU where there is one, else of this machine or container."""
    if on_gpu():
        return _free_on_gpu(gpu_share)
    return min([psutil.virtual_memory().available, *left_by_groups()])


def _free_on_gpu(gpu_share: float) -> int:
    """What PyTorch keeps of an earlier training counts as free: the next one gets it."""
    free, total = torch.cuda.mem_get_info(device())
    held, kept = torch.cuda.memory_allocated(device()), torch.cuda.memory_reserved(device())
    return int(min(free + kept - held, gpu_share * total - held))
