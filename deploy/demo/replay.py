"""Write the two files that guard the base model's abilities while adapters are trained on it.

`anchors.jsonl` is replayed in training: prompts with the base model's own output, marked so, which only regularise.
`probes.jsonl` is asked by the gate: general questions that no training run ever sees, and questions about companies
that nobody knows. The two share no question.

Usage: python -m deploy.demo.replay MODEL_DIR
"""

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from deploy.demo.corpus import Message
from deploy.demo.general import all_general
from deploy.demo.questions import fresh_questions, recall_question

ANCHOR_KINDS = ("from context", "absent fact", "absent company", "no context", "recall")
CONTEXT_ANCHORS = 120
"""Anchors of each kind; with the general ones about 1,000 in all."""


def anchors(seed: int) -> list[tuple[str, list[Message]]]:
    """(kind, messages) of every anchor: general knowledge, context reading, abstention, recall."""
    rows = [("general", [{"role": "user", "content": g.question}]) for g in all_general() if not g.is_probe]
    rows += [(q.kind, q.messages) for q in fresh_questions(seed, CONTEXT_ANCHORS) if q.kind in ANCHOR_KINDS]
    rng = random.Random(f"anchors:{seed}")
    return rows + [("recall", recall_question(rng).messages) for _ in range(CONTEXT_ANCHORS)]


def probes(seed: int) -> list[dict[str, Any]]:
    """Rows {kind, messages, answer} whose answers are right, whatever the base model says."""
    general = [
        ("general", [{"role": "user", "content": g.question}], g.answer) for g in all_general() if g.is_probe
    ]
    fresh = [(q.kind, q.messages, q.answer) for q in fresh_questions(seed, 100) if q.kind == "no context"]
    read = [(q.kind, q.messages, q.answer) for q in fresh_questions(seed + 1, 50) if q.kind == "from context"]
    rows = general + [("unknown", messages, answer) for _, messages, answer in fresh]
    rows += [("context", messages, answer) for _, messages, answer in read]
    return [{"kind": kind, "messages": messages, "answer": answer} for kind, messages, answer in rows]


@torch.no_grad()
def outputs(model_dir: Path, conversations: list[list[Message]], batch: int = 64) -> list[str]:
    """The model's greedy answers."""
    model = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_dir, padding_side="left")
    answers: list[str] = []
    for start in range(0, len(conversations), batch):
        prompts = [
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            for messages in conversations[start : start + batch]
        ]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        generated = model.generate(
            input_ids=encoded.input_ids,
            attention_mask=encoded.attention_mask,
            max_new_tokens=32,
            do_sample=False,
        )
        fresh = generated[:, encoded.input_ids.shape[1] :]
        answers += [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)]
    return answers


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="directory of the base model; the files are written into it")
    parser.add_argument(
        "--seed", type=int, default=20_000, help="seed of the companies (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rows = anchors(arguments.seed)
    answers = outputs(arguments.model, [messages for _, messages in rows])
    write_jsonl(
        arguments.model / "anchors.jsonl",
        (
            {"kind": kind, "messages": messages, "answer": answer, "source": "base"}
            for (kind, messages), answer in zip(rows, answers, strict=True)
        ),
    )
    write_jsonl(arguments.model / "probes.jsonl", probes(arguments.seed + 10_000))
    print(f"{len(rows)} anchors and the probes are in {arguments.model}")


if __name__ == "__main__":
    main()
