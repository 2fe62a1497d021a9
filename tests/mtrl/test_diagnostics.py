import math

import pytest
import torch

from mtrl import diagnostics
from mtrl.balancers import AlignedMTL


def gramian(jacobian: torch.Tensor) -> torch.Tensor:
    return jacobian @ jacobian.mT


@pytest.mark.parametrize(
    ("longest", "shortest"), [(1.0, 1.0), (3.0, 1.0), (1e4, 1.0), (1e-6, 1e-9), (1.0, 1e-9), (4e5, 1e-10)]
)
def test_condition_of_orthogonal_gradients_is_the_ratio_of_norms(longest: float, shortest: float) -> None:
    jacobian = torch.tensor([[[longest, 0.0], [0.0, shortest]]], dtype=torch.float64)
    kappa = diagnostics.condition_number(gramian(jacobian))
    torch.testing.assert_close(
        kappa, torch.tensor([longest / shortest], dtype=torch.float64), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("angle", [0.01, 0.5, math.pi / 3, math.pi / 2, 2.0, 3.1])
def test_condition_of_equal_norms_is_the_cotangent_of_half_the_angle(angle: float) -> None:
    jacobian = 7.0 * torch.tensor([[[1.0, 0.0], [math.cos(angle), math.sin(angle)]]], dtype=torch.float64)
    expected = 1 / math.tan(angle / 2) if angle <= math.pi / 2 else math.tan(angle / 2)
    kappa = diagnostics.condition_number(gramian(jacobian))
    torch.testing.assert_close(kappa, torch.tensor([expected], dtype=torch.float64), rtol=1e-9, atol=0)
    cosine = diagnostics.cosines(gramian(jacobian))[0, 0, 1]
    assert cosine.item() == pytest.approx(math.cos(angle), abs=1e-14)


def test_condition_number_agrees_with_the_singular_values_for_each_seed() -> None:
    jacobian = torch.randn(3, 10, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(diagnostics.condition_number(gramian(jacobian)), torch.linalg.cond(jacobian))


def test_condition_number_of_a_deficient_system_is_infinite_and_of_a_broken_one_nan() -> None:
    jacobian = torch.randn(3, 4, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian[0, 1] = jacobian[0, 0]
    jacobian[1, 2, 3] = torch.nan
    kappa = diagnostics.condition_number(gramian(jacobian))
    assert kappa[0] == torch.inf
    assert kappa[1].isnan()
    assert kappa[2].isfinite()
    assert diagnostics.condition_number(torch.zeros(1, 2, 2)) == torch.inf


def test_aligned_system_has_condition_one() -> None:
    jacobian = torch.randn(1, 10, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = []  # row t of the balance matrix is the weights for the preference e_t
    for task in range(10):
        balancer = AlignedMTL(preference=[float(task == other) for other in range(10)])
        balancer.setup(10, dtype=torch.float64)
        rows.append(balancer.weights(gramian(jacobian), torch.zeros(1, 10)))
    aligned = torch.stack(rows, 1) @ jacobian
    kappa = diagnostics.condition_number(gramian(aligned))
    torch.testing.assert_close(kappa, torch.ones(1, dtype=torch.float64), rtol=1e-9, atol=0)


def test_cosines_and_magnitude_similarity() -> None:
    jacobian = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [-3.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    cosines = diagnostics.cosines(gramian(jacobian))[0]
    assert cosines[0, 1] == 0.0
    assert cosines[0, 2] == -1.0
    assert cosines[3].isnan().all()
    similarity = diagnostics.magnitude_similarity(gramian(jacobian))[0]
    torch.testing.assert_close(similarity.diagonal()[:3], torch.ones(3, dtype=torch.float64))
    assert similarity[0, 1].item() == pytest.approx(2 * 3 * 4 / (9 + 16))
    assert similarity[0, 3] == 0.0
