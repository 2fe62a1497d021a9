"""The example of docs/balancers.md, as a user would use it."""

import re
from pathlib import Path

import pytest
import torch

from mtrl.balancers import Balancer

DOCS = Path(__file__).parents[3] / "docs" / "balancers.md"


@pytest.fixture
def balancer() -> Balancer:
    (example,) = re.findall(
        r"```python\n# my_balancer.py\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    namespace: dict[str, object] = {"__name__": "my_balancer"}
    exec(example, namespace)
    return namespace["RunningNorm"](beta=0.5).setup(2, seeds=(0, 1))  # type: ignore[operator]


def test_a_state_follows_the_gradients_of_its_seed(balancer: Balancer) -> None:
    jacobian = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).diag_embed()  # [S, T, P], norms 3 and 1, and 1 and 1
    weights = balancer(jacobian, torch.ones(2, 2)).weights
    assert weights.tolist() == [[0.375, 0.75], [0.5, 0.5]]
    assert balancer.state_dict()["norms"].tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_a_broken_step_leaves_the_state_as_it_is_and_counts(balancer: Balancer) -> None:
    jacobian = torch.ones(2, 2, 3)
    jacobian[0, 0, 0] = torch.nan
    assert balancer(jacobian, torch.ones(2, 2)).weights[0].tolist() == [0.5, 0.5]
    assert balancer.state_dict()["norms"][0].tolist() == [1.0, 1.0]
    assert balancer.failures.tolist() == [1, 0]
