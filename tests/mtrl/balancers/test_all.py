"""What every balancer must do, whichever it is: the tests run over all that `available` finds."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtrl.balancers import Balanced, Balancer, available

METHODS = list(available().values())
DETERMINISTIC = [m for m in METHODS if not hasattr(m().setup(2), "generators")]
every = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


def systems(
    count: int, seeds: int, tasks: int, parameters: int = 60, salt: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Arguments of a balancer: random systems with mild conflict, positive losses, and a representation."""
    generator = torch.Generator().manual_seed(1000 * tasks + seeds + salt)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for _ in range(count):
        yield {
            "jacobian": draw(seeds, tasks, parameters) + 0.3 * draw(seeds, 1, parameters),
            "losses": draw(seeds, tasks).exp(),
            "representation": draw(seeds, tasks, parameters),
        }


def call(balancer: Balancer, arguments: dict[str, Tensor]) -> Balanced:
    """One step: balance, then observe losses that fell by different amounts."""
    balanced: Balanced = balancer(**arguments)
    if balancer.observes_update:
        losses = arguments["losses"]
        balancer.observe(losses * torch.linspace(0.9, 1.0, losses.shape[-1], dtype=losses.dtype))
    return balanced


def pick(arguments: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    return {name: value[seed : seed + 1] for name, value in arguments.items()}


@every
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("tasks", [2, 3, 10, 50])
def test_shapes(method: type[Balancer], tasks: int, seeds: int) -> None:
    for dtype in (torch.float32, torch.float64):
        balancer = method().setup(tasks, seeds=range(seeds), dtype=dtype)
        for arguments in systems(2, seeds, tasks):
            arguments = {name: value.to(dtype) for name, value in arguments.items()}
            balanced = call(balancer, arguments)
            assert balanced.direction.shape == (seeds, 60)
            assert balanced.direction.dtype == dtype
            assert balanced.weights.shape == (seeds, tasks)
            assert balanced.gramian.shape == (seeds, tasks, tasks)
            assert balanced.direction.isfinite().all()
            if balanced.weights.isfinite().all():
                combined = (balanced.weights.unsqueeze(1) @ arguments["jacobian"]).squeeze(1)
                torch.testing.assert_close(balanced.direction, combined, rtol=1e-4, atol=1e-4)


@every
def test_a_seed_alone_does_what_it_does_in_a_batch(method: type[Balancer]) -> None:
    seeds = (5, 2, 11)
    together = method().setup(4, seeds=seeds, dtype=torch.float64)
    alone = [method().setup(4, seeds=[seed], dtype=torch.float64) for seed in seeds]
    for arguments in systems(4, 3, 4):
        directions = call(together, arguments).direction
        for i, balancer in enumerate(alone):
            expected = call(balancer, pick(arguments, i)).direction[0]
            torch.testing.assert_close(directions[i], expected, rtol=1e-9, atol=1e-12)


@every
def test_equal_seeds_see_equal_numbers_and_different_seeds_do_not_share_state(method: type[Balancer]) -> None:
    balancer = method().setup(3, seeds=(4, 4), dtype=torch.float64)
    for arguments in systems(3, 1, 3):
        twice = {name: torch.cat([value, value]) for name, value in arguments.items()}
        first, second = call(balancer, twice).direction
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


@every
def test_a_restored_state_goes_on_bit_for_bit(method: type[Balancer]) -> None:
    original = method().setup(3, seeds=(1, 2))
    restored = method().setup(3, seeds=(8, 9))
    steps = [{k: v.float() for k, v in arguments.items()} for arguments in systems(6, 2, 3)]
    for arguments in steps[:3]:
        call(original, arguments)
    state = {k: v.clone() for k, v in original.state_dict().items()}
    assert all(isinstance(value, Tensor) for value in state.values())
    restored.load_state_dict(state)
    for arguments in steps[3:]:
        assert torch.equal(call(original, arguments).direction, call(restored, arguments).direction)


@every
def test_the_state_stays_where_it_is(method: type[Balancer]) -> None:
    """A captured graph writes to fixed addresses: after the first call no buffer may move."""
    balancer = method().setup(3)
    first, *rest = ({k: v.float() for k, v in a.items()} for a in systems(3, 1, 3))
    call(balancer, first)
    addresses = {name: buffer.data_ptr() for name, buffer in balancer.named_buffers()}
    for arguments in rest:
        call(balancer, arguments)
    assert addresses == {name: buffer.data_ptr() for name, buffer in balancer.named_buffers()}


@pytest.mark.parametrize("method", DETERMINISTIC, ids=lambda m: m.__name__)
@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_permuting_the_tasks_permutes_the_weights(method: type[Balancer], tasks: int) -> None:
    preference = [1.0 + i for i in range(tasks)]
    order = torch.randperm(tasks, generator=torch.Generator().manual_seed(tasks))
    original = method(preference=preference).setup(tasks, dtype=torch.float64)
    permuted = method(preference=[preference[i] for i in order]).setup(tasks, dtype=torch.float64)
    for arguments in systems(3, 1, tasks):
        balanced = original(**arguments)
        shuffled = permuted(**{name: value[:, order] for name, value in arguments.items()})
        torch.testing.assert_close(shuffled.direction, balanced.direction, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(
            shuffled.weights, balanced.weights[:, order], rtol=1e-5, atol=1e-7, equal_nan=True
        )


def degenerate(tasks: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(tasks)
    rows = torch.randn(1, tasks, 40, generator=generator)
    last_zero, all_equal, opposite, low_rank = rows.clone(), rows.clone(), rows.clone(), rows.clone()
    last_zero[:, -1] = 0.0
    all_equal[:] = rows[:, :1]
    opposite[:, -1] = -rows[:, 0]
    low_rank[:] = rows[:, :1] * torch.linspace(-1.0, 2.0, tasks)[None, :, None]
    return {
        "zero": torch.zeros_like(rows),
        "zero row": last_zero,
        "equal rows": all_equal,
        "opposite rows": opposite,
        "rank one": low_rank,
        "tiny": 1e-10 * rows,
        "huge": 1e10 * rows,
        "mixed scales": rows * torch.logspace(-10, 10, tasks)[None, :, None],
    }


@every
@pytest.mark.parametrize("tasks", [2, 10])
def test_degenerate_systems_give_finite_directions(method: type[Balancer], tasks: int) -> None:
    for name, jacobian in degenerate(tasks).items():
        balancer = method().setup(tasks)
        for losses in (
            torch.ones(1, tasks),
            torch.zeros(1, tasks),
            torch.logspace(-6, 6, tasks).unsqueeze(0),
        ):
            arguments = {"jacobian": jacobian, "losses": losses, "representation": jacobian}
            assert call(balancer, arguments).direction.isfinite().all(), name
        assert all(b.isfinite().all() for n, b in balancer.named_buffers() if n != "previous"), name


@every
@pytest.mark.parametrize("short", [slice(0, 1), slice(1, None), slice(None)], ids=["one", "others", "all"])
def test_gradients_too_short_for_float32_give_finite_weights(method: type[Balancer], short: slice) -> None:
    """Of length 10**exponent, beside ones of length `scale`. What has no weights has NaN in any case."""
    exponents, scales = (-20, -30, -37.5, -38.5, -40, -44), (1.0, 1e5)
    for exponent, scale, tasks in itertools.product(exponents, scales, (2, 3, 10)):
        generator = torch.Generator().manual_seed(tasks)
        rows = torch.randn(4, tasks, 20, generator=generator, dtype=torch.float64)
        rows[2:, 1] -= rows[2:, 0] * 3  # a conflict
        rows = scale * rows / rows.norm(dim=-1, keepdim=True)
        rows[:, short] *= 10.0**exponent / scale
        jacobian, losses = rows.float(), torch.ones(4, tasks)
        balancer = method().setup(tasks, seeds=range(4))
        balanced = call(balancer, {"jacobian": jacobian, "losses": losses, "representation": jacobian})
        case = (exponent, scale, tasks)
        assert balanced.direction.isfinite().all(), case
        assert balanced.weights.isfinite().all() or balanced.weights.isnan().all(), case


class NoReadBack(TorchDispatchMode):
    """Refuses what would make a GPU wait, or a shape depend on data."""

    refused = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function.overloadpacket.__name__ not in self.refused
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    "name",
    [
        "LS",
        "RLW",
        "DWA",
        "Uncertainty",
        "GradNorm",
        "GradDrop",
        "IMTLL",
        "AdaTask",
        "FAMO",
        "STCH",
        "PCGrad",
        "GradVac",
    ],
)
def test_no_value_is_read_back(name: str) -> None:
    """For the methods that run the same operations on every device; the solvers ask a CPU when to stop."""
    balancer = available()[name]().setup(3, seeds=(0, 1), dtype=torch.float64)
    for arguments in systems(3, 2, 3):
        with NoReadBack():
            call(balancer, arguments)


@every
def test_a_broken_step_of_one_seed_is_counted_and_then_forgotten(method: type[Balancer]) -> None:
    balancer, clean = (method().setup(3, seeds=(1, 2), dtype=torch.float64) for _ in range(2))
    for step, arguments in enumerate(systems(5, 2, 3)):
        expected = call(clean, arguments).direction
        if step == 2:
            for value in arguments.values():
                value[0] = torch.nan
        direction = call(balancer, arguments).direction
        torch.testing.assert_close(direction[1], expected[1], rtol=1e-9, atol=1e-12)
        assert step == 2 or direction[0].isfinite().all()
    counts_failures = method.__name__ not in ("LS", "RLW")  # these read neither losses nor gradients
    assert (balancer.failures - clean.failures).tolist() == [int(counts_failures), 0]


@every
@pytest.mark.parametrize(
    ("preference", "message"),
    [
        ([0.5, 0.5], "needs a preference of 3 numbers .one per task., got 2"),
        ([1.0, 1.0, -1.0], "non-negative preferences"),
        ([0.0, 0.0, 0.0], "positive sum"),
        ([1.0, float("nan"), 1.0], "non-negative preferences"),
    ],
)
def test_a_bad_preference_is_refused(method: type[Balancer], preference: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(preference=preference).setup(3)


@every
def test_a_wrong_number_of_tasks_is_refused(method: type[Balancer]) -> None:
    balancer = method().setup(3)
    (arguments,) = systems(1, 1, 4)
    with pytest.raises(ValueError, match="was set up for 3 tasks, got 4"):
        balancer(**arguments)


@every
@pytest.mark.parametrize(
    ("jacobian", "losses"),
    [((2, 3, 5), (2, 3)), ((1, 3, 5), (2, 3)), ((1, 3, 5), (1, 4)), ((1, 3, 5), (3,)), ((3, 5), (1, 3))],
)
def test_shapes_that_would_only_broadcast_are_refused(
    method: type[Balancer], jacobian: tuple[int, ...], losses: tuple[int, ...]
) -> None:
    balancer = method().setup(3)
    found = f"{list(jacobian)} and losses {list(losses)}"
    with pytest.raises(ValueError, match=re.escape(f"losses [1, 3], got {found}")):
        balancer(torch.randn(jacobian), torch.rand(losses) + 0.5, torch.randn(jacobian))


@every
def test_a_preference_for_one_task_only_is_allowed(method: type[Balancer]) -> None:
    balancer = method(preference=[1.0, 0.0]).setup(2, dtype=torch.float64)
    for arguments in systems(3, 1, 2):
        assert call(balancer, arguments).direction.isfinite().all()


@pytest.mark.parametrize("method", ["AdaTask", "GradNorm"])
def test_a_state_from_before_agents_and_balancers_had_one_adam_is_read(method: str) -> None:
    jacobian, losses = torch.randn(2, 3, 5), torch.rand(2, 3) + 0.5
    original, restored = (available()[method]().setup(3, seeds=(0, 1)) for _ in range(2))
    original(jacobian, losses)
    state = original.state_dict()
    for name in ("first", "second"):
        state[f"moments.{name}"] = state.pop(f"moments.{name}_moment")
    state["moments.steps"] = torch.tensor(1.0, dtype=torch.float64)
    restored.load_state_dict(state)
    assert torch.equal(restored(jacobian, losses).direction, original(jacobian, losses).direction)
