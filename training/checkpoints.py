"""Checkpoints: what a training needs to go on, after its process died, to the very weights that it would have
reached.

One safetensors file with the adapter's weights, the best of them so far, the optimizer's moments, the state of the
random generators, and in its header the counters as JSON. It is replaced whole (written beside, synced, renamed), so
that a reader finds the old one or the new one.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.packed import PackedTrainer
from training.watch import Watch

SHARE = 0.02
"""Of a training's time, the most that its checkpoints may take."""
LEAST_SECONDS = 2.0
"""A training that is shorter is quicker done again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """tensors: by name, the parts `weights.`, `best.`, `optimizer.` and `random.`. values: JSON values."""

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.values["step"])

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one part, by their names within it."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)
        }


def key_of(training: Any) -> str:
    """Tells trainings apart: a checkpoint is only for the one with the same rows, recipe and base. `training`: JSON
    values."""
    return hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()


def write(path: Path, key: str, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`, whose directory must be there. Raises OSError; the old one stays then."""
    beside = path.with_suffix(f".{os.getpid()}")
    try:
        save_file(dict(checkpoint.tensors), beside, {"key": key, "values": json.dumps(checkpoint.values)})
        _sync(beside)
        beside.replace(path)
        _sync(path.parent)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint at `path`; None when there is none, it is of another training, or it cannot be read."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("key") != key:
                return None
            names = file.keys()
            return Checkpoint({name: file.get_tensor(name) for name in names}, json.loads(header["values"]))
    except (SafetensorError, OSError, ValueError) as error:
        _log.warning("the checkpoint %s is not readable, training starts anew: %s", path, error)
        return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Pace:
    """When the next checkpoint is due: never sooner than all of them together stay within their share."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._cost = 0.0

    def due(self) -> bool:
        return self._clock() - self._last >= max(LEAST_SECONDS, self._cost / SHARE)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around the writing of a checkpoint."""
        started = self._clock()
        yield
        self._last = self._clock()
        self._cost = self._last - started


class Checkpointing(TrainerCallback):
    """Writes checkpoints between steps, and takes a training up where `found` left it."""

    def __init__(
        self, trainer: PackedTrainer, watch: Watch, path: Path, key: str, found: Checkpoint | None
    ) -> None:
        self._trainer = trainer
        self._watch = watch
        self._path = path
        self._key = key
        self._found = found
        self._pace = Pace()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._found is not None:
            self._take_up(self._found, state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._found is not None:
            _set_random(self._found.part("random"))  # last: making the data loader drew a number
            self._found = None
        elif state.global_step and self._pace.due():
            self._write(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._watch.was_stopped:
            self._write(state)

    def _write(self, state: TrainerState) -> None:
        """A disk without room for it costs the checkpoint, not the run."""
        with self._pace.spending():
            try:
                write(self._path, self._key, self._taken(state))
            except OSError as error:
                _log.warning("no checkpoint after step %d: %s", state.global_step, error)

    def _taken(self, state: TrainerState) -> Checkpoint:
        trainer = self._trainer
        optimizer = trainer.optimizer.state_dict()
        best, seen = self._watch.seen()
        tensors = {
            **_named("weights", get_peft_model_state_dict(trainer.model)),
            **_named("best", best),
            **_named("random", _random()),
        }
        for number, moments in optimizer["state"].items():
            tensors |= _named(f"optimizer.{number}", moments)
        values = {
            "step": state.global_step,
            "tokens": state.num_input_tokens_seen,
            "log": state.log_history,
            "loss": trainer._tr_loss.item(),
            "total_loss": trainer._total_loss_scalar,
            "logged": trainer._globalstep_last_logged,
            "rates": [group["lr"] for group in optimizer["param_groups"]],
            "schedule": trainer.lr_scheduler.state_dict(),
            "watch": seen,
        }
        return Checkpoint(tensors, values)

    def _take_up(self, found: Checkpoint, state: TrainerState) -> None:
        trainer, values = self._trainer, found.values
        set_peft_model_state_dict(trainer.model, found.part("weights"))
        trainer.optimizer.load_state_dict(_optimizer(trainer.optimizer.state_dict(), found))
        trainer.lr_scheduler.load_state_dict(values["schedule"])
        state.global_step, state.num_input_tokens_seen = values["step"], values["tokens"]
        state.log_history = list(values["log"])
        trainer._tr_loss.fill_(values["loss"])
        trainer._total_loss_scalar = values["total_loss"]
        trainer._globalstep_last_logged = values["logged"]
        self._watch.recall(found.part("best"), values["watch"])


def _named(part: str, tensors: Mapping[Any, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _optimizer(fresh: Mapping[str, Any], found: Checkpoint) -> dict[str, Any]:
    """The state of a new optimizer over the same parameters, with the moments and rates that were found."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in found.part("optimizer").items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = tensor
    groups = [
        group | {"lr": rate} for group, rate in zip(fresh["param_groups"], found.values["rates"], strict=True)
    ]
    return {"state": state, "param_groups": groups}


def _random() -> dict[str, torch.Tensor]:
    """PyTorch's generators: nothing else draws within a step."""
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda.{n}": state for n, state in enumerate(states)}}


def _set_random(states: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([states[f"cuda.{n}"] for n in range(torch.cuda.device_count())])
