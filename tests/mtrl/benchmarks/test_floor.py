from dataclasses import replace

import pytest
import torch

import agents.optimizer
from agents.config import SACConfig
from agents.networks import Architecture, Shared
from agents.sac import SAC, Batch
from mtrl.balancers import LS, Balancer
from mtrl.benchmarks.floor import Rates, Work, count_work, measure_rates

T, OBSERVATION, ACTION, WIDTH = 2, 12, 4, 8
SMALL = Shared(width=WIDTH, depth=1)
WORK = Work(flops=1000, state=1, gradients=2, activations=3, batch=4)


def work(
    batch_size: int = 6, seeds: int = 1, balancer: Balancer | None = None, architecture: Architecture = SMALL
) -> Work:
    agent = SAC(
        architecture,
        SACConfig(),
        observation_size=OBSERVATION,
        action_size=ACTION,
        num_tasks=T,
        seeds=range(seeds),
        critic_balancer=balancer,
        actor_balancer=balancer,
    )
    agent.factor_gradients(batch_size)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(seeds, T, batch_size, *shape)

    batch = Batch(draw(OBSERVATION), draw(ACTION).tanh(), draw(), draw(OBSERVATION), torch.zeros_like(draw()))
    agent.update(batch)
    return count_work(agent, batch)


@pytest.mark.parametrize("seeds", [1, 2])
def test_flops_and_bytes_by_hand(seeds: int) -> None:
    samples = T * 6
    actor = 2 * samples * (OBSERVATION * WIDTH + WIDTH * 2 * ACTION)  # one pass through the layers
    # The critics' last layer has one output: no matrix product.
    critics = 2 * 2 * samples * (OBSERVATION + ACTION) * WIDTH
    # Forward: the actor at both observations, the critics three times. Backward: each layer's weights, the inputs of
    # the actor's second layer, and for the actor's loss those of the critics' first.
    flops = (2 * actor + 3 * critics) + critics + critics
    flops += actor + 2 * samples * WIDTH * 2 * ACTION
    counted = work(seeds=seeds)
    assert counted.flops == seeds * flops

    of_actor = OBSERVATION * WIDTH + WIDTH + WIDTH * 2 * ACTION + 2 * ACTION
    of_critics = 2 * ((OBSERVATION + ACTION) * WIDTH + WIDTH + WIDTH + 1)
    # With two moments, the target critics, and two statistics of the returns.
    floats = 3 * of_actor + 4 * of_critics + 3 * T + 2 * T
    step_counts = 8 * 5
    assert counted.state == seeds * (4 * floats + step_counts)
    assert counted.gradients == seeds * 4 * (of_actor + of_critics)
    assert counted.batch == seeds * 4 * samples * (2 * OBSERVATION + ACTION + 2)


def test_activations_are_those_kept_for_the_backward_pass() -> None:
    """At least what the layers read, and in proportion to the samples."""
    few, many = work(batch_size=100), work(batch_size=200)
    samples = 100 * T
    layers = (2 * WIDTH + (OBSERVATION + ACTION)) * 2 + WIDTH
    assert 4 * samples * layers <= few.activations <= 4 * 4 * samples * layers
    assert many.activations == pytest.approx(2 * few.activations, rel=1e-2)


def test_balanced_gradients_are_one_for_each_task() -> None:
    assert work(balancer=LS()).gradients == T * work().gradients


@pytest.mark.parametrize("seeds", [1, 2])
def test_factors_by_hand(monkeypatch: pytest.MonkeyPatch, seeds: int) -> None:
    """Of the layers' weights; biases stay gradients for each task."""
    expected = work(seeds=seeds, balancer=LS())
    monkeypatch.setattr(agents.optimizer, "factors_pay", lambda *_: True)
    found = work(seeds=seeds, balancer=LS())
    samples = T * 6
    layers = [
        (OBSERVATION, WIDTH, 1),
        (WIDTH, 2 * ACTION, 1),
        (OBSERVATION + ACTION, WIDTH, 2),
        (WIDTH, 1, 2),
    ]
    pairs = sum(copies * 2 * samples**2 * (before + after) for before, after, copies in layers)
    pairs += 2 * 2 * samples * WIDTH  # the gradient of the critics' last layer is a matrix product now
    weights = sum(copies * before * after for before, after, copies in layers)
    products = (
        2 * T * T * weights + 2 * T * weights
    )  # of gradients with one another and with the tasks' weights
    assert found.flops - expected.flops == seeds * (pairs - products)
    kept = weights + sum(copies * samples * after for _, after, copies in layers)
    biases = sum(copies * after for _, after, copies in layers)
    assert found.gradients == seeds * 4 * (kept + T * biases)
    assert (found.state, found.batch) == (expected.state, expected.batch)


def test_the_floor_is_what_takes_longest() -> None:
    assert WORK.memory == 10
    assert WORK.traffic == 20
    assert Rates(flops_per_second=100.0, bytes_per_second=10.0).floor(WORK) == 10.0
    assert Rates(flops_per_second=100.0, bytes_per_second=1.0).floor(WORK) == 20.0
    assert Rates(flops_per_second=100.0, bytes_per_second=10.0).floor(replace(WORK, flops=0)) == 2.0


def test_rates_are_those_of_a_machine() -> None:
    rates = measure_rates(torch.device("cpu"))
    assert 1e8 < rates.flops_per_second < 1e16
    assert 1e8 < rates.bytes_per_second < 1e14
