"""Text to vectors: a sentence-transformers model in one thread, fed in small batches."""

import asyncio
import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from retrieval.lexicon import Lexicon, whole_words

BATCH = 16
_QUERY, _BULK = 0, 1
Read = tuple[NDArray[np.float32], int]
"""A text's unit vector, and how many tokens the model read of it: what is longer than it takes is cut off."""


class Encoder:
    """Encodes for many callers at once: what waits is encoded together, questions before documents.

    One thread runs the model, because a second would only contend for the same cores.
    """

    def __init__(self, model: Any, digest: str) -> None:
        self._model = model
        self.digest = digest
        self.dimension = int(model.get_embedding_dimension())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._waiting: asyncio.PriorityQueue[tuple[int, int, str, asyncio.Future[Read]]]
        self._waiting = asyncio.PriorityQueue()
        self._order = itertools.count()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def load(cls, path: Path, threads: int) -> Self:
        """Blocking, about a second. path: a model directory; nothing is ever downloaded."""
        torch.set_num_threads(threads)
        model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
        model.eval()
        return cls(model, digest_of(path))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> NDArray[np.float32]:
        """Unit vectors, shape (len(texts), dimension). bulk: questions being answered go first."""
        return (await self.read(texts, bulk=bulk))[0]

    async def read(self, texts: Sequence[str], *, bulk: bool = False) -> Read:
        """As `encode`, and how many tokens the model read of all of them."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32), 0
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in texts]
        for text, future in zip(texts, futures, strict=True):
            self._waiting.put_nowait((_BULK if bulk else _QUERY, next(self._order), text, future))
        vectors, tokens = zip(*await asyncio.gather(*futures), strict=True)
        return np.stack(vectors), sum(tokens)

    def lexicon(self) -> Lexicon:
        """The model's vocabulary with its input embeddings, which are not copied."""
        table = self._model[0].auto_model.get_input_embeddings().weight
        return Lexicon(table.detach().numpy(), whole_words(self._model.tokenizer.get_vocab()))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            wanted = [(text, future) for _, _, text, future in batch if not future.done()]
            if not wanted:
                continue
            try:
                read = await loop.run_in_executor(self._thread, self._run, [text for text, _ in wanted])
            except Exception as error:  # whatever the model raises belongs to the callers of this batch
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), each in zip(wanted, read, strict=True):
                if not future.done():
                    future.set_result(each)

    def _run(self, texts: list[str]) -> list[Read]:
        with torch.inference_mode():
            features = self._model.preprocess(texts)
            tokens = features["attention_mask"].sum(dim=1).tolist()
            unit = torch.nn.functional.normalize(self._model(features)["sentence_embedding"], dim=-1)
        return list(zip(np.asarray(unit.numpy(), dtype=np.float32), tokens, strict=True))


def digest_of(path: Path) -> str:
    """Identifies the weights and tokenizer: vectors of different encoders must never be compared."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.json")) + sorted(path.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
