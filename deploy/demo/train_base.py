"""Train the tiny base model from scratch: tokenizer, then a small Llama, then the files that ship in `model/`.

Everything follows from the seed. A run checkpoints as it goes and resumes where it stopped; `--tokens` sets the
length of the run and with it the learning-rate schedule.

Usage: python -m deploy.demo.train_base [--out DIR] [--tokens N] [--seed N] [--threads N]
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deploy.demo.corpus import BALANCED, COPYING_FIRST, Corpus, Message

VOCABULARY = 2048
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['content'] is string -%}{%- set text = message['content'] -%}"
    "{%- else -%}{%- set text = message['content'] | map(attribute='text') | join('\\n') -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{ '<|assistant|>' }}"
    "{% generation %}{{ text + '<|end|>' }}{% endgeneration %}"
    "{%- elif message['role'] == 'system' -%}{{ '<|system|>' + text }}"
    "{%- else -%}{{ '<|user|>' + text }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
POOL = 256
"""Documents drawn, sorted by length and cut into batches together; the unit of resuming."""
BATCH_TOKENS = 4096
PROMPT_WEIGHT = 0.1
"""Loss weight of prompt tokens, against 1.0 for answers: enough to learn the language, not to model names."""
COPYING_SHARE = 0.25
"""Share of the run that puts copying from the context before everything else."""
MUON_LR = 2e-3
ADAM_LR = 2e-3


@dataclass
class Batch:
    ids: torch.Tensor
    """Token ids, shape (rows, width), padded with 0."""
    weights: torch.Tensor
    """Loss weight of each token as a target, same shape, 0 on padding."""


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with single digits, trained on a sample of the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?[^\s\p{L}\d]+| ?\p{L}+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = Corpus(seed).documents(-1, 6000, BALANCED)
    tokenizer.train_from_iterator(
        (message["content"] for document in sample for message in document), trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def encode(document: list[Message], tokenizer: Tokenizer) -> tuple[list[int], list[float]]:
    """Token ids of one document and the loss weight of each."""
    ids: list[int] = []
    weights: list[float] = []
    for message in document:
        content = tokenizer.encode(message["content"], add_special_tokens=False).ids
        answer = message["role"] == "assistant"
        ids += [SPECIAL.index(f"<|{message['role']}|>"), *content]
        weights += [0.0, *([1.0 if answer else PROMPT_WEIGHT] * len(content))]
        if answer:
            ids.append(SPECIAL.index("<|end|>"))
            weights.append(1.0)
    return ids, weights


def batches(corpus: Corpus, tokenizer: Tokenizer, part: int, progress: float) -> list[Batch]:
    """The batches of one pool of documents, rows of like length together, in a shuffled order."""
    mixture = COPYING_FIRST if progress < COPYING_SHARE else BALANCED
    rows = sorted(
        (encode(d, tokenizer) for d in corpus.documents(part, POOL, mixture)), key=lambda row: len(row[0])
    )
    groups: list[list[tuple[list[int], list[float]]]] = [[]]
    for row in rows:
        if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(row)
    random.Random(part).shuffle(groups)
    return [_padded(group) for group in groups]


def _padded(rows: list[tuple[list[int], list[float]]]) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for i, (row_ids, row_weights) in enumerate(rows):
        ids[i, : len(row_ids)] = torch.tensor(row_ids)
        weights[i, : len(row_weights)] = torch.tensor(row_weights)
    return Batch(ids, weights)


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted cross-entropy. Padding is on the right, so causal attention needs no mask."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch.ids[:, :-1], use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    )
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def schedule(progress: float) -> float:
    """Learning-rate factor: a short warm-up, flat to the middle, then linear to 3 %."""
    if progress < 0.01:
        return progress / 0.01 + 0.01
    return 1.0 if progress < 0.45 else max(0.03, 1.0 - (progress - 0.45) / 0.55)


def optimisers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]


@dataclass
class Progress:
    part: int = 0
    tokens: int = 0
    seconds: float = 0.0


class BaseRun:
    """One training run: state that a checkpoint holds, and the loop over it."""

    def __init__(self, out: Path, seed: int, tokens: int) -> None:
        self.out, self.seed, self.total = out, seed, tokens
        self.state_file = out / "training-state.pt"
        self.corpus = Corpus(seed)
        out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.model = new_model(seed)
        self.optimisers = optimisers(self.model)
        self.progress = Progress()
        if self.state_file.exists():
            self._restore()

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        if (self.out / "tokenizer.json").exists():
            return PreTrainedTokenizerFast.from_pretrained(self.out)
        tokenizer = train_tokenizer(self.seed)
        tokenizer.save_pretrained(self.out)
        return tokenizer

    def _restore(self) -> None:
        state = torch.load(self.state_file, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Write the resumable state, then the model as it would ship; each file appears whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "progress": vars(self.progress),
        }
        partial = self.state_file.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.state_file)
        export(self.model, self.out)

    def run(self) -> None:
        compiled = torch.compile(self.model, dynamic=True)
        last_save = time.monotonic()
        while self.progress.tokens < self.total:
            started = time.monotonic()
            loss = self._pool(compiled)
            self.progress.part += 1
            self.progress.seconds += time.monotonic() - started
            self._report(loss, time.monotonic() - started)
            if time.monotonic() - last_save > 240:
                self.save()
                last_save = time.monotonic()
        self.save()

    def _pool(self, compiled: LlamaForCausalLM) -> float:
        """Train on one pool of documents; returns its mean loss."""
        total, count = 0.0, 0
        backend = self.tokenizer.backend_tokenizer
        for batch in batches(self.corpus, backend, self.progress.part, self.progress.tokens / self.total):
            factor = schedule(self.progress.tokens / self.total)
            for optimiser, rate in zip(self.optimisers, (MUON_LR, ADAM_LR), strict=True):
                optimiser.param_groups[0]["lr"] = rate * factor
            loss = loss_of(compiled, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            total, count = total + loss.item(), count + 1
            self.progress.tokens += int((batch.weights > 0).sum())
        return total / count

    def _report(self, loss: float, seconds: float) -> None:
        done = self.progress.tokens / self.total
        speed = self.progress.tokens / max(self.progress.seconds, 1e-9)
        eta = (self.total - self.progress.tokens) / speed / 60
        print(
            f"{done:6.1%}  {self.progress.tokens / 1e6:6.2f}M tokens  loss {loss:.4f}  {seconds:.1f}s  "
            f"{speed:,.0f} tokens/s  {eta:.0f} min left",
            flush=True,
        )


def export(model: LlamaForCausalLM, out: Path) -> None:
    """Write the weights as bfloat16 safetensors beside the tokenizer."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path(".graft/base"), help="where the run lives (default: %(default)s)"
    )
    parser.add_argument(
        "--tokens",
        type=float,
        default=11e6,
        help="length of the run in trained tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights and documents (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    BaseRun(arguments.out, arguments.seed, int(arguments.tokens)).run()


if __name__ == "__main__":
    main()
