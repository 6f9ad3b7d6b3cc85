"""What looks on while a run trains: reports progress, stops on request, keeps the best weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.packed import PackedTrainer
from training.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """Where a run is. `loss` is the mean over the last few steps; None before the first."""

    step: int
    total_steps: int
    loss: float | None
    eta_seconds: float


Report = Callable[[Progress], None]
Stopped = Callable[[], bool]


class Watch(TrainerCallback):
    """Keeps the weights with the lowest validation loss and ends a training that only gets worse. `was_stopped`: it
    was asked to stop, and did before its end."""

    def __init__(
        self,
        trainer: PackedTrainer,
        validation: Sequence[Mapping[str, list[int]]],
        recipe: Recipe,
        report: Report,
        stopped: Stopped,
    ) -> None:
        self._trainer = trainer
        self._batch = trainer.data_collator(list(validation)) if validation else None
        self._recipe = recipe
        self._report = report
        self._stopped = stopped
        self._started = time.monotonic()
        self._first = 0
        self._best: Mapping[str, torch.Tensor] | None = None
        self._worse = 0
        self.best_loss: float | None = None
        self.was_stopped = False

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._first = self._first or state.global_step + 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        per_step = (time.monotonic() - self._started) / (state.global_step - self._first + 1)
        left = per_step * (state.max_steps - state.global_step)
        self._report(Progress(state.global_step, state.max_steps, losses[-1] if losses else None, left))
        if state.global_step % self._recipe.validation_steps == 0 or state.global_step == state.max_steps:
            self._look(control)
        if not control.should_training_stop and self._stopped():
            self.was_stopped = control.should_training_stop = True

    def _look(self, control: TrainerControl) -> None:
        """Compare the validation loss with the best so far."""
        if self._batch is None:
            return
        loss = self._validation_loss(self._batch)
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self._worse = loss, 0
            state = get_peft_model_state_dict(self._trainer.model)
            self._best = {name: tensor.detach().clone() for name, tensor in state.items()}
            return
        self._worse += 1
        if self._worse >= self._recipe.patience:
            control.should_training_stop = True

    def _validation_loss(self, batch: Mapping[str, Any]) -> float:
        """Mean negative log-likelihood per answer token."""
        model = self._trainer.model
        model.eval()
        loss, _, _ = self._trainer.prediction_step(model, dict(batch), prediction_loss_only=True)
        model.train()
        return float(loss)

    def seen(self) -> tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]:
        """The best weights so far, and what else `recall` needs, as JSON values."""
        return self._best or {}, {"best_loss": self.best_loss, "worse": self._worse}

    def recall(self, best: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `seen` gave."""
        self._best = best or None
        self.best_loss, self._worse = values["best_loss"], values["worse"]

    def restore_best(self) -> None:
        if self._best is not None:
            set_peft_model_state_dict(self._trainer.model, self._best)
