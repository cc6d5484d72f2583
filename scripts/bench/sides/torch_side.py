"""PyTorch: a DataLoader and Adam, as in its tutorials; or tensors, shuffled indices and fused Adam."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from bench.catalog import Workload
from bench.sides import batches
from bench.sides.torch_models import MODELS


class Trainer:
    """See `bench.worker.Trainer`."""

    def __init__(self, workload: Workload, data: Path, options: dict[str, Any]) -> None:
        self.workload, self.fused = workload, options["form"] == "fused"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.threads = options.get("threads", sorted({1, 2, os.cpu_count() or 1}))
        inputs, targets = batches.split(data, "train", workload.batch)
        self.per_epoch = len(inputs) // workload.batch
        self.data = self._tensors(inputs, targets)
        self.held = self._tensors(*batches.split(data, "val", 1))
        self.data = tuple(part.to(self.device) for part in self.data) if self.fused else self.data
        torch.manual_seed(0)
        self.source = self._indexed() if self.fused else self._loaded()
        self._fresh()

    def facts(self) -> dict[str, Any]:
        """See `bench.worker.Trainer`."""
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        count = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        return {
            "parameters": count, "torch": torch.__version__, "device": name, "threads": torch.get_num_threads(),
        }  # fmt: skip

    def _tensors(self, inputs: Any, targets: Any) -> tuple[torch.Tensor, ...]:
        """Targets as int64, which the cross-entropy wants."""
        return torch.from_numpy(inputs), torch.from_numpy(targets).long()

    def _fresh(self) -> None:
        self.model = MODELS[self.workload.name](**self.workload.model).to(self.device)
        wanted = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(wanted, lr=1e-3, **({"fused": True} if self.fused else {}))

    def _loaded(self) -> Iterator[tuple[torch.Tensor, ...]]:
        loader = DataLoader(TensorDataset(*self.data), self.workload.batch, shuffle=True, drop_last=True)
        while True:
            for batch in loader:
                yield tuple(part.to(self.device) for part in batch)

    def _indexed(self) -> Iterator[tuple[torch.Tensor, ...]]:
        while True:
            for chosen in torch.randperm(len(self.data[0]), device=self.device).view(-1, self.workload.batch):
                yield tuple(part[chosen] for part in self.data)

    def _train(self, steps: int) -> torch.Tensor:
        """The loss of each step."""
        losses = []
        for _ in range(steps):
            x, y = next(self.source)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.model.loss(x, y)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu()  # waits for the device

    def loss(self, steps: int, tail: int) -> float:
        """See `bench.worker.Trainer`."""
        return self._train(steps)[-tail:].mean().item()

    def warm(self) -> float:
        """Times each number of threads three times in turn, and keeps the fastest."""
        self._train(3)
        seconds, steps = 0.0, 1
        while seconds < 0.1:
            steps *= 2
            seconds, _ = self.run(steps)
        times: dict[int, list[float]] = {number: [] for number in self.threads}
        for _ in range(3):
            for number in self.threads:
                torch.set_num_threads(number)
                self.run(2)
                times[number].append(self.run(steps)[0] / steps)
        best = min(times, key=lambda number: statistics.median(times[number]))
        torch.set_num_threads(best)
        return statistics.median(times[best])

    def run(self, steps: int) -> tuple[float, int]:
        """See `bench.worker.Trainer`."""
        begun = time.perf_counter()
        self._train(steps)
        return time.perf_counter() - begun, steps

    def epochs(self, number: int) -> None:
        """See `bench.worker.Trainer`."""
        for _ in range(number):
            self._train(self.per_epoch)
            with torch.no_grad():
                for x, y in DataLoader(TensorDataset(*self.held), 256):
                    self.model.loss(x.to(self.device), y.to(self.device)).item()
