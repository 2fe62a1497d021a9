import json

import pytest
import torch
from safetensors.torch import load_file

from agents.config import SACConfig
from agents.metadata import DATA, task_embeddings
from agents.networks import Care
from agents.sac import SAC
from envs.benchmarks import TASK_NAMES


def test_every_task_has_a_sentence_and_its_embedding() -> None:
    descriptions = json.loads((DATA / "task_descriptions.json").read_text())
    assert sorted(descriptions) == sorted(TASK_NAMES)
    assert sorted(load_file(DATA / "task_embeddings.safetensors")) == sorted(TASK_NAMES)
    assert len(set(descriptions.values())) == len(TASK_NAMES)
    assert all(
        sentence.startswith("The robot ") and sentence[-1] == "." for sentence in descriptions.values()
    )


def test_embeddings_are_of_unit_size_and_in_the_order_of_the_tasks() -> None:
    embeddings = task_embeddings(TASK_NAMES)
    assert embeddings.shape == (50, 384)
    torch.testing.assert_close(embeddings.square().mean(-1), torch.ones(50))
    assert torch.equal(task_embeddings(["push-v3", "reach-v3"])[1], embeddings[TASK_NAMES.index("reach-v3")])
    cosines = embeddings @ embeddings.mT / 384
    cosines.fill_diagonal_(0.0)
    assert cosines.max() < 0.99  # every task is told apart
    nearest = TASK_NAMES[int(cosines[TASK_NAMES.index("drawer-close-v3")].argmax())]
    assert nearest == "drawer-open-v3"


def make(architecture: Care, task_names: list[str] | None) -> SAC:
    return SAC(
        architecture,
        SACConfig(),
        observation_size=5,
        action_size=2,
        num_tasks=2,
        seeds=[0],
        task_names=task_names,
    )


def test_a_task_without_a_description_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"There is no description of fly-v3: add a sentence to .* or take a lear"
    ):
        make(Care(width=4), ["reach-v3", "fly-v3"])
    make(Care(width=4, context="learned"), ["reach-v3", "fly-v3"])


def test_unnamed_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the names of the tasks"):
        make(Care(width=4), None)
    with pytest.raises(ValueError, match="a name for each of its 2 tasks, got 1"):
        make(Care(width=4), ["reach-v3"])


def test_the_order_of_the_tasks_decides_whose_description_is_used() -> None:
    observation = torch.zeros(1, 2, 1, 5)
    ahead, reverse = (
        make(Care(width=4), names) for names in (["reach-v3", "hammer-v3"], ["hammer-v3", "reach-v3"])
    )
    torch.testing.assert_close(
        ahead.critic.encode(observation).flip(2), reverse.critic.encode(observation), rtol=1e-5, atol=1e-6
    )
