"""What an option means is said once, and the files of a run must agree on it."""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mtrl.config.experiment import ROLES, Role, experiment, record, role
from mtrl.config.loading import load_config
from mtrl.config.train import TrainConfig
from mtrl.evaluation.command import _by_method
from mtrl.logging.tensorboard import hyperparameters
from mtrl.policy.policy import load_policy
from mtrl.reporting.groups import group_runs
from mtrl.reporting.runs import read_run
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.check_run import DisagreementError, check_run
from mtrl.storage.checkpoint import CheckpointError, seal
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import make_run, methods
from mtrl.training.loop import TrainingLoop
from mtrl.training.restore import restore
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result, train_arguments

Cli = Callable[..., Result]
Train = Callable[..., Path]


def option_names(cls: type = TrainConfig, prefix: str = "") -> Iterator[str]:
    """Every option, with those of a group."""
    for f in dataclasses.fields(cls):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if dataclasses.is_dataclass(default) and f.name in ("agent", "evaluation", "checkpoint"):
            yield from option_names(type(default), f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}"


def test_every_option_has_a_role_and_every_role_an_option() -> None:
    """A new option of training has to say what it means."""
    options = {f.name for f in dataclasses.fields(TrainConfig)}
    assert options == {name for name in ROLES if "." not in name}
    assert {name for name in ROLES if "." in name} <= set(option_names())


def test_unknown_options_make_another_experiment() -> None:
    assert role("of_another_version") is Role.EXPERIMENT
    assert role("agent.of_another_version") is Role.EXPERIMENT
    assert role("checkpoint.of_another_version") is Role.EXECUTION
    assert role("evaluation.worlds_per_task") is Role.EXECUTION


#: Another value of each option, as config.yaml holds it.
OTHER: dict[str, Any] = {
    "benchmark": "MT10",
    "protocol": "paper",
    "network": {"class_path": "agents.networks.shared.Shared", "init_args": {"width": 8}},
    "critic_network": {"class_path": "agents.networks.shared.Shared", "init_args": {"width": 8}},
    "balancer": {"class_path": "mtrl.balancers.ls.LS", "init_args": {"preference": None}},
    "balance": "critic",
    "seeds": [7],
    "total_steps": 41,
    "engine": "batched",
    "device": "cuda",
    "compile": False,
    "precision": "bfloat16",
    "init_from": "somewhere",
    "init_checkpoint": "best",
    "run_dir": "elsewhere",
    "agent.learning_rate_decay": "linear",
    "agent.log_std": "tanh",
    "agent.critic": "hl_gauss",
    "agent.ensemble": "mean",
    "agent.task_weights": "temperature",
    "agent.gamma": 0.5,
    "agent.tau": 0.5,
    "agent.target_entropy": -2.0,
    "agent.max_grad_norm": 3.0,
}


def other(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    return not value if isinstance(value, bool) else 1 if value is None else value + 1


def edited(config: dict[str, Any], name: str) -> dict[str, Any]:
    group, _, key = name.partition(".")
    if not key:
        return config | {group: other(name, config[group])}
    return config | {group: config[group] | {key: other(name, config[group][key])}}


@pytest.mark.parametrize("name", option_names())
def test_all_places_agree_on_what_makes_another_experiment(
    finished: Path, cli: Cli, tmp_path: Path, name: str
) -> None:
    """Evaluation's tables, the report's groups, the sweep's digest, hyper-parameters, and what resume refuses."""
    config = yaml.safe_load((finished / "config.yaml").read_text())
    changed = edited(config, name)
    differs = role(name) is Role.EXPERIMENT
    assert (experiment(changed) != experiment(config)) == differs
    assert (hyperparameters(changed) != hyperparameters(config)) == differs

    two = shutil.copytree(finished, tmp_path / "two")
    both = changed if name == "seeds" else changed | {"seeds": [1]}
    (two / "config.yaml").write_text(yaml.safe_dump(both))
    run = read_run(finished)  # it refuses files that disagree
    runs = [run, dataclasses.replace(run, path=two, config=both, seeds=both["seeds"])]
    assert len(group_runs(runs)) == (2 if differs else 1)
    evaluations: Any = [
        type("Evaluation", (), {"run": str(run.path), "step": 40, "seeds": run.seeds}) for run in runs
    ]
    assert len(_by_method(evaluations)) == (2 if differs else 1)

    (finished / "config.yaml").write_text(yaml.safe_dump(changed))
    path = checkpoints.find(finished / "checkpoints", "last")
    if (differs or name == "seeds") and name != "total_steps":
        result = cli("train", "--resume", finished)
        assert_refused(result, name, "config.yaml")
        assert_refused(cli("evaluate", finished, "--episodes", 1, "--engine", "reference"), name)
        with pytest.raises(ValueError, match=name):
            load_policy(finished)
    else:
        check_run(finished, path)


@pytest.mark.parametrize(
    "name", [n for n in option_names() if n.partition(".")[0] in ("agent", "evaluation")]
)
def test_a_sweep_goes_on_only_with_the_same_experiment(name: str) -> None:
    group, _, key = name.partition(".")
    base = {
        "benchmark": "MT3",
        "device": "cpu",
        "agent": {"max_grad_norm": 1.0},
        "evaluation": {"interval": 10},
    }
    default = getattr(getattr(TrainConfig(), group), key)
    value = 0.5 if key in ("gamma", "tau") else other(name, default)
    changed = base | {group: base[group] | {key: value}}
    digests = {make_run(methods(SweepConfig(base=b))[0], [0]).digest for b in (base, changed)}
    assert (len(digests) == 2) == (role(name) is Role.EXPERIMENT)


@pytest.mark.parametrize("axis", ["device", "sync", "num_threads", "checkpoint.replay", "log_interval"])
def test_what_makes_no_other_experiment_is_no_axis(axis: str) -> None:
    with pytest.raises(ValueError, match=f"{axis} is no axis"):
        methods(SweepConfig(base={"benchmark": "MT3"}, axes={axis: [1, 2]}))


# ------------------------------------------------------------------------------------------------ files that disagree


def rewrite(run: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Changes the newest manifest and seals it again."""
    path = checkpoints.find(run / "checkpoints", "last")
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["checksum"]
    change(manifest)
    (path / "manifest.json").write_text(seal(manifest))
    return path


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another step": lambda m: m.update(step=20),
    "no step": lambda m: m.pop("step"),
    "step as text": lambda m: m.update(step="40"),
    "no files": lambda m: m.pop("files"),
    "files as a list": lambda m: m.update(files=["agent.safetensors"]),
    "no values": lambda m: m.pop("values"),
    "values as text": lambda m: m.update(values="agent"),
    "no loop": lambda m: m["values"].pop("loop"),
    "loop as a list": lambda m: m["values"].update(loop=[1]),
    "no agent": lambda m: m["values"].pop("agent"),
    "agent as a number": lambda m: m["values"].update(agent=3),
    "missing tensor": lambda m: m["values"]["agent"]["actor"].update(extra={"__tensor__": "not.there"}),
    "no actor": lambda m: m["values"]["agent"].pop("actor"),
    "an actor as a number": lambda m: m["values"]["agent"].update(actor=3),
    "an actor as a list": lambda m: m["values"]["agent"].update(actor=[{"shared": 1}]),
    "an actor's weights as a number": lambda m: m["values"]["agent"]["actor"].update(shared=0.5),
    "an actor as an array": lambda m: m["values"]["agent"].update(
        actor={"__array__": m["values"]["agent"]["actor"]["shared"]["__tensor__"]}
    ),
    "an actor's weights as an array": lambda m: m["values"]["agent"]["actor"].update(
        shared={"__array__": m["values"]["agent"]["actor"]["shared"]["__tensor__"]}
    ),
    "a tensor named by a mapping": lambda m: m["values"]["agent"]["actor"].update(shared={"__tensor__": {}}),
    "an agent as a list": lambda m: m["values"].update(agent=[1, 2]),
    "a part that is a path": lambda m: m["values"].update({"../../x": {}}),
    "a checksum as a list": lambda m: m["files"].update({"agent.safetensors": ["a"]}),
    "a step that is true": lambda m: m.update(step=True),
    "an older format": lambda m: m.update(format=1),
    "a newer format": lambda m: m.update(format=3),
    "no format": lambda m: m.pop("format"),
    "a format as text": lambda m: m.update(format="2"),
    "a format with a point": lambda m: m.update(format=2.0),
    "a format that is true": lambda m: m.update(format=True),
    "a score as text": lambda m: m["values"]["loop"].update(best_score="high"),
    "a best step as text": lambda m: m["values"]["loop"].update(best_step="20"),
    "a negative pending evaluation": lambda m: m["values"]["loop"].update(pending_evaluation=-3),
    "a pending evaluation as text": lambda m: m["values"]["loop"].update(pending_evaluation="last"),
    "learning from a list": lambda m: m["values"]["loop"].update(learns_from=[10]),
    "learning never": lambda m: m["values"]["loop"].update(learns_from=2**62),
    "another step of the loop": lambda m: m["values"]["loop"].update(step=-7),
    "an unknown measure": lambda m: m["values"]["loop"].update(measure="fun"),
    "an unknown device": lambda m: m["values"]["loop"].update(device=["cpu"]),
    "no steps to make": lambda m: m["values"]["loop"].update(total_steps=0),
    "steps to make as text": lambda m: m["values"]["loop"].update(total_steps="40"),
    "frozen seeds as text": lambda m: m["values"]["loop"].update(frozen={"0": "x"}),
    "frozen seeds without a number": lambda m: m["values"]["loop"].update(frozen={"x": {}}),
    "a frozen seed that the run does not have": lambda m: m["values"]["loop"].update(frozen={"9": {}}),
    "a frozen seed in other digits": lambda m: m["values"]["loop"].update(frozen={"٠": {}}),
    "experiment as text": lambda m: m["values"]["loop"].update(experiment="MT10"),
    "model of another program": lambda m: (
        m.clear(),
        m.update(format=2, step=40, files={}, values={}),
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_sealed_manifest_of_another_program(finished: Path, cli: Cli, tmp_path: Path, case: str) -> None:
    """It is not damaged: nothing goes on from an older one, and nothing is renamed."""
    rewrite(finished, MANIFESTS[case])
    before = sorted(path.name for path in (finished / "checkpoints").iterdir())
    name = "step_0000000040"
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), name)
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == before
    if case == "a part that is a path":  # that nobody reads
        return
    assert_refused(cli("evaluate", finished, "--episodes", 1, "--engine", "reference"), name)
    assert_refused(cli(*train_arguments(tmp_path / "new", init_from=finished)), name)
    assert_refused(cli("export", finished, "--format", "torch"), name)
    with pytest.raises((CheckpointError, DisagreementError), match=rf"{name}.*\.$"):
        load_policy(finished)


@pytest.mark.parametrize("found", [1, 3])
def test_a_checkpoint_of_another_format(finished: Path, cli: Cli, found: int) -> None:
    rewrite(finished, lambda m: m.update(format=found))
    result = cli("train", "--resume", finished, "--total_steps", 60)
    assert_refused(result, f"has format {found}", "reads format 2", "use the version that wrote it")
    shutil.move(checkpoints.find(finished / "checkpoints", "last"), finished / "elsewhere")
    assert cli("train", "--resume", finished, "--total_steps", 60).code == 0  # as the sentence says


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no observation": lambda loop: loop.pop("observation"),
    "an observation as a number": lambda loop: loop.update(observation=3),
    "the tracker's as an observation": lambda loop: loop.update(
        observation=next(iter(loop["tracker"].values()))
    ),
    "a tracker as a list": lambda loop: loop.update(tracker=[1]),
    "a tracker without arrays": lambda loop: loop.update(tracker={"step": 1}),
    "metrics as text": lambda loop: loop.update(update_metrics="none"),
    "metrics without shapes": lambda loop: loop["update_metrics"].update(shapes={}),
    "episodes as a list": lambda loop: loop.update(episode_metrics=[1]),
    "no random actions": lambda loop: loop.update(random_actions={}),
    "random actions as numbers": lambda loop: loop.update(random_actions={"0": 1}),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_of_another_kind(finished: Path, cli: Cli, case: str) -> None:
    path = rewrite(finished, lambda m: STATES[case](m["values"]["loop"]))
    before = (finished / "config.yaml").read_text(), (finished / "metrics.jsonl").read_text()
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), path.name)
    assert before == ((finished / "config.yaml").read_text(), (finished / "metrics.jsonl").read_text())


@pytest.mark.parametrize("change", ["longer", "shorter", "scalar", "double dimensions"])
def test_tensors_whose_shapes_do_not_fit(finished: Path, cli: Cli, change: str) -> None:
    path = checkpoints.find(finished / "checkpoints", "last")
    tensors = load_file(path / "agent.safetensors")
    name = next(n for n in tensors if ".actor." in n)
    old = tensors[name]
    tensors[name] = {
        "longer": torch.cat([old, old], -1),
        "shorter": old[..., :1].contiguous(),
        "scalar": torch.zeros(()),
        "double dimensions": old[None].contiguous(),
    }[change]
    save_file(tensors, path / "agent.safetensors")
    rewrite(
        finished,
        lambda m: m["files"].update({"agent.safetensors": checkpoint._checksum(path / "agent.safetensors")}),
    )
    words = ("does not fit", "agent.actor", str(list(old.shape)))
    assert_refused(cli("evaluate", finished, "--episodes", 1, "--engine", "reference"), *words)
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), *words)


def another_type(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.int16 if tensor.is_floating_point() else torch.float32)


def spoiled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return change


TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "another type": another_type,
    "half as exact": lambda x: x.to(torch.float16 if x.is_floating_point() else torch.int8),
    "one number along the last axis": lambda x: x[..., :1] if x.shape[-1] > 1 else x[..., :0],
    "one axis more": lambda x: x[None],
    "nan": spoiled(float("nan")),
}


@pytest.mark.parametrize("balancer", ["AdaTask", pytest.param("GradVac", marks=pytest.mark.slow)])
def test_no_tensor_of_a_checkpoint_is_taken_as_another_one(
    train: Train, monkeypatch: pytest.MonkeyPatch, balancer: str
) -> None:
    """All that training goes on from: parameters, moments, what balancers keep, generators, worlds, transitions."""
    run = train("run", balancer=balancer, agent__normalize_returns="true", log_interval=9)
    config, path = load_config(run), checkpoints.find(run / "checkpoints", "last")
    state = checkpoint.load(path)
    taken: list[tuple[str, str]] = []
    refused: list[tuple[bool, bool, bool]] = []  # named, is not finite, says so

    def visit(value: Any, put: Callable[[Any], Any], name: str) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                visit(part, functools.partial(value.__setitem__, key), f"{name}.{key}")
        elif isinstance(value, (torch.Tensor, np.ndarray)):
            is_array, tensor = isinstance(value, np.ndarray), torch.as_tensor(value)
            for case, change in TENSORS.items():
                may_be = any(part in name for part in (".env.", "balancer", "update_metrics", "tracker"))
                if case == "nan" and (may_be or not tensor.is_floating_point()):
                    continue
                put(change(tensor).numpy() if is_array else change(tensor))
                try:
                    with contextlib.closing(TrainingLoop(config, run)) as loop:
                        restore(loop, path)
                    taken.append((name, case))
                except checkpoint.CheckpointError as error:
                    refused.append((path.name in str(error), case == "nan", "finite" in str(error)))
            put(value)

    monkeypatch.setattr(checkpoint, "load", lambda path: state)
    visit(state, lambda _: None, "")
    assert taken == []
    assert len(refused) > 150
    assert all(named and says >= is_not for named, is_not, says in refused)
    with contextlib.closing(TrainingLoop(config, run)) as loop:
        restore(loop, path)


@pytest.mark.parametrize("change", ["another type", "nan"])
def test_no_policy_acts_with_parameters_that_cannot_be_meant(
    finished: Path, cli: Cli, tmp_path: Path, change: str
) -> None:
    file = checkpoints.find(finished / "checkpoints", "last") / "agent.safetensors"
    tensors = load_file(file)
    name = "state.actor.shared"
    save_file({**tensors, name: TENSORS[change](tensors[name])}, file)
    rewrite(finished, lambda m: m["files"].update({file.name: checkpoint._checksum(file)}))
    assert_refused(cli("evaluate", finished, "--episodes", 1, "--engine", "reference"), "agent.actor.shared")
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), "agent.actor.shared")
    assert_refused(cli(*train_arguments(tmp_path / "new", init_from=finished)), "agent.actor.shared")
    assert not (tmp_path / "new").exists()
    assert_refused(cli("export", finished, "--format", "torch"), "agent.actor.shared")
    with pytest.raises(ValueError, match=r"agent\.actor\.shared"):
        load_policy(finished)


STAMPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "benchmark": lambda s: s["benchmark"].update(name="MT10"),
    "protocol": lambda s: s["protocol"].update(name="paper"),
    "horizon": lambda s: s["protocol"].update(horizon=7),
    "tasks": lambda s: s["benchmark"].update(tasks=s["benchmark"]["tasks"][::-1]),
    "engine": lambda s: s.update(engine="batched"),
    "benchmark's": lambda s: s.pop("benchmark"),
    "no mapping": lambda s: s.update(protocol=["tiny"]),
}


@pytest.mark.parametrize("case", STAMPS)
def test_a_stamp_of_another_run(finished: Path, cli: Cli, case: str) -> None:
    path = finished / "stamp.json"
    stamp = json.loads(path.read_text())
    STAMPS[case](stamp)
    path.write_text(json.dumps(stamp))
    for command in (
        ["evaluate", finished, "--episodes", 1, "--engine", "reference"],
        ["train", "--resume", finished],
    ):
        assert_refused(cli(*command), "stamp")


def test_no_stamp(finished: Path, cli: Cli) -> None:
    (finished / "stamp.json").unlink()
    assert_refused(cli("evaluate", finished), "stamp.json")
    assert_refused(cli("train", "--resume", finished), "stamp.json")


def test_a_checkpoint_of_before_is_evaluated_by_what_it_has(finished: Path, cli: Cli) -> None:
    rewrite(finished, lambda m: [m["values"]["loop"].pop(n) for n in ("experiment", "observation_size")])
    assert cli("evaluate", finished, "--episodes", 1, "--engine", "reference").code == 0


def test_a_line_that_is_gone_or_new(finished: Path, cli: Cli) -> None:
    path = finished / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "batch_size"}))
    assert_refused(
        cli("train", "--resume", finished), "batch_size is 'unset' in config.yaml and 8 in stamp.json"
    )
    path.write_text(
        yaml.safe_dump(config | {"agent": {k: v for k, v in config["agent"].items() if k != "gamma"}})
    )
    assert_refused(cli("train", "--resume", finished), "agent.gamma is 'unset'")


def test_killed_between_a_new_number_of_steps_and_its_first_checkpoint(finished: Path, cli: Cli) -> None:
    path = finished / "config.yaml"
    path.write_text(path.read_text().replace("total_steps: 40", "total_steps: 60"))
    assert cli("train", "--resume", finished).code == 0
    assert checkpoints.steps(finished / "checkpoints")[-1] == 60


def test_where_it_is_executed_may_change(finished: Path, cli: Cli) -> None:
    path = finished / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(
        yaml.safe_dump(config | {"log_interval": 5, "num_threads": 1, "sync": True, "run_dir": "other"})
    )
    assert cli("train", "--resume", finished, "--total_steps", 60).code == 0
    assert record(config) == record(yaml.safe_load(path.read_text()) | {"total_steps": 40})


def test_a_class_by_default_by_name_and_by_path_is_one_experiment(train: Train, cli: Cli) -> None:
    paths = [None, "AlignedMTL", "mtrl.balancers.AlignedMTL", "mtrl.balancers.aligned_mtl.AlignedMTL"]
    runs = [
        train(f"run{seed}", balancer=path, seeds=seed, total_steps=20, log_interval=20)
        for seed, path in enumerate(paths)
    ]
    assert len({str(experiment(yaml.safe_load((run / "config.yaml").read_text()))) for run in runs}) == 1
    assert len(group_runs([read_run(run) for run in runs])) == 1
