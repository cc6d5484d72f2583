"""The workloads in PyTorch, with the initial distributions of the others; each module returns its mean loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


def lecun(layer: nn.Module) -> nn.Module:
    """Variance 1 / fan-in, cut off at two deviations; zero biases."""
    fan_in = layer.weight[0].numel()
    deviation = math.sqrt(1 / fan_in) / 0.87962566103423978  # the cut makes it smaller
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    nn.init.zeros_(layer.bias)
    return layer


def normal(layer: nn.Module, deviation: float = 0.02) -> nn.Module:
    """As in GPT-2."""
    nn.init.normal_(layer.weight, std=deviation)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Sequential):
    """Two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Flatten(), lecun(nn.Linear(784, width)), nn.ReLU(), lecun(nn.Linear(width, width)), nn.ReLU(),
            lecun(nn.Linear(width, 10)),
        )  # fmt: skip

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self(x), y)


class LSTM(nn.Module):
    """PyTorch's own LSTM; its second bias stays zero, so that it is the same model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = normal(nn.Embedding(1_000, 64), 1 / 8)
        self.lstm = nn.LSTM(64, 64, batch_first=True)
        self.output = lecun(nn.Linear(64, 10))
        self.lstm.bias_hh_l0.requires_grad_(False)
        with torch.no_grad():
            for gate in range(4):
                nn.init.orthogonal_(self.lstm.weight_hh_l0[64 * gate : 64 * (gate + 1)])
            bound = math.sqrt(6 / (64 + 256))  # Glorot over the four gates together
            nn.init.uniform_(self.lstm.weight_ih_l0, -bound, bound)
            nn.init.zeros_(self.lstm.bias_ih_l0)
            nn.init.zeros_(self.lstm.bias_hh_l0)
            self.lstm.bias_ih_l0[64:128] = 1.0

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        hidden, _ = self.lstm(self.embedding(x))
        return F.cross_entropy(self.output(hidden[:, -1]), y)


class VAE(nn.Module):
    """784-64-32-64-784, Bernoulli likelihood, one code an example; nats."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), lecun(nn.Linear(784, 64)), nn.ReLU(), lecun(nn.Linear(64, 64)))
        self.decoder = nn.Sequential(lecun(nn.Linear(32, 64)), nn.ReLU(), lecun(nn.Linear(64, 784)))

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The negative evidence lower bound."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        logits = self.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (reconstruction + kl) / len(x)


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads, small = heads, 0.02 / math.sqrt(2 * layers)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = normal(nn.Linear(width, 3 * width)), normal(nn.Linear(width, width), small)
        self.up, self.down = normal(nn.Linear(width, 4 * width)), normal(nn.Linear(4 * width, width), small)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention and the feed-forward layer, each around a residual."""
        batch, steps, width = x.shape
        qkv = self.qkv(self.first(x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(*qkv.unbind(0), is_causal=True)
        x = x + self.out(found.transpose(1, 2).reshape(batch, steps, width))
        return x + self.down(F.gelu(self.up(self.second(x)), approximate="tanh"))


class GPT(nn.Module):
    """Learned positions and an output layer of its own."""

    def __init__(self, layers: int = 4, width: int = 256, heads: int = 4, steps: int = 256) -> None:
        super().__init__()
        self.tokens, self.positions = normal(nn.Embedding(256, width)), normal(nn.Embedding(steps, width))
        self.blocks = nn.Sequential(*[Block(width, heads, layers) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), normal(nn.Linear(width, 256, bias=False))

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the next byte."""
        values = self.blocks(self.tokens(x) + self.positions.weight)
        return F.cross_entropy(self.head(self.norm(values)).flatten(0, 1), y.flatten())


class LeNet(nn.Sequential):
    """LeNet-5 of 28x28 images: tanh, average pooling."""

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 28)), lecun(nn.Conv2d(1, 6, 5, padding=2)), nn.Tanh(), nn.AvgPool2d(2),
            lecun(nn.Conv2d(6, 16, 5)), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), lecun(nn.Linear(400, 120)), nn.Tanh(),
            lecun(nn.Linear(120, 84)), nn.Tanh(), lecun(nn.Linear(84, 10)),
        )  # fmt: skip

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self(x), y)


MODELS: dict[str, Callable[..., nn.Module]] = {"W1": MLP, "W2": LSTM, "W3": VAE, "W4": MLP, "W5": GPT, "W6": LeNet}
"""By workload."""
