import json
from pathlib import Path

import pytest
import torch

from agents.config import SACConfig
from agents.networks import Architecture, Residual, Shared
from agents.sac import SAC
from mtrl.benchmarks.single_file_sac import SingleFileSAC
from mtrl.cli import main


@pytest.mark.parametrize("option", ["num_seeds", "num_tasks", "batch_size", "repetitions", "updates"])
@pytest.mark.parametrize("value", ["0", "-3", "1e12"])
def test_numbers_are_positive(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "learner", "--device", "cpu", f"--{option}", value]) == 2
    assert "must be positive numbers" in capsys.readouterr().err


def test_every_variant_is_timed_against_its_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "learner.json"
    arguments = [
        "--device",
        "cpu",
        "--balancer",
        "single_file,plain,loop,LS",
        "--num_seeds",
        "1,2",
        "--num_tasks",
        "2",
    ]
    arguments += ["--batch_size", "4", "--network", "shared", "--network.width", "8", "--repetitions", "2"]
    assert main(["benchmark", "learner", *arguments, "--updates", "2", "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    found = [(r["seeds"], r["method"]) for r in content["results"]]
    assert found == [
        (1, "single_file"),
        (1, "plain"),
        (1, "loop"),
        (1, "LS"),
        (2, "plain"),
        (2, "loop"),
        (2, "LS"),
    ]
    rates, (one, two) = content["rates"], [r for r in content["results"] if r["method"] == "plain"]
    assert two["work"]["flops"] == 2 * one["work"]["flops"]
    assert two["work"]["state"] == 2 * one["work"]["state"]
    assert one["bytes_per_seed"] == sum(one["work"].values()) - one["work"]["flops"]
    for result in content["results"][1:]:
        work = result["work"]
        moved = 2 * (work["state"] + work["gradients"] + work["activations"] + work["batch"])
        seconds = max(work["flops"] / rates["flops_per_second"], moved / rates["bytes_per_second"])
        assert result["floor_milliseconds"] == pytest.approx(1e3 * seconds)
        assert result["floor_fraction"] == pytest.approx(1e3 * seconds / result["milliseconds"])
    printed = capsys.readouterr().out
    assert "of floor" in printed
    assert "TFLOP/s" in printed


def test_networks_are_timed_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "learner.json"
    arguments = ["--device", "cpu", "--network", "shared,single_task", "--balancer", "plain,AlignedMTL"]
    arguments += ["--num_tasks", "2", "--batch_size", "4", "--repetitions", "2", "--updates", "1"]
    assert main(["benchmark", "learner", *arguments, "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    found = [(r["network"], r["method"]) for r in content["results"]]
    assert found == [("shared", "plain"), ("shared", "AlignedMTL"), ("single_task", "plain")]
    shared, _, single = content["results"]
    ratios = [a / b for a, b in zip(single["all_milliseconds"], shared["all_milliseconds"], strict=True)]
    assert single["ratio_to_first_network"] == pytest.approx(sum(ratios) / 2)
    assert shared["ratio_to_first_network"] == single["ratio_to_plain"] == 1.0
    sizes = content["parameters"]
    assert sizes["single_task"] == {name: 2 * size for name, size in sizes["shared"].items()}
    assert f"{sizes['shared']['actor']:,}" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["-1", "0", "1e30"])
def test_a_network_that_cannot_be_made_is_a_sentence(capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert main(["benchmark", "learner", f"--network.width={value}"]) == 2
    assert capsys.readouterr().err.startswith("mtrl: Shared needs width to be a whole number in ")


def test_a_networks_option_beside_several_networks_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--network", "shared,moore", "--network.width", "8"]
    assert main(["benchmark", "learner", *arguments]) == 2
    assert "--network.width is an option of one network" in capsys.readouterr().err


def test_the_modern_agent_is_timed_with_its_own_critics(tmp_path: Path) -> None:
    output = tmp_path / "learner.json"
    arguments = ["--device", "cpu", "--balancer", "plain,AlignedMTL", "--num_tasks", "2", "--batch_size", "4"]
    arguments += ["--network", "residual", "--network.width", "8", "--network.depth", "1"]
    arguments += ["--agent.critic", "categorical", "--agent.normalize_returns", "true", "--repetitions", "2"]
    flops = []
    for width in (8, 16):
        critics = ["--critic_network", "residual", "--critic_network.width", str(width)]
        options = [*arguments, *critics, "--updates", "1", "--output", str(output)]
        assert main(["benchmark", "learner", *options]) == 0
        content = json.loads(output.read_text())
        assert "critic='categorical'" in content["settings"]["agent"]
        flops.append(content["results"][0]["work"]["flops"])
    assert flops[1] > 1.5 * flops[0]


@pytest.mark.parametrize(
    "architecture", [Shared(width=8, depth=2), Residual(width=8, depth=2), Residual(width=8, heads="shared")]
)
@pytest.mark.parametrize("critic", ["squared", "hl_gauss"])
def test_the_yardstick_is_of_the_same_size(architecture: Architecture, critic: str) -> None:
    config = SACConfig(critic=critic, normalize_returns=True, ensemble="mean")
    sac = SAC(architecture, config, observation_size=39, action_size=4, num_tasks=3, seeds=[0])
    single = SingleFileSAC(architecture, architecture, config, 3, 4, torch.device("cpu"), 10)
    padding = (
        2 * 8 + 8
    )  # the rows that fill 43 inputs of two critics and 39 of the actor up to multiples of 4
    for ours, theirs in ((sac.actor, single.actor), (sac.critic, single.critics)):
        sizes = [sum(p.numel() for p in module.parameters()) for module in (ours, theirs)]
        padding -= sizes[0] - sizes[1]
    assert padding == 0
    before = [p.clone() for p in single.critics.parameters()]
    single.update()
    assert not any(torch.equal(p, was) for p, was in zip(single.critics.parameters(), before, strict=True))
