"""Solvers on Gaussian data, where the best possible network and the exact answer are known in closed form; and guidance."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.engine import request
from zoo.errors import RequestError
from zoo.sampling import SOLVERS, Schedule, Step, evaluations, guided, sample
from zoo.sampling.diffusers_solvers import FRIENDLY
from zoo.sampling.guidance import Level, denoise
from zoo.sampling.solvers import dpm_solver, orders

MEAN, STD = 1.5, 0.7
VP = Schedule.vp_sde(0.1, 20)
LINEAR = Schedule.linear(1e-4, 0.02, 1000)
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(8, 1, 1, 1)


class Gaussian:
    """eps of N(MEAN, STD^2) data; counts its calls and keeps the times it was told."""

    def __init__(self, schedule: Schedule, variance_channels: bool = False) -> None:
        self.schedule = schedule
        self.variance_channels = variance_channels
        self.times: list[Tensor] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.times.append(t)
        tau = (t[0].item() - self.schedule.time_shift) / self.schedule.time_scale
        alpha, sigma = self.schedule.alpha(tau), self.schedule.sigma(tau)
        eps = sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        return torch.cat([eps, torch.ones_like(eps)], dim=1) if self.variance_channels else eps


def exact(schedule: Schedule, x: Tensor, tau: float) -> Tensor:
    """Where the probability flow carries x from tau = 1."""

    def spread(s: float) -> float:
        return math.sqrt(schedule.alpha(s) ** 2 * STD**2 + schedule.sigma(s) ** 2)

    return schedule.alpha(tau) * MEAN + spread(tau) * (x - schedule.alpha(1.0) * MEAN) / spread(1.0)


def last(predict: object, x: Tensor, *arguments: object, **options: object) -> Step:
    return list(sample(predict, x, *arguments, **options))[-1]


def slope(counts: list[int], errors: list[float]) -> float:
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("clean", [True, False], ids=["dpm-solver++", "dpm-solver"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_solver_has_the_order_it_was_asked_for(order: int, clean: bool) -> None:
    counts, errors = [26, 50, 98, 194], []  # 3k + 2 evaluations: others end with a first-order update, which costs the third order
    for count in counts:
        levels = [Level.at(VP, tau) for tau in np.linspace(1, 0.2, count + 1)]  # nearer 0 one interval spans too much log-SNR
        *_, step = dpm_solver(partial(denoise, Gaussian(VP)), X, levels, None, order, clean)
        errors.append((step.x - exact(VP, X, 0.2)).abs().max().item())
    assert abs(slope(counts, errors) - order) < 0.25


def test_higher_orders_beat_the_first_at_the_same_number_of_evaluations() -> None:
    first, *higher = ((last(Gaussian(VP), X, VP, "dpm-solver++", 50, order=n).x - exact(VP, X, 1e-3)).abs().max() for n in (1, 2, 3))
    assert first > 5 * max(higher)


def test_ddim_is_first_order() -> None:
    schedule = Schedule.linear(1e-6, 0.002, 10_000)
    counts = [20, 40, 80, 160]
    errors = [(last(Gaussian(schedule), X, schedule, "ddim", n).x - exact(schedule, X, 1e-4)).abs().max().item() for n in counts]
    assert abs(slope(counts, errors) - 1) < 0.25


def test_the_ode_of_euler_maruyama_is_first_order() -> None:
    counts = [200, 400, 800]
    schedule = Schedule("vp-sde", VP.alphas_cumprod, 999.0, 0.0, (0.1, 20.0))
    errors = [(last(Gaussian(VP), X, schedule, "euler-maruyama", n, eta=0.0).x - exact(VP, X, 1e-9)).abs().max().item() for n in counts]
    assert abs(slope(counts, errors) - 1) < 0.25


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        ("ddpm", {}),
        ("ddim", {"eta": 1.0}),
        ("ddim", {"eta": 0.5, "spacing": "stride"}),
        ("euler-maruyama", {}),
        ("euler-maruyama", {"eta": 0.5}),
    ],
)
def test_noisy_solvers_give_the_mean_and_deviation_of_the_data(solver: str, options: dict) -> None:
    draws = torch.Generator().manual_seed(0)

    def noise(k: int) -> Tensor:
        return torch.randn(4000, 1, 1, 1, generator=draws, dtype=torch.float64)

    x = last(Gaussian(LINEAR), noise(-1), LINEAR, solver, 250, noise, **options).x
    assert abs(x.mean().item() - MEAN) < 0.04
    assert abs(x.std().item() - STD) < 0.03


def test_ddim_ignores_variance_channels_and_ddpm_does_not() -> None:
    def noise(k: int) -> Tensor:
        return torch.ones_like(X)

    for solver, same in (("ddim", True), ("ddpm", False)):
        plain = last(Gaussian(LINEAR), X, LINEAR, solver, 10, noise).x
        varied = last(Gaussian(LINEAR, variance_channels=True), X, LINEAR, solver, 10, noise).x
        assert varied.shape == X.shape
        if same:
            assert torch.equal(plain, varied)
        else:  # a fraction of 1 says beta, which is what the fixed variance is
            torch.testing.assert_close(plain, varied, atol=1e-9, rtol=0)

    def quiet(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([Gaussian(LINEAR)(x, t), -torch.ones_like(x)], dim=1)

    assert not torch.allclose(last(quiet, X, LINEAR, "ddpm", 10, noise).x, plain, atol=1e-3)


@pytest.mark.parametrize("schedule", [LINEAR, VP, Schedule.scaled_linear(0.00085, 0.012, 1000)], ids=lambda s: s.kind)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_takes_exactly_its_steps_on_every_schedule(solver: str, schedule: Schedule) -> None:
    for count in (2, 3, 4, 7):
        predict = Gaussian(schedule)
        steps = list(sample(predict, X, schedule, solver, count, lambda k: torch.zeros_like(X)))
        assert [(step.index, step.total) for step in steps] == [(k, count) for k in range(count)]
        assert [step.t for step in steps] == [t[0].item() for t in predict.times]
        assert all(t.shape == (8,) and t.dtype == torch.float32 for t in predict.times)
        assert steps[0].t == np.float32(schedule.model_time(1.0))
        assert steps[-1].x.dtype == steps[-1].x0.dtype == X.dtype
    if solver != "euler-maruyama":  # which needs hundreds of steps where beta is 20
        assert (steps[-1].x.mean() - MEAN).abs() < 0.5


def test_fast_orders_spend_exactly_the_evaluations() -> None:
    assert [orders(n, 3) for n in (1, 2, 3, 10, 11, 12)] == [[1], [2], [2, 1], [3, 3, 3, 1], [3, 3, 3, 2], [3, 3, 3, 2, 1]]
    assert [orders(n, 2) for n in (1, 4, 5)] == [[1], [2, 2], [2, 2, 1]]
    assert orders(3, 1) == [1, 1, 1]


def test_dpm_solver_pp_can_take_a_single_step() -> None:
    (step,) = sample(Gaussian(VP), X, VP, "dpm-solver++", 1)
    assert (step.index, step.total, step.t) == (0, 1, 999.0)


@pytest.mark.parametrize(("solver", "options"), [("ddpm", {}), ("ddim", {"eta": 0.7}), ("dpm-solver++", {})])
def test_an_image_is_the_same_alone_and_in_a_batch(solver: str, options: dict) -> None:
    def row(x: Tensor, t: Tensor) -> Tensor:
        return Gaussian(LINEAR)(x, t)

    draws = torch.randn(6, *X.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    batch = last(row, X, LINEAR, solver, 6, draws.__getitem__, **options).x
    for k in range(len(X)):
        alone = last(row, X[k : k + 1], LINEAR, solver, 6, lambda step: draws[step, k : k + 1], **options).x
        assert torch.equal(alone, batch[k : k + 1])


def test_a_closed_generator_asks_the_network_no_more() -> None:
    for solver in SOLVERS:
        predict = Gaussian(LINEAR)
        steps = sample(predict, X, LINEAR, solver, 10, lambda k: X)
        assert not predict.times
        next(steps), next(steps)
        steps.close()
        assert len(predict.times) == 2
        assert next(steps, None) is None


def test_sampling_records_no_gradients_and_leaves_the_consumers_mode_alone() -> None:
    weight = nn.Parameter(torch.ones((), dtype=torch.float64))
    for step in sample(lambda x, t: weight * x, X, LINEAR, "ddim", 3):
        assert torch.is_grad_enabled()
        assert not step.x.requires_grad
        assert not step.x0.requires_grad


@pytest.mark.parametrize(
    ("solver", "steps", "options", "sentence"),
    [
        (
            "magic",
            10,
            {},
            (
                "Solver 'magic' is unknown: choose one of dpm-solver++, dpm-solver, ddim, ddpm, euler-maruyama, euler, heun, unipc "
                "or diffusers:<Scheduler>."
            ),
        ),
        ("euler-maruyama", 1, {}, "euler-maruyama cannot take 1 steps: give a whole number from 2 to 1000."),
        (
            "euler-maruyama",
            10,
            {"noise": None},
            "euler-maruyama needs fresh noise: give noise, a function from the step index to a tensor like x.",
        ),
        ("euler", 10, {"eta": 1.0}, "euler takes no options here, not eta."),
        (
            "diffusers:Magic",
            10,
            {},
            "'Magic' is no scheduler of diffusers for models that predict noise: try e.g. diffusers:DPMSolverMultistepScheduler.",
        ),
        (
            "diffusers:FlowMatchEulerDiscreteScheduler",
            10,
            {},
            (
                "'FlowMatchEulerDiscreteScheduler' is no scheduler of diffusers for models "
                "that predict noise: try e.g. diffusers:DPMSolverMultistepScheduler."
            ),
        ),
        ("ddim", 0, {}, "ddim cannot take 0 steps: give a whole number from 2 to 1000."),
        ("ddim", 1, {}, "ddim cannot take 1 steps: give a whole number from 2 to 1000."),
        ("ddpm", -5, {}, "ddpm cannot take -5 steps: give a whole number from 2 to 1000."),
        ("ddpm", 1001, {}, "ddpm cannot take 1001 steps: give a whole number from 2 to 1000."),
        ("dpm-solver++", 0, {}, "dpm-solver++ cannot take 0 steps: give a whole number from 1 to 1000."),
        ("dpm-solver++", 1001, {}, "dpm-solver++ cannot take 1001 steps: give a whole number from 1 to 1000."),
        ("ddim", 10.0, {}, "ddim cannot take 10.0 steps: give a whole number from 2 to 1000."),
        ("ddim", "10", {}, "ddim cannot take '10' steps: give a whole number from 2 to 1000."),
        ("dpm-solver++", True, {}, "dpm-solver++ cannot take True steps: give a whole number from 1 to 1000."),
        ("ddpm", 10, {"eta": 0.0}, "ddpm has no option 'eta': it takes spacing."),
        ("ddim", 10, {"order": 2}, "ddim has no option 'order': it takes eta and spacing."),
        ("dpm-solver++", 10, {"spacing": "even"}, "dpm-solver++ has no option 'spacing': it takes order."),
        ("ddim", 10, {"eta": 1.5}, "eta is 1.5: give a number from 0 (no fresh noise) to 1 (as much as ddpm)."),
        ("ddim", 10, {"eta": math.nan}, "eta is nan: give a number from 0 (no fresh noise) to 1 (as much as ddpm)."),
        ("ddim", 10, {"eta": "0"}, "eta is '0': give a number from 0 (no fresh noise) to 1 (as much as ddpm)."),
        ("dpm-solver++", 10, {"order": 4}, "order is 4: give 1, 2 or 3."),
        ("dpm-solver++", 10, {"order": 2.0}, "order is 2.0: give 1, 2 or 3."),
        ("dpm-solver++", 10, {"order": True}, "order is True: give 1, 2 or 3."),
        ("ddim", 10, {"spacing": "odd"}, "Spacing 'odd' is unknown: choose 'even' or 'stride'."),
        ("ddim", 37, {"spacing": "stride"}, None),
        ("ddpm", 10, {"noise": None}, "ddpm needs fresh noise: give noise, a function from the step index to a tensor like x."),
        ("ddim", 10, {"noise": None, "eta": 0.1}, "ddim needs fresh noise: give noise, a function from the step index to a tensor like x."),
    ],
)
def test_what_cannot_be_done_is_refused_at_once_with_a_sentence(solver: str, steps: object, options: dict, sentence: str | None) -> None:
    predict = Gaussian(LINEAR)
    with pytest.raises(RequestError) as caught:
        sample(predict, X, LINEAR, solver, steps, **{"noise": lambda k: X, **options})
    assert sentence is None or str(caught.value) == sentence
    assert not predict.times


class Table(nn.Module):
    """A stand-in network: eps = the row of the label, plus the input; the second half of its channels is a variance."""

    def __init__(self, variance: bool = True) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(6, 4)
        self.variance = variance
        self.rows: list[int] = []

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        self.rows.append(len(x))
        row = torch.zeros(len(x), 4) if y is None else self.label_emb(y) if y.ndim == 1 else y.mean(1)
        eps = x + t.view(-1, *[1] * (x.ndim - 1)) + row.reshape(len(x), *[1] * (x.ndim - 4), 4, 1, 1)
        return torch.cat([eps, 2 * eps], dim=x.ndim - 3) if self.variance else eps


@pytest.fixture
def table() -> Table:
    return Table().requires_grad_(False)


IMAGE = torch.arange(48.0).reshape(3, 4, 2, 2) / 48
VIDEO = torch.arange(96.0).reshape(3, 2, 4, 2, 2) / 96
TIMES = torch.tensor([0.0, 0.5, 1.0])
LABELS = torch.tensor([0, 2, 4])


@pytest.mark.parametrize("scale", [1, 1.0, torch.ones(3)])
def test_scale_one_makes_a_single_pass_of_b_rows(table: Table, scale: float | Tensor) -> None:
    out = guided(table, LABELS, scale)(IMAGE, TIMES)
    assert table.rows == [3]
    assert torch.equal(out, table(IMAGE, TIMES, LABELS))


def test_no_labels_make_a_single_pass_whatever_the_scale(table: Table) -> None:
    out = guided(table, None, 4.0)(IMAGE, TIMES)
    assert table.rows == [3]
    assert torch.equal(out, table(IMAGE, TIMES, None))


@pytest.mark.parametrize("channels", [None, 3, 4])
@pytest.mark.parametrize("null_label", [5, None, torch.tensor(5)])
@pytest.mark.parametrize("x", [IMAGE, VIDEO], ids=["image", "video"])
def test_guidance_follows_the_formula_on_its_channels_in_one_pass(
    table: Table, x: Tensor, null_label: int | Tensor | None, channels: int | None
) -> None:
    out = guided(table, LABELS, 4.0, channels, null_label)(x, TIMES)
    assert table.rows == [6]
    cond, uncond = table(x, TIMES, LABELS), table(x, TIMES, torch.full((3,), 5))
    axis, count = x.ndim - 3, channels or 4
    want = cond.clone()
    want.narrow(axis, 0, count).copy_((uncond + 4.0 * (cond - uncond)).narrow(axis, 0, count))
    torch.testing.assert_close(out, want)


def test_every_row_may_have_its_own_scale(table: Table) -> None:
    together = guided(table, LABELS, torch.tensor([1.0, 2.5, 7.0]))(IMAGE, TIMES)
    for k, scale in enumerate((1.0, 2.5, 7.0)):
        alone = guided(table, LABELS[k : k + 1], scale)(IMAGE[k : k + 1], TIMES[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_context_is_guided_against_the_null_context(table: Table, lead: tuple[int, ...]) -> None:
    context, null = torch.linspace(0, 1, 60).reshape(3, 5, 4), torch.linspace(1, -1, 20).reshape(*lead, 5, 4)
    out = guided(table, context, 2.0, null_label=null)(IMAGE, TIMES)
    cond, uncond = table(IMAGE, TIMES, context), table(IMAGE, TIMES, null.expand(3, 5, 4))
    torch.testing.assert_close(out[:, :4], (2 * cond - uncond)[:, :4])


@pytest.mark.parametrize("labels", [LABELS, torch.zeros(3, 5, 4)], ids=["labels", "context"])
def test_guidance_without_a_known_null_is_refused(labels: Tensor) -> None:
    networks = [torch.nn.Identity(), lambda x, t, y: x] if labels.ndim == 1 else [Table()]
    for network in networks:
        with pytest.raises(RequestError, match="give null_label"):
            guided(network, labels, 2.0)
        guided(network, labels, 1.0)


@pytest.mark.parametrize("family", ["dit", "u-vit"])
def test_a_bfloat16_network_answers_in_the_dtype_of_x_and_samples(family: str) -> None:
    arch = {"input_size": 4, "patch_size": 2, "in_channels": 4, "hidden_size": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    module = backbones.build(family, arch).to(torch.bfloat16)
    for scale in (1.0, 3.0):
        predict = guided(module, torch.tensor([1, 2]), scale)
        x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
        assert predict(x, torch.tensor([3.0, 4.0])).dtype == torch.float32
        assert last(predict, x, LINEAR, "dpm-solver++", 3).x.dtype == torch.float32


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc", "diffusers:DPMSolverMultistepScheduler", "diffusers:PNDMScheduler"])
@pytest.mark.parametrize("schedule", [LINEAR, VP, Schedule.scaled_linear(0.00085, 0.012, 1000)], ids=lambda s: s.kind)
def test_solvers_of_diffusers_carry_noise_to_the_data(solver: str, schedule: Schedule) -> None:
    predict = Gaussian(schedule)
    steps = list(sample(predict, X.float(), schedule, solver, 40))
    made = 39 if solver == "heun" else 40
    assert [(step.index, step.total) for step in steps] == [(k, made) for k in range(made)]
    assert len(predict.times) == evaluations(schedule, solver, 40) == made
    assert (steps[-1].x - exact(schedule, X, 1e-3)).abs().max() < 0.15
    assert steps[-1].x.dtype == torch.float32


@pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "LCMScheduler", "SASolverScheduler"])
def test_noise_of_borrowed_solvers_belongs_to_the_image(name: str) -> None:
    before = torch.random.get_rng_state()
    batch = last(Gaussian(VP), X.float(), VP, f"diffusers:{name}", 12).x
    again = last(Gaussian(VP), X.float(), VP, f"diffusers:{name}", 12).x
    alone = last(Gaussian(VP), X[3:4].float(), VP, f"diffusers:{name}", 12).x
    assert torch.equal(batch, again)
    torch.testing.assert_close(alone[0], batch[3], atol=1e-5, rtol=0)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")  # NumPy, of diffusers' products
def test_steps_are_network_evaluations_with_every_scheduler_of_diffusers() -> None:
    kinds = [name for name in dir(diffusers) if name.endswith("Scheduler")]
    one_less = {"HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"}  # two at a time
    walked = set()
    for kind in kinds:
        for steps in (25, 20, 3):
            with suppress(RequestError):
                predict = Gaussian(LINEAR)
                *_, end = sample(predict, X.float(), LINEAR, f"diffusers:{kind}", steps)
                assert len(predict.times) == end.total == steps - (kind in one_less and steps % 2 == 0), kind
                assert max(t[0].item() for t in predict.times) == predict.times[0][0].item(), f"{kind} does not begin with noise"
                walked.add(kind)
    assert len(walked) >= 17
    assert one_less <= walked


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")
@pytest.mark.parametrize(
    ("kind", "steps", "word"),
    [
        ("IPNDM", 3, "is no scheduler"),
        ("DDIMInverse", 5, "is no scheduler"),
        ("PNDM", 9, "cannot take 9 steps"),
        ("KDPM2AncestralDiscrete", 3, "cannot take 3 steps"),
    ],
)
def test_a_scheduler_that_cannot_spend_the_steps_is_refused_at_once(kind: str, steps: int, word: str) -> None:
    for ask in (sample, lambda _, __, *rest: evaluations(*rest)):
        with pytest.raises(RequestError, match=word):
            ask(Gaussian(LINEAR), X, LINEAR, f"diffusers:{kind}Scheduler", steps)


def test_a_scheduler_that_changes_the_chain_by_default_takes_ours() -> None:
    ours, theirs = (last(Gaussian(LINEAR), X.float(), LINEAR, solver, 40).x for solver in ("ddim", "diffusers:CogVideoXDDIMScheduler"))
    assert (ours - theirs).abs().max() < 0.1


def test_a_request_knows_the_same_solvers() -> None:
    assert set(request.SOLVERS) == {*SOLVERS, *FRIENDLY}
