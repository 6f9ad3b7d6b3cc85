"""One LoRA training run over a base model that stays in memory between runs.

TRL's SFTTrainer does the training. The loss counts the last answer of each row only: earlier assistant turns
may be the very answers that people corrected. The rows come in the order in which they are to be used, so
that every batch has the recipe's share of replay.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

from training import checkpoints
from training.checkpoints import Checkpointing
from training.device import device, on_gpu
from training.errors import RunStopped, TrainingFailed
from training.memory import Batch
from training.packed import IGNORED, PackedTrainer, largest, pack
from training.recipe import Recipe
from training.types import Message, Tool
from training.watch import Report, Stopped, Watch


@dataclass(frozen=True)
class Row:
    """A conversation ending with a user's message, and the answer to learn."""

    messages: Sequence[Message]
    answer: str
    tools: Sequence[Tool] = ()
    """The functions that the request offered."""


@dataclass(frozen=True)
class Trained:
    """What a run did."""

    steps: int
    tokens: int
    """Tokens read, prompts and padding-free, over all steps."""
    seconds: float
    loss: float
    validation_loss: float | None
    """Of the weights that were kept."""


class WarmBase:
    """The frozen base model, loaded once. `train` runs in a worker thread, one at a time."""

    def __init__(self, path: Path, name: str, threads: int = 1, dtype: str = "float32") -> None:
        """name: what the artifacts call their base; a path would tell other machines about this one. dtype: of the
        frozen weights, `float32` or `bfloat16`; an adapter's own are float32."""
        torch.set_num_threads(threads)
        self._name = name
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).to(device())
        self._model.requires_grad_(False)
        pack(self._model)

    def train(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        recipe: Recipe,
        directory: Path,
        *,
        report: Report = lambda progress: None,
        stopped: Stopped = lambda: False,
        checkpoint: Path | None = None,
        fits: Callable[[Batch], None] = lambda largest: None,
    ) -> Trained:
        """Train on `rows` in their order and write the adapter into `directory`.

        checkpoint: a file that is written now and then, in a directory that is there. Where the same training left
        one before, it goes on from there, to the same weights. fits: told of the largest batch before the first step;
        what it raises ends the training. Raises RunStopped within a step of `stopped` turning true, TrainingFailed when
        the loss is no number.
        """
        key = self._key(rows, validation, recipe)
        found = checkpoints.read(checkpoint, key) if checkpoint else None
        steps = min(recipe.max_steps, math.ceil(len(rows) / recipe.batch_size))
        left = rows[found.step * recipe.batch_size :] if found else rows
        encoded = self._encoded(left)
        fits(largest(encoded, recipe.batch_size))
        trainer = self._trainer(encoded, recipe, steps, directory)
        watch = Watch(trainer, self._encoded(validation), recipe, report, stopped)
        trainer.add_callback(watch)
        if checkpoint:
            trainer.add_callback(Checkpointing(trainer, watch, checkpoint, key, found))
        started = time.monotonic()
        try:
            result = trainer.train()
            if watch.was_stopped:
                raise RunStopped("stopped while training")
            if not math.isfinite(result.training_loss):
                raise TrainingFailed(f"the loss is {result.training_loss}")
            watch.restore_best()
            _weaken(trainer.model, recipe.strength)
            _write(trainer.model, self._name, directory)
        finally:
            self._restore(trainer)
        return Trained(
            steps=result.global_step,
            tokens=int(trainer.state.num_input_tokens_seen),
            seconds=time.monotonic() - started,
            loss=result.training_loss,
            validation_loss=watch.best_loss,
        )

    def _key(self, rows: Sequence[Row], validation: Sequence[Row], recipe: Recipe) -> str:
        dtype = str(self._model.dtype)
        texts = [[_plain(row) for row in part] for part in (rows, validation)]
        return checkpoints.key_of([self._name, dtype, recipe.as_record(), texts])

    def _trainer(
        self, rows: list[dict[str, list[int]]], recipe: Recipe, steps: int, directory: Path
    ) -> PackedTrainer:
        return PackedTrainer(
            model=self._model,
            args=_arguments(recipe, steps, directory),
            train_dataset=Dataset.from_list(rows),
            processing_class=self._tokenizer,
            peft_config=LoraConfig(
                r=recipe.rank,
                lora_alpha=recipe.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )

    def _encoded(self, rows: Sequence[Row]) -> list[dict[str, list[int]]]:
        return [self._encode(row) for row in rows]

    def _encode(self, row: Row) -> dict[str, list[int]]:
        """Token ids and labels. The prompt is rendered exactly as the engine renders it."""
        messages = [dict(message) for message in row.messages]
        render = partial(
            self._tokenizer.apply_chat_template,
            tools=[dict(tool) for tool in row.tools] or None,
            tokenize=False,
        )
        prompt = render(messages, add_generation_prompt=True)
        full = render([*messages, {"role": "assistant", "content": row.answer}])
        if not full.startswith(prompt):
            raise TrainingFailed("the chat template renders an answered prompt unlike the prompt alone")
        head = self._tokenizer(prompt, add_special_tokens=False).input_ids
        tail = self._tokenizer(full[len(prompt) :], add_special_tokens=False).input_ids
        return {"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail}

    def _restore(self, trainer: PackedTrainer) -> None:
        """Give the base model back as it was: no adapter, and its own forward instead of TRL's."""
        self._model = trainer.model.unload() if isinstance(trainer.model, PeftModel) else trainer.model
        vars(self._model).pop("forward", None)
        self._model.requires_grad_(False)


def _plain(row: Row) -> list[object]:
    """As JSON values."""
    tools = [[dict(tool) for tool in row.tools]] if row.tools else []
    return [[dict(message) for message in row.messages], row.answer, *tools]


def _arguments(recipe: Recipe, steps: int, directory: Path) -> SFTConfig:
    """Everything that TRL would do beside training is off: we log, save and evaluate ourselves."""
    arguments = SFTConfig(
        output_dir=str(directory),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        max_grad_norm=recipe.max_grad_norm,
        weight_decay=0.0,
        optim="adamw_torch",
        bf16=recipe.bf16,
        use_cpu=not on_gpu(),
        gradient_checkpointing=False,
        seed=recipe.seed,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        padding_free=True,
        include_num_input_tokens_seen=True,
        dataloader_pin_memory=False,
        logging_steps=5,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # with more, transformers would copy the model to all of them
    return arguments


@torch.no_grad()
def _weaken(model: PeftModel, strength: float) -> None:
    """Scale what the adapter adds to each layer."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.mul_(strength)


def _write(model: PeftModel, base_name: str, directory: Path) -> None:
    """The two files of an artifact, the same bytes for the same weights: no path, no set's order, no card."""
    model.save_pretrained(str(directory), safe_serialization=True)
    for extra in directory.iterdir():
        if extra.name not in ("adapter_config.json", "adapter_model.safetensors"):
            extra.unlink()
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
