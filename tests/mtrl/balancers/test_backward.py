import copy
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtrl.balancers
from mtrl.balancers import FAMO, LS, MGDAUB, AdaTask, AlignedMTL, Balancer


class Model(nn.Module):
    """A shared trunk and a head per task."""

    def __init__(self, tasks: int = 3) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5)).double()
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(tasks)).double()

    def losses(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.trunk(inputs)
        return [(head(features) - i).square().mean() for i, head in enumerate(self.heads)], features

    def backward(self, balancer: Balancer, inputs: Tensor) -> mtrl.balancers.Balanced:
        losses, features = self.losses(inputs)
        owned = [head.parameters() for head in self.heads]
        return mtrl.balancers.backward(losses, self.trunk.parameters(), balancer, owned, features)


@pytest.fixture
def inputs() -> Tensor:
    torch.manual_seed(0)  # of the models, too
    return torch.randn(16, 4, dtype=torch.float64)


def test_linear_scalarisation_is_the_gradient_of_the_weighted_mean(inputs: Tensor) -> None:
    model = Model()
    model.backward(LS(preference=[1.0, 1.0, 2.0]), inputs)
    shared = [p.grad.clone() for p in model.trunk.parameters()]
    owned = [p.grad.clone() for p in model.heads.parameters()]
    model.zero_grad()
    first, second, third = model.losses(inputs)[0]
    (0.25 * first + 0.25 * second + 0.5 * third).backward()
    for gradient, parameter in zip(shared, model.trunk.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    model.zero_grad()
    sum(model.losses(inputs)[0]).backward()  # each head has its own loss only
    for gradient, parameter in zip(owned, model.heads.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("name", mtrl.balancers.available())
def test_every_balancer_fills_the_gradients(name: str, inputs: Tensor) -> None:
    model = Model()
    balancer = mtrl.balancers.available()[name]()
    balanced = model.backward(balancer, inputs)
    gradient = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
    torch.testing.assert_close(gradient, balanced.direction[0])
    assert gradient.isfinite().all()
    assert all(p.grad is not None for p in model.parameters())


def test_gradients_accumulate_and_the_state_is_kept(inputs: Tensor) -> None:
    model, balancer = Model(), AdaTask()
    first = model.backward(balancer, inputs).direction
    second = model.backward(balancer, inputs).direction
    gradient = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
    torch.testing.assert_close(gradient, (first + second)[0])
    assert balancer.moments.steps == 2


def test_tasks_need_not_share_a_graph_nor_use_every_parameter() -> None:
    weight, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    losses = [(weight * i).sum() for i in (1.0, 2.0)]
    mtrl.balancers.backward(losses, [weight, unused], LS())
    assert weight.grad.tolist() == [1.5, 1.5]
    assert unused.grad.tolist() == [0.0, 0.0, 0.0]


def test_aligned_mtl_balances_what_one_task_dominates(inputs: Tensor) -> None:
    model = Model(tasks=2)
    features = model.trunk(inputs)
    losses = [
        1000.0 * model.heads[0](features).square().mean(),
        (model.heads[1](features) - 1).square().mean(),
    ]
    balanced = mtrl.balancers.backward(losses, model.trunk.parameters(), AlignedMTL())
    assert balanced.weights[0, 0] < 0.05 * balanced.weights[0, 1]
    assert all(p.grad is None for p in model.heads.parameters())  # not asked for


def test_famo_learns_from_the_losses_after_the_step(inputs: Tensor) -> None:
    model, balancer = Model(), FAMO()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        model.backward(balancer, inputs)
        optimizer.step()
        balancer.observe(torch.stack(model.losses(inputs)[0]).detach().unsqueeze(0))
    assert balancer.logits.abs().max() > 0


def test_bad_arguments_are_refused(inputs: Tensor) -> None:
    backward, parameter = mtrl.balancers.backward, torch.ones(2, requires_grad=True)
    losses = [parameter.sum(), parameter.square().sum()]
    with pytest.raises(ValueError, match=r"one scalar loss per task, got losses of shapes \[\(2,\)\]"):
        backward([parameter * 2], [parameter], LS())
    with pytest.raises(ValueError, match="one scalar loss per task"):
        backward([], [parameter], LS())
    with pytest.raises(ValueError, match="at least one shared parameter"):
        backward(losses, [], LS())
    with pytest.raises(ValueError, match="task_parameters for 2 tasks, got 1"):
        backward(losses, [parameter], LS(), [[]])
    with pytest.raises(ValueError, match="one seed, got a balancer of 2"):
        backward(losses, [parameter], LS().setup(2, seeds=(0, 1)))
    with pytest.raises(ValueError, match="set up for 3 tasks, got 2"):
        backward(losses, [parameter], LS().setup(3))
    assert parameter.grad is None


def test_the_example_of_the_documentation_learns_both_tasks() -> None:
    document = Path(__file__).parents[3] / "docs" / "balancers.md"
    example, *_ = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    final = {}
    for method in ("AlignedMTL", "LS"):
        scope: dict[str, object] = {}
        exec(example.replace("AlignedMTL", method), scope)
        final[method] = [loss.item() for loss in scope["losses"]]
    assert all(balanced < plain / 5 for balanced, plain in zip(final["AlignedMTL"], final["LS"], strict=True))


def plain(losses: Sequence[Tensor], weights: Sequence[float]) -> None:
    sum(w * loss for w, loss in zip(weights, losses, strict=True)).backward()


def test_frozen_parameters_are_left_out(inputs: Tensor) -> None:
    model = Model()
    model.trunk[0].requires_grad_(False)
    model.heads[1].requires_grad_(False)
    balanced = model.backward(AlignedMTL(), inputs)
    assert all(p.grad is None for p in [*model.trunk[0].parameters(), *model.heads[1].parameters()])
    assert balanced.direction.shape[-1] == sum(p.numel() for p in model.trunk[2].parameters())
    assert all(p.grad is not None for p in [*model.trunk[2].parameters(), *model.heads[0].parameters()])
    model.trunk.requires_grad_(False)
    with pytest.raises(ValueError, match="at least one shared parameter that is not frozen, got none"):
        model.backward(AlignedMTL(), inputs)


def test_a_loss_that_depends_on_no_parameter_has_a_zero_gradient() -> None:
    weight = torch.ones(2, requires_grad=True)
    for losses in ([weight.sum(), torch.tensor(3.0)], [torch.tensor(3.0), weight.sum()]):
        weight.grad = None
        balanced = mtrl.balancers.backward(losses, [weight], LS())
        assert weight.grad.tolist() == [0.5, 0.5]
        assert balanced.gramian.diagonal(dim1=1, dim2=2).sum() == 2.0
    with pytest.raises(ValueError, match="losses that depend on parameters, got losses without a graph"):
        mtrl.balancers.backward([torch.tensor(3.0), torch.tensor(1.0)], [weight], LS())


def test_the_graph_can_be_kept() -> None:
    weight = torch.ones(2, requires_grad=True)
    losses = [weight.square().sum(), weight.exp().sum()]
    mtrl.balancers.backward(losses, [weight], LS(), retain_graph=True)
    first = weight.grad.clone()
    mtrl.balancers.backward(losses, [weight], LS())
    torch.testing.assert_close(weight.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        mtrl.balancers.backward(losses, [weight], LS())


@pytest.mark.parametrize("name", mtrl.balancers.available())
def test_a_fresh_balancer_loads_a_saved_state(name: str, inputs: Tensor) -> None:
    """Alone, and as a part of a model; what was never set up has a state, too."""
    model, method = Model(), mtrl.balancers.available()[name]
    saved = method()
    empty = {k: v.clone() for k, v in nn.ModuleDict({"balancer": method()}).state_dict().items()}
    nn.ModuleDict({"balancer": method()}).load_state_dict(empty)
    for _ in range(2):
        model.backward(saved, inputs)
    alone, part = method(), nn.ModuleDict({"balancer": method()})
    alone.load_state_dict(copy.deepcopy(saved.state_dict()))
    part.load_state_dict(copy.deepcopy(nn.ModuleDict({"balancer": saved}).state_dict()))
    expected = model.backward(saved, inputs)
    for loaded in (alone, part["balancer"]):
        assert torch.equal(model.backward(loaded, inputs).direction, expected.direction)
    assert alone.state_dict().keys() == saved.state_dict().keys()


def test_parameters_of_several_dtypes() -> None:
    """Balanced in float32, or float64 where there is one; each gradient has its parameter's dtype."""
    for others, wanted in ((torch.float32, torch.float32), (torch.float64, torch.float64)):
        half, full = torch.ones(3, dtype=torch.bfloat16), torch.ones(2, dtype=others)
        leaves = [half.requires_grad_(), full.requires_grad_()]
        losses = [half.sum() * 2, full.square().sum(), half.float().prod() + full.prod()]
        balanced = mtrl.balancers.backward(losses, leaves, AlignedMTL())
        assert balanced.direction.dtype == wanted
        assert [p.grad.dtype for p in leaves] == [torch.bfloat16, others]
        expected = balanced.direction[0, :3].bfloat16()
        assert torch.equal(half.grad, expected)


def test_what_is_balanced_is_not_cast_by_autocast(inputs: Tensor) -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    losses = [(inputs.float() @ weight).square().mean(), (inputs.float() @ weight).exp().mean()]
    mtrl.balancers.backward(losses, [weight], AlignedMTL(), retain_graph=True)
    expected, weight.grad = weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        mtrl.balancers.backward(losses, [weight], AlignedMTL())
    assert torch.equal(weight.grad, expected)


def test_sparse_embeddings() -> None:
    """Shared or of one task: the same numbers as dense ones, and a sparse gradient, as SparseAdam wants it."""
    torch.manual_seed(0)
    words = [torch.tensor([0, 3, 3]), torch.tensor([3, 5])]
    found = []
    for sparse in (False, True):
        torch.manual_seed(1)
        shared, own = (nn.Embedding(7, 4, sparse=sparse) for _ in range(2))
        losses = [
            shared(words[0]).sin().sum(),
            3.0 * (shared(words[1]) * own(torch.tensor([1, 2]))).square().sum(),
            torch.tensor(1.0),
        ]
        for _ in range(2):
            mtrl.balancers.backward(losses, shared, AlignedMTL(), [[], own, []], retain_graph=True)
        found.append((shared.weight.grad, own.weight.grad))
    for dense, sparse in zip(*found, strict=True):
        assert sparse.is_sparse
        torch.testing.assert_close(sparse.to_dense(), dense)
    torch.optim.SparseAdam([shared.weight, own.weight]).step()


def test_modules_names_dicts_and_single_tensors(inputs: Tensor) -> None:
    """All ways to say the same."""
    model = Model()
    model.backward(AlignedMTL(), inputs)
    expected = [p.grad.clone() for p in model.parameters()]

    def check(losses: Any, shared: Any, owned: Any) -> None:
        for parameter in model.parameters():
            parameter.grad = None
        mtrl.balancers.backward(losses, shared, AlignedMTL(), owned)
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            assert torch.equal(parameter.grad, gradient)

    losses = lambda: model.losses(inputs)[0]  # noqa: E731
    check(losses(), model.trunk, model.heads)
    check(losses(), model.trunk.named_parameters(), [head.named_parameters() for head in model.heads])
    check(torch.stack(losses()), dict(model.trunk.named_parameters()).values(), list(model.heads))
    names = ["c", "a", "b"]
    by_name = dict(zip(names, losses(), strict=True))
    check(by_name, model.trunk, {n: model.heads[i] for i, n in reversed(list(enumerate(names)))})

    weight = torch.ones(2, requires_grad=True)
    mtrl.balancers.backward({"a": weight.sum(), "b": weight.prod()}, weight, LS(), {"b": []})
    assert weight.grad.tolist() == [1.0, 1.0]


def test_a_tied_parameter_counts_once(inputs: Tensor) -> None:
    trunk = nn.Linear(4, 4).double()
    twice = nn.ModuleList([trunk, trunk])
    losses = [trunk(trunk(inputs)).square().mean(), trunk(inputs).exp().mean()]
    both = [*trunk.parameters(), *trunk.parameters()]
    balanced = mtrl.balancers.backward(losses, both, LS(), retain_graph=True)
    assert balanced.direction.shape == (1, 20)
    first = [p.grad.clone() for p in trunk.parameters()]
    trunk.zero_grad()
    mtrl.balancers.backward(losses, twice, LS(), retain_graph=True)
    for gradient, parameter in zip(first, trunk.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)
    trunk.zero_grad()
    plain(losses, [0.5, 0.5])
    for gradient, parameter in zip(first, trunk.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("name", ["NashMTL", "AlignedMTL", "STCH", "AdaTask"])
def test_gradients_scaled_for_half_precision(name: str, inputs: Tensor) -> None:
    """The balancer sees them as they are, and the scaler's step unscales what it gets."""
    method, states = mtrl.balancers.available()[name], []
    for enabled in (False, True):
        torch.manual_seed(0)
        model, balancer = Model(), method()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=enabled)
        for _ in range(3):
            optimizer.zero_grad()
            losses, _ = model.losses(inputs)
            mtrl.balancers.backward(losses, model.trunk, balancer, model.heads, scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
        states.append(model.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", mtrl.balancers.available())
def test_an_overflow_is_left_to_the_scaler(name: str) -> None:
    weight, own = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer, scaler = torch.optim.SGD([weight, own], lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
    losses = [weight.square().sum() * 1e38, (weight * own).sum() + 1.0]
    mtrl.balancers.backward(
        losses, weight, mtrl.balancers.available()[name](), [[], own], weight.reshape(2), scaler=scaler
    ) if "UB" not in name else pytest.skip("its features do not overflow")
    scaler.step(optimizer)
    assert weight.tolist() == [1.0, 1.0]
    assert own.tolist() == [1.0, 1.0]


def test_gradients_add_up_in_place() -> None:
    """Whoever keeps a reference to a gradient sees it."""
    weight = torch.ones(2, requires_grad=True)
    mtrl.balancers.backward([weight.sum()], weight, LS())
    kept = weight.grad
    mtrl.balancers.backward([weight.sum()], weight, LS())
    assert kept.tolist() == [2.0, 2.0]
    assert weight.grad is kept


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model(inputs: Tensor) -> None:
    model = Model()
    model.backward(AlignedMTL(), inputs)
    expected = [p.grad.clone() for p in model.trunk.parameters()]
    model.zero_grad()
    compiled = torch.compile(model.trunk, backend="aot_eager")
    features = compiled(inputs)
    losses = [(head(features) - i).square().mean() for i, head in enumerate(model.heads)]
    mtrl.balancers.backward(losses, model.trunk, AlignedMTL(), model.heads)
    for gradient, parameter in zip(expected, model.trunk.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_what_cannot_be_meant_is_refused_and_changes_nothing(inputs: Tensor) -> None:
    backward, weight = mtrl.balancers.backward, torch.ones(2, requires_grad=True)
    other = torch.ones(2, requires_grad=True)
    view = weight * 1.0
    losses = lambda: [view.sum(), view.square().sum()]  # noqa: E731
    lazy, hooked = nn.LazyLinear(3), torch.ones(2, requires_grad=True)
    hooked.register_post_accumulate_grad_hook(print)
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("leaves of the graph as shared_parameters", lambda: backward(losses(), [view], LS())),
        ("tensors as shared_parameters, got dict", lambda: backward(losses(), [{"params": [weight]}], LS())),
        ("without hooks that wait", lambda: backward([hooked.sum()], hooked, LS())),
        ("lazy modules first", lambda: backward(losses(), lazy, LS())),
        ("depend on shared_parameters, and none", lambda: backward(losses(), [other], LS())),
        ("that is shared and of task 1", lambda: backward(losses(), weight, LS(), [other, weight])),
        ("that is of task 0 and of task 1", lambda: backward(losses(), weight, LS(), [other, other])),
        ("both by name, or both in order", lambda: backward(losses(), weight, LS(), {"a": other})),
        ("of the tasks", lambda: backward({"a": view.sum()}, weight, LS(), {"b": other})),
        ("scalar loss per task", lambda: backward([1.0, view.sum()], weight, LS())),
        (
            "real numbers",
            lambda: backward(losses(), torch.ones(2, dtype=torch.complex64, requires_grad=True), LS()),
        ),
        (
            "representation that depends on parameters",
            lambda: backward(losses(), weight, MGDAUB(), representation=view.detach()),
        ),
        (
            "depend on the representation, and none",
            lambda: backward(losses(), weight, MGDAUB(), representation=weight * 2.0),
        ),
        ("needs the gradients of the shared representation", lambda: backward(losses(), weight, MGDAUB())),
        (
            "on cpu, got one on meta",
            lambda: backward(losses(), weight, LS().setup(2, device="meta")),
        ),
    ]
    for message, call in cases:
        view = weight * 1.0
        with pytest.raises(ValueError, match=message) as refused:
            call()
        assert "\n" not in str(refused.value)
        assert weight.grad is None


def test_moments_of_other_parameters_are_refused() -> None:
    weight, more, balancer = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True), AdaTask()
    mtrl.balancers.backward([weight.sum()], weight, balancer)
    with pytest.raises(ValueError, match="AdaTask has moments of 2 parameters, got gradients of 5"):
        mtrl.balancers.backward([weight.sum() + more.sum()], [weight, more], balancer)


@pytest.mark.parametrize(
    "name", ["AlignedMTL", *(pytest.param(name, marks=pytest.mark.slow) for name in ("RLW", "MGDAUB"))]
)
def test_two_ranks_do_what_one_process_does(name: str, tmp_path: Path) -> None:
    script = Path(__file__).parent / "two_ranks.py"
    outputs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "meeting"), name, str(output)]
        )
        for rank, output in enumerate(outputs)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (torch.load(output) for output in outputs)
    specification = importlib.util.spec_from_file_location("two_ranks", script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    alone = module.train(0, 1, name)
    for key, value in first["state"].items():
        assert torch.equal(second["state"][key], value)
        torch.testing.assert_close(value, alone[key], rtol=1e-7, atol=1e-9)
    assert "one of 2 processes and needs to know which of them share a batch" in first["refusal"]
