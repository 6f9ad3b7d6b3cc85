"""What runs inside vLLM's own processes, by the entry point `graft` of its group `vllm.general_plugins`.

On CPU, vLLM 0.32 keeps the requests of one batch apart by the index of their adapter's slot, -1 for the base
model, and reads the weights as `stacked[indices]`: -1 is the last slot. As soon as every slot is filled,
requests to the base model are answered with another tenant's adapter whenever they share a batch with any
adapter's request. The GPU kernels skip such rows, and so does what is put in place here.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

_EXPANSIONS = ("bgmv_expand", "bgmv_expand_slice")
"""The functions that add an adapter's share to a layer's output; all others are built on them."""
_CORE = "vllm.lora.ops.torch_ops.lora_ops"
_USERS = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")
"""Modules that imported these functions by name."""
_MARK = "keeps_base_rows"

Tensor = Any
"""torch's, which this package does not import."""
Expand = Callable[..., None]


def register() -> None:
    """Called by vLLM once or more in each of its processes, before a model is loaded.

    Raises ImportError or AttributeError, and so keeps the engine from starting, when this vLLM has no such
    functions: a release that was never tried must not serve several tenants by luck. vLLM would only log what
    an import at the top of this file raised, hence the imports by name.
    """
    core, *users = (import_module(name) for name in (_CORE, *_USERS))
    for name in _EXPANSIONS:
        original: Expand = getattr(core, name)
        if hasattr(original, _MARK):
            continue
        replacement = keep_base_rows(original)
        for module in (core, *users):
            if hasattr(module, name):
                setattr(module, name, replacement)


def keep_base_rows(expand: Expand) -> Expand:
    """`expand` for the rows that have an adapter; rows of the base model (index -1) stay as they are.

    Arguments as in vLLM: inputs (rows, rank), weights (slots, 1, features, rank), output (rows, features),
    which is changed in place, and slot indices (rows).
    """

    def expand_adapted(
        inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, *args: Any, **kwargs: Any
    ) -> None:
        adapted = indices >= 0
        if bool(adapted.all()):
            expand(inputs, weights, output, indices, *args, **kwargs)
        elif bool(adapted.any()):
            part = output[adapted]
            expand(inputs[adapted], weights, part, indices[adapted], *args, **kwargs)
            output[adapted] = part

    setattr(expand_adapted, _MARK, True)
    return expand_adapted
