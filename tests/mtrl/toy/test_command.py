import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from mtrl.balancers import LS, AlignedMTL, Balancer, PCGrad, available
from mtrl.toy import command as toy
from mtrl.toy.problem import losses_and_jacobian, optimum, pareto_front, task_losses, weighted_loss


def paper_losses(points: Tensor) -> Tensor:
    """The problem as the paper prints it (App. C)."""
    x1, x2 = points.unbind(-1)
    c1, c2 = torch.tanh(x2 / 2).clamp(min=0), torch.tanh(-x2 / 2).clamp(min=0)
    f1 = torch.log((0.5 * (-x1 - 7) - torch.tanh(-x2)).abs().clamp(min=5e-6)) + 6
    f2 = torch.log((0.5 * (-x1 + 3) + torch.tanh(-x2) + 2).abs().clamp(min=5e-6)) + 6
    q1 = ((-x1 + 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    q2 = ((-x1 - 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    return torch.stack([f1 * c1 + q1 * c2, f2 * c1 + q2 * c2], dim=-1)


def points_to_try() -> Tensor:
    """Random points, the starts, and one at the bottom of each valley."""
    valleys = torch.tensor([[-7.0 + 2.0 * np.tanh(1.0), 1.0], [7.0 - 2.0 * np.tanh(1.0), 1.0]])
    return torch.cat([torch.rand(500, 2) * 24 - 12, torch.tensor(toy.STARTS), valleys]).double()


def test_losses_are_those_of_the_paper() -> None:
    points = points_to_try()
    torch.testing.assert_close(task_losses(points), paper_losses(points))


def test_gradients_agree_with_automatic_differentiation() -> None:
    points = points_to_try().requires_grad_()
    expected = [torch.autograd.grad(paper_losses(points)[:, task].sum(), points)[0] for task in range(2)]
    _, jacobian = losses_and_jacobian(points.detach())
    torch.testing.assert_close(jacobian, torch.stack(expected, dim=1))


@pytest.mark.parametrize("preference", [0.0, 0.1, 0.3, 0.5, 0.9])
def test_optimum_is_the_one_found_by_hand(preference: float) -> None:
    # In the basin the best x1 is 14 p - 7 whatever x2 is; what remains is a problem in x2 alone.
    x1 = 14 * preference - 7

    def along(x2: float) -> float:
        first, second = paper_losses(torch.tensor([x1, x2], dtype=torch.float64)).tolist()
        return preference * first + (1 - preference) * second

    expected = minimize_scalar(along, bounds=(-12, -1), method="bounded", options={"xatol": 1e-10})
    best = optimum(preference)
    assert best.loss == pytest.approx(expected.fun, abs=1e-9)
    torch.testing.assert_close(
        best.point, torch.tensor([x1, expected.x], dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_no_random_point_lies_below_the_optimum() -> None:
    points = torch.rand(100_000, 2, dtype=torch.float64) * 40 - 20
    for preference in (0.2, 0.5):
        assert weighted_loss(points, preference).min() >= optimum(preference).loss


def test_nothing_dominates_the_pareto_front() -> None:
    _, front = pareto_front()
    points = torch.rand(20_000, 2, dtype=torch.float64) * 24 - 12
    losses = task_losses(points)
    assert not (losses.unsqueeze(1) < front - 1e-3).all(dim=-1).any()


def test_linear_scalarisation_is_adam_on_the_weighted_loss() -> None:
    balancer = LS(preference=[0.3, 0.7]).setup(2, seeds=range(5), dtype=torch.float64)
    trajectories = toy.follow(balancer, steps=100)
    point = torch.tensor(toy.STARTS, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([point], lr=1e-3)
    for _ in range(100):
        adam.zero_grad()
        weighted_loss(point, 0.3).sum().backward()
        adam.step()
    torch.testing.assert_close(trajectories[:, -1], point.detach(), rtol=0, atol=1e-9)


def test_starts_do_not_depend_on_each_other(monkeypatch) -> None:
    together = toy.follow(toy.prepare(PCGrad, [0.5]), steps=200)
    monkeypatch.setattr(toy, "STARTS", toy.STARTS[2:3])
    alone = toy.follow(PCGrad(preference=[0.5, 0.5]).setup(2, seeds=[2], dtype=torch.float64), steps=200)
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", available().values(), ids=lambda m: m.__name__)
def test_preferences_do_not_depend_on_each_other(method: type[Balancer]) -> None:
    together = toy.follow(toy.prepare(method, [0.1, 0.6]), steps=40)
    alone = [toy.follow(toy.prepare(method, [preference]), steps=40) for preference in (0.1, 0.6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)


def test_run_writes_trajectories_figures_and_a_table(tmp_path) -> None:
    runs = toy.run([LS, AlignedMTL], [0.25, 0.5], steps=120, output=tmp_path)
    assert [(r.balancer, r.preference) for r in runs] == [
        ("LS", 0.25),
        ("LS", 0.5),
        ("AlignedMTL", 0.25),
        ("AlignedMTL", 0.5),
    ]
    stored = json.loads((tmp_path / "0.25" / "LS.json").read_text())
    trajectories = np.array(stored["trajectories"])
    assert trajectories.shape == (5, 4, 2)  # steps 0, 50, 100 and 120
    assert trajectories[:, 0].tolist() == [list(start) for start in toy.STARTS]
    gap = float(weighted_loss(torch.tensor(trajectories[3, -1]), 0.25)) - optimum(0.25).loss
    assert stored["gaps"][3] == pytest.approx(gap)
    for name in ("LS.png", "AlignedMTL.png", "all.png"):
        assert (tmp_path / "0.5" / name).stat().st_size > 10_000
    assert (tmp_path / "table.md").read_text().splitlines()[0] == "| method | p = 0.25 | p = 0.5 |"


def test_main_prints_a_table(tmp_path, capsys) -> None:
    toy.main(toy.ToyConfig(balancer=["LS"], preference=0.5, output=tmp_path, steps=2))
    assert "LS" in capsys.readouterr().out


def test_only_its_own_table_is_overwritten(tmp_path) -> None:
    own = tmp_path / "table.md"
    own.write_text("mine")
    with pytest.raises(ValueError, match=r"did not write .*table.md: choose another --output"):
        toy.run([LS], steps=2, output=tmp_path)
    assert (own.read_text(), list(tmp_path.iterdir())) == ("mine", [own])
    for _ in range(2):
        toy.run([LS], steps=2, output=tmp_path / "toy")


@pytest.mark.parametrize(
    ("preferences", "steps"), [([0.5], 0), ([0.5], -1), ([0.5], 2**31), ([], 10), ([0.5, 1.5], 10)]
)
def test_nothing_is_written_for_bad_input(tmp_path, preferences: list[float], steps: int) -> None:
    with pytest.raises(ValueError, match=r"positive number of steps|between 0 and 1"):
        toy.run([LS], preferences, steps, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_bad_input_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        toy.run([LS], [1.5], output=tmp_path)
    with pytest.raises(ValueError, match="There is no balancer 'Alinged'"):
        toy.main(toy.ToyConfig(balancer=["Alinged"], output=tmp_path))


@pytest.mark.slow
def test_aligned_mtl_reaches_the_optimum_from_every_start_and_ls_does_not() -> None:
    assert toy.run_method(AlignedMTL, [0.5])[0].reached == [True] * 5
    assert toy.run_method(LS, [0.5])[0].reached == [False, True, False, True, True]
