"""One training loop: deterministic from its seed, resumable at any moment, with an exponential average of the weights."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.catalog.files import atomic_write
from zoo.errors import CheckpointError

Loss = Callable[[nn.Module, torch.Generator], Tensor]
"""What is to become small, of a batch drawn with the generator, which is on the model's device."""
SAVE_EVERY = 180.0
"""Seconds between two saves of the training state."""
EAGER = 3
"""Steps on a GPU before one is recorded: they set up what a recording may not."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast: the rate is constant (after 100 steps of warm-up), then falls evenly to zero over the last part."""

    steps: int
    rate: float
    decay_share: float = 0.4
    ema: float = 0.999
    matrix_rate: float = 0.0
    """Rate of the Muon optimiser for the weight matrices of the blocks; 0 trains all by AdamW."""

    def factor(self, step: int) -> float:
        """Share of the full rate at this step."""
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return min(1.0, (step + 1) / 100, left)


def optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW for all trainable tensors; or Muon (Jordan et al., 2024) for the blocks' matrices and AdamW for the others; at full rate."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if plan.matrix_rate and parameter.ndim == 2 and ("block" in name or ".layers." in name) else others).append(parameter)
    on_gpu = others[0].is_cuda
    chosen: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.0, capturable=on_gpu)]
    if matrices:
        chosen.append(torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    return chosen


class Training:
    """A model, the average of its weights, and the step that it has reached.

    On a GPU the third step is recorded as a CUDA graph, which the others replay: so small a network is else slower to launch than to
    compute. A graph holds its numbers fast, so the optimisers always go at full rate, and a step goes its share of their way: none of it
    where the gradient is not finite.
    """

    def __init__(self, model: nn.Module, loss: Loss, plan: Plan, seed: int) -> None:
        self.model, self.loss, self.plan, self.seed = model, loss, plan, seed
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizers = optimizers(model, plan)
        self.step = 0
        device = next(model.parameters()).device
        self.generator = torch.Generator(device)
        self.share, self.news, self.smoothing = (torch.zeros((), device=device) for _ in range(3))
        self.smooth = torch.zeros((), device=device)
        """Average of the loss over about 50 steps."""
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0

    def advance(self) -> None:
        """Take one step, which depends on the seed, the number of the step and what was reached alone."""
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        with torch.cuda.stream(self.stream):
            self.share.fill_(self.plan.factor(self.step))
            self.news.fill_(1 - min(self.plan.ema, (2 + self.step) / (11 + self.step)))
            self.smoothing.fill_(0.02 if self._taken else 1)
            if self.stream and self._taken == EAGER:
                self._record()
            if self.graph:
                self.graph.replay()
            else:
                self._compute()
        self.step += 1
        self._taken += 1

    def _record(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(self.generator)
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            self._compute()

    def _compute(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        value = self.loss(self.model, self.generator)
        value.backward()
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        finite = nn.utils.clip_grad_norm_(trained, 1.0).isfinite()
        with torch.no_grad():
            before = [parameter.clone() for parameter in trained]
            for parameter in trained:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)  # so that the optimisers' averages stay numbers
            for optimizer in self.optimizers:
                optimizer.step()
            for parameter, old in zip(trained, before, strict=True):
                parameter.copy_(torch.lerp(old, parameter, self.share * finite))
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, self.news)
            self.smooth.lerp_(torch.where(finite, value, self.smooth), self.smoothing)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "plan": asdict(self.plan), "step": self.step, "model": self.model.state_dict(), "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }  # fmt: skip

    def go_on(self, state: Path) -> float:
        """Put everything back as it was kept in a file; the seconds spent so far. Raises CheckpointError for that of another plan."""
        kept = torch.load(state, weights_only=True)
        if kept["plan"] != asdict(self.plan):
            raise CheckpointError(f"{state} was left by another plan: remove it to start this one.")
        self.model.load_state_dict(kept["model"])
        self.average.load_state_dict(kept["average"])
        for optimizer, values in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.step = kept["step"]
        print(f"going on at step {self.step} of {self.plan.steps}", file=sys.stderr)
        return kept["seconds"]


def fit(model: nn.Module, loss: Loss, plan: Plan, weights: Path, seed: int = 0) -> nn.Module:
    """Train `model`, where it is, on loss(model, generator), which must draw from the generator alone; return it with averaged weights.

    The state is kept beside `weights` (`.resume.pt`) every few minutes and on interruption; the same call goes on from there.
    The averaged weights are written to `weights` (safetensors) each time, and the state is removed at the end.
    """
    training = Training(model, loss, plan, seed)
    state = weights.with_suffix(".resume.pt")
    spent = training.go_on(state) if state.exists() else 0.0
    start = saved = told = time.monotonic()
    first = training.step

    def save() -> None:
        values = training.state() | {"seconds": spent + time.monotonic() - start}
        with atomic_write(state) as part:
            torch.save(values, part)
        write_weights(training.average, weights)

    try:
        while training.step < plan.steps:
            training.advance()
            now = time.monotonic()
            if now - told > 10 or training.step == plan.steps:
                loss_now = training.smooth.item()  # on a GPU: waits for it
                told = time.monotonic()
                pace = (told - start) / (training.step - first)
                left = pace * (plan.steps - training.step) / 60
                print(
                    f"step {training.step}/{plan.steps}  loss {loss_now:.4f}  {pace:.3f} s/step  {left:.1f} min left",
                    file=sys.stderr,
                    flush=True,
                )
            if now - saved > SAVE_EVERY:
                saved = now
                save()
    except KeyboardInterrupt:
        save()
        raise
    save()
    state.unlink()
    print(f"done: {plan.steps} steps, {spent + time.monotonic() - start:.0f} s", file=sys.stderr)
    return training.average.eval()


def write_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors in bfloat16 (a file stays under 10 MB), by an atomic rename."""
    with atomic_write(path) as part:
        save_file({name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}, part)
