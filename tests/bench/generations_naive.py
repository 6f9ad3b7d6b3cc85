"""What Graft is compared with: one adapter that is trained on, night after night, with the new corrections only."""

import contextlib
import io
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import describe_base
from training.dataset import Example, dataset_of
from training.lora import Row, Trained, WarmBase
from training.recipe import Recipe
from training.schedule import schedule
from training.tables import datasets

FILES = ("adapter_config.json", "adapter_model.safetensors")


class Continued(WarmBase):
    """Begins where `parent` ended, instead of at the base model."""

    parent: Path | None = None

    def _trainer(self, *args: Any, **kwargs: Any) -> Any:
        trainer = super()._trainer(*args, **kwargs)
        if self.parent is not None:
            set_peft_model_state_dict(trainer.model, load_file(self.parent / FILES[1]))
        return trainer


def recipe_without_replay() -> Recipe:
    """Graft's own recipe less its replayed rows: as many steps, and as many rows of corrections in each."""
    ours = Recipe()
    corrections = ours.batch_size - round(ours.batch_size * ours.replay_share)
    return Recipe(batch_size=corrections, replay_share=0.0, strength=1.0, max_steps=ours.min_steps)


async def new_rows(engine: AsyncEngine, digest: str, corrections: Collection[str]) -> Sequence[Example]:
    """Of the dataset of Graft's run, what it made of these corrections: their phrasings, rewritten ones too, each as
    Graft schedules them."""
    async with engine.connect() as connection:
        row = await connection.execute(sa.select(datasets.c.content).where(datasets.c.digest == digest))
        content: Mapping[str, Any] = row.scalar_one()
    whole = dataset_of(content)
    facts = [fact for fact in whole.facts if fact.correction_ids & set(corrections)]
    only = type(whole)(whole.tenant_id, whole.adapter, facts)
    return schedule(only, [], recipe_without_replay())


def train(base: Path, rows: Sequence[Example], parent: Path | None, directory: Path) -> Trained:
    """Train on the rows from the parent on, into the directory. Takes a processor core for some seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    warm = Continued(base, describe_base(base).id)
    warm.parent = parent
    given = [Row(example.messages, example.answer) for example in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        return warm.train(given, [], recipe_without_replay(), directory)


def packed(directory: Path) -> bytes:
    """The adapter as an archive for the admin API's import."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in FILES:
            archive.add(directory / name, name)
    return buffer.getvalue()
