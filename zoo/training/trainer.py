"""One training loop: deterministic from its seed, resumable at any moment, with an exponential average of the weights."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.catalog.files import atomic_write
from zoo.errors import CheckpointError

SAVE_EVERY = 180.0
"""Seconds between two saves of the training state."""


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
    """AdamW for all trainable tensors; or Muon (Jordan et al., 2024) for the blocks' matrices and AdamW for the others."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if plan.matrix_rate and parameter.ndim == 2 and ("block" in name or ".layers." in name) else others).append(parameter)
    chosen: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.0)]
    if matrices:
        chosen.append(torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    return chosen


def fit(model: nn.Module, loss: Callable[[nn.Module, int], Tensor], plan: Plan, weights: Path) -> nn.Module:
    """Train `model` on loss(model, step), which must depend on the step alone; return it with the averaged weights.

    The state is kept beside `weights` (`.resume.pt`) every few minutes and on interruption; the same call goes on from there.
    The averaged weights are written to `weights` (safetensors) each time, and the state is removed at the end.
    """
    average = copy.deepcopy(model).requires_grad_(False)
    chosen = optimizers(model, plan)
    state = weights.with_suffix(".resume.pt")
    step, spent = _go_on(state, plan, model, average, chosen) if state.exists() else (0, 0.0)

    def save() -> None:
        values = {
            "plan": asdict(plan), "step": step, "seconds": spent + time.monotonic() - start, "model": model.state_dict(),
            "average": average.state_dict(), "optimizers": [o.state_dict() for o in chosen],
        }  # fmt: skip
        with atomic_write(state) as part:
            torch.save(values, part)
        write_weights(average, weights)

    start = saved = told = time.monotonic()
    first, smooth = step, None
    rates = [[group["lr"] for group in o.param_groups] for o in optimizers(model, plan)]
    try:
        while step < plan.steps:
            for optimizer, full in zip(chosen, rates, strict=True):
                optimizer.zero_grad(set_to_none=True)
                for group, rate in zip(optimizer.param_groups, full, strict=True):
                    group["lr"] = rate * plan.factor(step)
            value = loss(model, step)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in chosen:
                optimizer.step()
            step += 1
            keep = min(plan.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(now, 1 - keep)
            smooth = value.item() if smooth is None else 0.98 * smooth + 0.02 * value.item()
            now = time.monotonic()
            if now - told > 10 or step == plan.steps:
                told, pace = now, (now - start) / (step - first)
                left = pace * (plan.steps - step)
                print(
                    f"step {step}/{plan.steps}  loss {smooth:.4f}  {pace:.3f} s/step  {left / 60:.1f} min left", file=sys.stderr, flush=True
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
    return average.eval()


def _go_on(state: Path, plan: Plan, model: nn.Module, average: nn.Module, chosen: list[torch.optim.Optimizer]) -> tuple[int, float]:
    """Put everything back as it was kept; the step and the seconds spent so far."""
    kept = torch.load(state, weights_only=True)
    if kept["plan"] != asdict(plan):
        raise CheckpointError(f"{state} was left by another plan: remove it to start this one.")
    model.load_state_dict(kept["model"])
    average.load_state_dict(kept["average"])
    for optimizer, values in zip(chosen, kept["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    print(f"going on at step {kept['step']} of {plan.steps}", file=sys.stderr)
    return kept["step"], kept["seconds"]


def write_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors in bfloat16 (a file stays under 10 MB), by an atomic rename."""
    with atomic_write(path) as part:
        save_file({name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}, part)
