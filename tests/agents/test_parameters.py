from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call

from agents.layers import Axes, Linear, OwnedParameter
from agents.networks import MultiHead, Shared, SingleTask
from agents.parameters import ParameterVector

MakeAxes = Callable[..., Axes]


def test_a_module_becomes_a_view_of_its_vector(axes: MakeAxes) -> None:
    network = MultiHead(width=5, head_width=4).build(axes(num_critics=2), 7, 3)
    before = {name: p.clone() for name, p in network.named_parameters()}
    vector = ParameterVector(network)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert not parameter.requires_grad
    with torch.no_grad():
        vector.shared.mul_(2.0)
        vector.owned.mul_(3.0)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name] * (3.0 if name.startswith("heads") else 2.0))
    assert vector.shared.shape[1] == sum(before[name][0].numel() for name in vector.shared_names)
    padded = [-(-before[name][0, 0, 0].numel() // 4) * 4 for name in vector.owned_names]
    assert vector.owned.shape[1] == 2 * 3 * sum(padded)


@pytest.mark.parametrize("width", [4, 5])
def test_the_matrices_that_tasks_own_are_equally_far_apart(axes: MakeAxes, width: int) -> None:
    """And aligned: one batched product takes those of all seeds, critics and tasks as they are."""
    network = MultiHead(width=width, head_width=3).build(axes(num_critics=2), 7, 1)
    vector = ParameterVector(network)
    for name in vector.owned_names:
        parameter = dict(network.named_parameters())[name]
        matrices = parameter.flatten(0, 2)
        assert matrices.data_ptr() == parameter.data_ptr()
        assert matrices.data_ptr() % 16 == 0
        assert matrices.stride(0) % 4 == 0
        assert matrices[0].is_contiguous()


def test_tensors_of_the_parameters_shapes_are_laid_out_as_they_are(axes: MakeAxes) -> None:
    """Also where what is owned by one critic and by two is mixed, as with an encoder that they share."""
    module = nn.ModuleList(
        Linear(axes(num_critics=critics), 3, size, owned=owned)
        for critics, size, owned in [(2, 5, True), (1, 2, True), (2, 4, False), (2, 1, True), (1, 3, False)]
    )
    vector = ParameterVector(module)
    named = {name: parameter.clone() for name, parameter in module.named_parameters()}
    shared = vector.flat_shared({name: named[name] for name in vector.shared_names})
    owned = vector.flat_owned({name: named[name] for name in vector.owned_names})
    assert torch.equal(shared, vector.shared)
    assert torch.equal(owned, vector.owned)
    views = vector.views(shared, owned)
    assert views.keys() == named.keys()
    for name, view in views.items():
        assert torch.equal(view, named[name])
    for part in (shared, owned):
        part.zero_()
    for view in views.values():
        view.fill_(1.0)
    assert shared.all()
    assert int(owned.sum()) == sum(named[name].numel() for name in vector.owned_names)


def test_views_are_laid_out_as_the_vector(axes: MakeAxes) -> None:
    network = MultiHead(width=5).build(axes(), 7, 3)
    vector = ParameterVector(network)
    views = vector.views(vector.shared.detach() + 1, vector.owned.detach() - 1)
    for name, parameter in network.named_parameters():
        assert torch.equal(views[name], parameter + (1 if name in vector.shared_names else -1))


def test_leaves_are_views_and_shared_ones_are_expanded(axes: MakeAxes) -> None:
    network = MultiHead(width=5).build(axes(num_critics=2), 7, 3)
    vector = ParameterVector(network)
    shared, owned = vector.leaves(3)
    assert set(shared) == {n for n, _ in network.named_parameters() if n.startswith("trunk")}
    for name, leaf in shared.items():
        assert leaf.requires_grad
        assert leaf.is_leaf
        assert leaf.shape[2] == 3
        assert leaf.stride(2) == 0
        assert leaf.untyped_storage().data_ptr() == vector.shared.untyped_storage().data_ptr()
        assert torch.equal(leaf[:, :, 1], dict(network.named_parameters())[name])
    for leaf in owned.values():
        assert leaf.requires_grad
        assert leaf.untyped_storage().data_ptr() == vector.owned.untyped_storage().data_ptr()
    plain, _ = vector.leaves(None)
    x = torch.randn(2, 1, 3, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(
        functional_call(network, shared | owned, (x,)), functional_call(network, plain | owned, (x,))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_part_is_like_the_other(axes: MakeAxes, dtype: torch.dtype) -> None:
    """A network that shares nothing, or owns nothing; on a GPU an empty vector on the CPU would be an error."""
    made = axes()
    nothing_shared = ParameterVector(SingleTask(width=4).build(made, 7, 3).to(dtype))
    nothing_owned = ParameterVector(Shared(width=4).build(made, 7, 3).to(dtype))
    for empty in (nothing_shared.shared, nothing_owned.owned):
        assert empty.shape == (2, 0)
        assert empty.dtype == dtype
    elsewhere = nn.Module()
    elsewhere.weight = OwnedParameter(torch.empty(2, 1, 3, 4, device="meta", dtype=dtype))
    assert ParameterVector(elsewhere).shared.device == torch.device("meta")


def test_a_parameter_that_is_neither_shared_nor_owned_is_refused(axes: MakeAxes) -> None:
    layer = nn.Sequential(Linear(axes(), 3, 2), nn.Linear(2, 1))
    with pytest.raises(
        TypeError, match=r"Parameter 1\.weight of Sequential is a Parameter; it must be a Shared"
    ):
        ParameterVector(layer)
