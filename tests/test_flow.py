"""Flows on Gaussian data, where the best velocity and the exact answer are known in closed form; and guidance in an interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling import FLOW_SOLVERS, Schedule, Step, evaluations, guided, read_clean, sample, solver_names, told_times

MEAN, STD = 1.5, 0.7
DATA, NOISE = Schedule.flow("data"), Schedule.flow("noise")
LINEAR = Schedule.linear(1e-4, 0.02, 1000)
X = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(8, 1, 1, 1)


class Gaussian:
    """The best network for N(MEAN, STD^2) data on a flow, in float64; keeps the times it was told and the rows it was asked about."""

    def __init__(self, schedule=DATA, prediction: str = "velocity", untrained: bool = False) -> None:
        self.schedule, self.prediction, self.untrained = schedule, prediction, untrained
        self.times: list[float] = []
        self.rows: list[int] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.times.append(t[0].item())
        self.rows.append(len(x))
        s, scale = self.schedule.told_tau(t[0].item()), self.schedule.noise_scale
        variance = ((1 - s) * STD) ** 2 + (s * scale) ** 2
        clean = MEAN + (1 - s) * STD**2 / variance * (x - (1 - s) * MEAN)
        noise = s * scale**2 / variance * (x - (1 - s) * MEAN)
        answer = clean if self.prediction == "sample" else self.schedule.sign * (noise - clean)
        return torch.cat([answer, torch.full_like(answer, 1e9)], dim=1) if self.untrained else answer


def exact(x: Tensor) -> Tensor:
    """Where the flow carries standard normal noise."""
    return MEAN + STD * x


def last(predict, x: Tensor, *arguments, **options) -> Step:
    return list(sample(predict, x, *arguments, **options))[-1]


def slope(counts: list[int], errors: list[float]) -> float:
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("schedule", [DATA, NOISE, Schedule.flow("data", 3.0), Schedule.flow("noise", 1.0, 2.0)], ids=str)
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_solvers_of_a_flow_have_their_order(solver: str, order: int, schedule) -> None:
    counts = [40, 80, 160, 320]
    errors = [(last(Gaussian(schedule), X, schedule, solver, count).x - exact(X)).abs().max().item() for count in counts]
    assert abs(slope(counts, errors) - order) < 0.15


@pytest.mark.parametrize("schedule", [DATA, NOISE, Schedule.flow("data", 3.0, 2.0)], ids=str)
@pytest.mark.parametrize("rtol", [1e-5, 1e-7])
def test_dopri5_keeps_its_error_below_what_is_allowed(rtol: float, schedule) -> None:
    predict = Gaussian(schedule)
    step = last(predict, X, schedule, "dopri5", None, rtol=rtol, atol=rtol)
    assert (step.x - exact(X)).abs().max() < 40 * rtol  # of some ten steps, each below rtol (1 + |x|)
    assert len(predict.times) == step.total == step.index + 1
    assert step.t == predict.times[-1]
    assert (predict.times[-1] - schedule.model_time(0.0)) * schedule.sign < 0, "the last step goes beyond the data"


def test_a_tighter_tolerance_of_dopri5_costs_evaluations_and_steps_asked_for_change_nothing() -> None:
    few, many, asked = (last(Gaussian(), X, DATA, "dopri5", steps, rtol=rtol) for steps, rtol in ((None, 1e-3), (None, 1e-8), (7, 1e-3)))
    assert few.total < many.total
    assert torch.equal(few.x, asked.x)


def test_dopri5_estimates_its_total_until_the_last_step() -> None:
    steps = list(sample(Gaussian(), X, DATA, "dopri5", None, rtol=1e-6))
    assert [step.index for step in steps] == list(range(len(steps)))
    assert all(step.total > step.index + 1 for step in steps[:-1])
    assert steps[-1].total == len(steps)


def test_dopri5_gives_up_on_a_network_that_answers_no_numbers() -> None:
    with pytest.raises(RequestError, match="got nowhere: give a larger rtol, or choose euler or heun"):
        last(lambda x, t: x * math.nan, X, DATA, "dopri5", None)


@pytest.mark.parametrize("schedule", [DATA, NOISE, Schedule.flow("data", 1.0, 2.0)], ids=str)
def test_euler_maruyama_gives_the_mean_and_deviation_of_the_data(schedule) -> None:
    draws = torch.Generator().manual_seed(0)

    def noise(k: int) -> Tensor:
        return torch.randn(4000, 1, 1, 1, generator=draws, dtype=torch.float64)

    x = last(Gaussian(schedule), noise(-1), schedule, "euler-maruyama", 250, noise).x
    assert abs(x.mean().item() - MEAN) < 0.04
    assert abs(x.std().item() - STD) < 0.03


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_network_that_predicts_the_clean_sample_walks_the_same_way(solver: str) -> None:
    by_velocity = last(Gaussian(DATA), X, DATA, solver, 29)
    by_sample, floored = (last(Gaussian(DATA, "sample"), X, DATA, solver, 29, prediction="sample", t_eps=floor) for floor in (1e-9, 0.5))
    torch.testing.assert_close(by_sample.x, by_velocity.x, atol=1e-4, rtol=0)
    assert not torch.allclose(floored.x, by_velocity.x, atol=0.01)


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_the_two_directions_of_time_are_one_flow_and_an_untrained_half_is_left_out(solver: str) -> None:
    one, other, doubled = (
        last(predict, X, predict.schedule, solver, 9, lambda k: X)
        for predict in (Gaussian(DATA), Gaussian(NOISE), Gaussian(DATA, untrained=True))
    )
    torch.testing.assert_close(one.x, other.x, atol=1e-5, rtol=0)
    assert torch.equal(one.x, doubled.x)
    assert torch.equal(one.x0, doubled.x0)


@pytest.mark.parametrize("solver", ["euler", "heun", "euler-maruyama"])
@pytest.mark.parametrize("steps", [2, 3, 8, 9])
def test_steps_are_network_evaluations_and_their_times_are_known_before(solver: str, steps: int) -> None:
    schedule = Schedule.flow("data", 2.0)
    predict = Gaussian(schedule)
    made = list(sample(predict, X, schedule, solver, steps, lambda k: X))
    assert [(step.index, step.total) for step in made] == [(k, steps) for k in range(steps)]
    assert [step.t for step in made] == predict.times == told_times(schedule, solver, steps)
    assert evaluations(schedule, solver, steps) == steps
    assert made[0].t == 0
    assert (made[-1].t == 1) == (solver == "heun" and steps % 2 == 0)


def test_shift_spends_more_steps_near_the_noise() -> None:
    plain, shifted = (told_times(Schedule.flow("noise", shift), "euler", 10) for shift in (1.0, 3.0))
    assert all(one > other for one, other in zip(shifted[1:], plain[1:], strict=True))
    assert told_times(DATA, "euler", 5, last_step_size=0.04)[-1] == pytest.approx(0.96)


@pytest.mark.parametrize("solver", ["euler", "heun", "euler-maruyama"])
def test_an_image_of_a_flow_is_the_same_alone_and_in_a_batch(solver: str) -> None:
    draws = torch.randn(6, *X.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    batch = last(Gaussian(), X, DATA, solver, 6, draws.__getitem__).x
    for k in range(len(X)):
        assert torch.equal(last(Gaussian(), X[k : k + 1], DATA, solver, 6, lambda step, k=k: draws[step, k : k + 1]).x, batch[k : k + 1])


def test_step_control_of_dopri5_is_over_the_batch() -> None:
    batch, alone = last(Gaussian(), X, DATA, "dopri5", None), last(Gaussian(), X[:1], DATA, "dopri5", None)
    assert not torch.equal(alone.x, batch.x[:1])


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_the_dtype_of_the_noise_is_kept_and_no_gradient_recorded(solver: str) -> None:
    weight = torch.ones((), requires_grad=True)
    for step in sample(lambda x, t: weight * x, X.float(), DATA, solver, 4, lambda k: X.float()):
        assert step.x.dtype == step.x0.dtype == torch.float32
        assert not step.x.requires_grad


@pytest.mark.parametrize(
    ("schedule", "solver", "words", "sentence"),
    [
        (DATA, "magic", {}, "Solver 'magic' is unknown: choose one of euler, heun, dopri5, euler-maruyama."),
        (
            DATA,
            "ddpm",
            {},
            "ddpm is for models that predict noise, and this one follows a flow: choose one of euler, heun, dopri5, euler-maruyama.",
        ),
        (
            DATA,
            "diffusers:DDIMScheduler",
            {},
            (
                "diffusers:DDIMScheduler is for models that predict noise, and this one follows a flow: choose one of euler, heun, "
                "dopri5, euler-maruyama."
            ),
        ),
        (
            LINEAR,
            "dopri5",
            {},
            (
                "dopri5 is for models that follow a flow, and this one predicts noise: choose one of dpm-solver++, dpm-solver, ddim, ddpm, "
                "euler-maruyama, euler, heun, unipc or diffusers:<Scheduler>."
            ),
        ),
        (
            LINEAR,
            "ddim",
            {"prediction": "velocity"},
            "A prediction 'velocity' is for models of a flow, and this one predicts noise: leave it out.",
        ),
        (DATA, "euler", {"prediction": "noise"}, "A model of a flow does not predict 'noise': choose 'velocity' or 'sample'."),
        (DATA, "heun", {"last_step_size": 0.1}, "heun has no option 'last_step_size': it takes none."),
        (DATA, "euler", {"last_step_size": 2}, "last_step_size is 2: give a number between 0 and 1."),
        (DATA, "dopri5", {"rtol": 0}, "rtol is 0: give a number between 0 and 1."),
        (DATA, "euler", {"t_eps": 0.05}, "euler has no option 't_eps': it takes last_step_size."),
        (DATA, "euler-maruyama", {"noise": None}, None),
    ],
)
def test_what_a_schedule_cannot_do_is_refused_with_what_to_choose(schedule, solver: str, words: dict, sentence: str | None) -> None:
    predict = Gaussian()
    with pytest.raises(RequestError) as caught:
        sample(predict, X, schedule, solver, 10, **{"noise": lambda k: X} | words)
    assert sentence is None or str(caught.value) == sentence
    assert not predict.times


@pytest.mark.parametrize("steps", [0, 1.5, None, 1001])
def test_only_dopri5_takes_any_steps(steps: object) -> None:
    with pytest.raises(RequestError, match="steps: give a whole number from 1 to 1000"):
        sample(Gaussian(), X, DATA, "euler", steps)
    assert evaluations(DATA, "dopri5", steps) > 0


@pytest.mark.parametrize("words", [{"time": "half"}, {"shift": 0.0}, {"noise_scale": -1.0}])
def test_a_flow_that_is_none_is_refused(words: dict) -> None:
    with pytest.raises(RequestError, match=r"choose 'data'|numbers above 0"):
        Schedule.flow(**words)


def test_a_card_names_a_flow_and_every_schedule_its_solvers() -> None:
    schedule = Schedule.from_card({"kind": "flow", "time": "noise", "shift": 1.5})
    assert schedule == Schedule.flow("noise", 1.5)
    assert solver_names(schedule) == ("euler", "heun", "dopri5", "euler-maruyama")
    assert "dopri5" not in solver_names(LINEAR)


# ---- equal noise


@pytest.mark.parametrize("schedule", [LINEAR, Schedule.vp_sde(0.1, 20), DATA, NOISE, Schedule.flow("data", 1.0, 2.0)], ids=lambda s: s.kind)
def test_equal_noise_is_an_equal_ratio_of_noise_and_picture_on_every_schedule(schedule) -> None:
    for tau in (0.1, 0.35, 0.9):
        t = schedule.model_time(tau)
        ratio = schedule.sigma(tau) / schedule.alpha(tau)
        assert schedule.told_tau(t) == pytest.approx(tau)
        assert schedule.told_half_log_snr(t) == pytest.approx(-math.log(ratio))
        if getattr(schedule, "noise_scale", 1.0) == 1:
            assert schedule.noise_share(t) == pytest.approx(ratio / (1 + ratio))


def test_the_ends_of_a_flow_are_finite_levels() -> None:
    levels = [DATA.told_half_log_snr(t) for t in (-0.1, 0.0, 0.5, 1.0, 1.3)]
    assert levels == [-6, -6, 0, 6, 6]


@pytest.mark.parametrize("schedule", [DATA, NOISE], ids=str)
def test_the_clean_sample_can_be_read_at_any_time_of_a_run(schedule) -> None:
    before = X
    for step in sample(Gaussian(schedule), X, schedule, "euler", 5):
        torch.testing.assert_close(read_clean(Gaussian(schedule), before, schedule, step.t), step.x0, atol=1e-6, rtol=0)
        before = step.x


# ---- guidance in an interval


class Labelled:
    """A network whose answer is its label, plus the input; keeps how many rows it was asked about."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.rows.append(len(x))
        return x + y.view(-1, 1, 1, 1)


LABELS = torch.tensor([3, 5])
TWO = torch.arange(16.0).reshape(2, 2, 2, 2)


def test_outside_the_interval_the_conditional_output_stands_alone_at_the_price_of_one_pass() -> None:
    network = Labelled()
    predict = guided(network, LABELS, 2.0, None, 0, (0.2, 0.7), NOISE)
    for s, doubled in ((0.1, False), (0.2, True), (0.5, True), (0.7, True), (0.7 + 1e-7, True), (0.71, False)):
        out = predict(TWO, torch.full((2,), s))
        assert network.rows.pop() == (4 if doubled else 2)
        torch.testing.assert_close(out, TWO + (2 if doubled else 1) * LABELS.view(-1, 1, 1, 1))


def test_open_ends_are_left_out_but_0_and_1_are_no_ends() -> None:
    def is_guided(s: float, interval: tuple[float, float]) -> bool:
        network = Labelled()
        guided(network, LABELS, 2.0, None, 0, interval, NOISE, interval_open=True)(TWO, torch.full((2,), s))
        return network.rows == [4]

    assert [is_guided(s, (0.3, 1.0)) for s in (0.3, 0.31, 1.0)] == [False, True, True]
    assert [is_guided(s, (0.0, 0.9)) for s in (-0.2, 0.0, 0.89, 0.9)] == [True, True, True, False]


def test_rows_at_different_times_are_each_guided_or_not() -> None:
    out = guided(Labelled(), LABELS, 2.0, None, 0, (0.0, 0.5), NOISE)(TWO, torch.tensor([0.4, 0.6]))
    torch.testing.assert_close(out, TWO + torch.tensor([6.0, 5.0]).view(-1, 1, 1, 1))


def test_an_interval_of_everything_changes_nothing_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(4, 4, generator=generator), torch.randn(2, 4, 2, 2, generator=generator)

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", x, weight) * t.view(-1, 1, 1, 1) / 1000 + y.view(-1, 1, 1, 1)

    for schedule, solver in ((LINEAR, "ddim"), (DATA, "heun"), (DATA, "dopri5")):
        plain = last(guided(network, LABELS, 3.0, 3, 0), x, schedule, solver, 6).x
        assert torch.equal(last(guided(network, LABELS, 3.0, 3, 0, (0.0, 1.0), schedule), x, schedule, solver, 6).x, plain)
        assert not torch.equal(last(guided(network, LABELS, 3.0, 3, 0, (0.0, 0.6), schedule), x, schedule, solver, 6).x, plain)


def test_an_interval_of_a_diffusion_model_is_in_the_same_share_of_noise() -> None:
    network = Labelled()
    steps = list(sample(guided(network, LABELS, 2.0, None, 0, (0.2, 0.7), LINEAR), TWO, LINEAR, "ddim", 40))
    shares = [LINEAR.noise_share(step.t) for step in steps]
    assert [rows == 4 for rows in network.rows] == [0.2 <= share <= 0.7 for share in shares]
    assert 0 < network.rows.count(4) < 40
    tau = LINEAR.told_tau(steps[20].t)
    assert shares[20] == pytest.approx(LINEAR.sigma(tau) / (LINEAR.alpha(tau) + LINEAR.sigma(tau)))


@pytest.mark.parametrize(("solver", "alone"), [("heun", [0, 1]), ("euler", [0, 1, 2])])
def test_decided_once_a_step_both_evaluations_of_heun_follow_its_beginning(solver: str, alone: list[int]) -> None:
    network = Labelled()
    predict = guided(network, LABELS, 2.0, None, 0, (0.0, 0.65), NOISE, decided_at="step")

    def wrapped(x: Tensor, t: Tensor) -> Tensor:
        return predict(x, t)

    list(sample(wrapped, TWO, NOISE, solver, 6 if solver == "euler" else 5))
    at_each = list(network.rows)
    assert [k for k, rows in enumerate(at_each) if rows == 2] == alone if solver == "euler" else at_each[:2] == [2, 2]


def test_a_scale_may_follow_the_time_told() -> None:
    network, t = Labelled(), torch.tensor([0.0, 1.0])
    out = guided(network, LABELS, lambda t: 1 + t, None, 0)(TWO, t)
    torch.testing.assert_close(out, TWO + (LABELS * torch.tensor([1, 2])).view(-1, 1, 1, 1))
    guided(network, LABELS, torch.ones_like, None, 0)(TWO, t)
    assert network.rows == [4, 2]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"interval": (0.1, 0.5)}, "give the model's schedule"),
        ({"interval": (0.5, 0.1), "schedule": DATA}, "give two rising noise shares"),
        ({"interval": (-1.0, 0.1), "schedule": DATA}, "give two rising noise shares"),
        ({"interval": (0.1, 0.5), "schedule": DATA, "decided_at": "run"}, "not at 'run'"),
    ],
)
def test_an_interval_that_is_none_is_refused(words: dict, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        guided(Labelled(), LABELS, 2.0, None, 0, **words)
