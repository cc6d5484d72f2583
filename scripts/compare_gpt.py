"""The character GPT of `bigtrain fit experiment=gpt_char`, written plainly in PyTorch: do both reach the same loss?

Same architecture, hyperparameters and text, and the very same batches in the same order, since the order of bigtrain's
data is a function of (seed, step); only the initial weights are other draws from the same distributions. PyTorch may
live in an environment of its own, which needs nothing else but NumPy and OmegaConf-free parts of bigtrain:

    python -m venv /tmp/torch
    /tmp/torch/bin/pip install torch numpy
    bigtrain fit experiment=gpt_char run_dir=/tmp/gpt_char
    PYTHONPATH=. /tmp/torch/bin/python scripts/compare_gpt.py /tmp/gpt_char

It prints the validation and test losses, in nats a character, of the run and of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bigtrain.data.sampler import Order
from bigtrain.data.spec import Source
from bigtrain.data.text import text

LAYERS, HEADS, WIDTH, LENGTH, STRIDE, BATCH, STEPS = 4, 4, 128, 64, 16, 12, 2000
RATE, LAST_RATE, WARMUP, BETAS, DECAY, CLIP = 1e-3, 0.1, 100, (0.9, 0.99), 0.1, 1.0


class Block(nn.Module):
    """Pre-norm attention and feed-forward, without biases, as in nanoGPT."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.joined = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        batch, steps, _ = values.shape
        parts = self.qkv(self.first(values)).reshape(batch, steps, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts, is_causal=True)
        values = values + self.joined(seen.transpose(1, 2).reshape(batch, steps, WIDTH))
        hidden = functional.gelu(self.up(self.second(values)), approximate="tanh")
        return values + self.down(hidden)


class GPT(nn.Module):
    """Tied embeddings, learned positions, GPT-2's initial values."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("joined.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, T] -> logits [B, T, V]."""
        values = self.tokens(tokens) + self.positions.weight
        for block in self.blocks:
            values = block(values)
        return functional.linear(self.norm(values), self.tokens.weight)


def factor(step: int) -> float:
    """The learning rate's factor at a step: bigtrain's `cosine` with its warm-up."""
    passed = min(1.0, max(0.0, (step - WARMUP) / (STEPS - WARMUP)))
    curve = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * passed))
    return min(1.0, (step + 1) / (WARMUP + 1)) * curve


def batch_of(source: Source, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets [B, T]."""
    found = source[indices]
    return torch.from_numpy(found["inputs"].astype(np.int64)), torch.from_numpy(found["targets"].astype(np.int64))


def loss_of(model: GPT, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats."""
    return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(seed: int) -> dict[str, float]:
    """The losses of the trained model on the splits that it hasn't seen."""
    torch.manual_seed(seed)
    dataset = text(length=LENGTH, stride=STRIDE)
    source = dataset.splits["train"]
    model = GPT(len(dataset.spec.vocabulary or ()))
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    other = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": other, "weight_decay": 0.0}]
    rule = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(rule, factor)
    order = Order(len(source), BATCH, seed)
    started = time.perf_counter()
    for step in range(STEPS):
        loss = loss_of(model, *batch_of(source, order.batches(step, 1)[0]))
        rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        rule.step()
        schedule.step()
    print(f"PyTorch: {STEPS} steps in {time.perf_counter() - started:.0f} s")
    return {name: judged(model, dataset.splits[name]) for name in ("validation", "test")}


@torch.no_grad()
def judged(model: GPT, source: Source) -> float:
    """The mean loss over a whole split."""
    parts = np.array_split(np.arange(len(source)), max(1, len(source) // 256))
    return sum(float(loss_of(model, *batch_of(source, part))) * len(part) for part in parts) / len(source)


def main() -> None:
    """Prints both sides."""
    parser = argparse.ArgumentParser(description="Compares a run of experiment=gpt_char with the same in PyTorch.")
    parser.add_argument("run", type=Path, nargs="?", help="the run directory of experiment=gpt_char")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.run:
        result = json.loads((chosen.run / "result.json").read_text())
        for split in ("validation", "test"):
            print(f"bigtrain {split} loss {result[split]['loss']:.4f}")
    for split, loss in train(chosen.seed).items():
        print(f"PyTorch  {split} loss {loss:.4f}")


if __name__ == "__main__":
    main()
