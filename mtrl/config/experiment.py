"""What an option means: whether it makes another experiment, tells runs of one apart, or says where and how it is run.

This is the only place that says so. `mtrl evaluate` and `mtrl report` set runs of one experiment in one table, a sweep
goes on with a run only where the experiment is the same, TensorBoard shows its options as hyper-parameters, and a run
is resumed and evaluated only as what its checkpoints were made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Role(Enum):
    """EXPERIMENT: another value makes another experiment. SEEDS: tells runs of one experiment apart.
    EXECUTION: where and how fast it is run, and what is kept of it."""

    EXPERIMENT = "experiment"
    SEEDS = "seeds"
    EXECUTION = "execution"


#: Of every option of a training configuration. Those of a group have the group's role where none is given to them.
ROLES = {
    "benchmark": Role.EXPERIMENT,
    "protocol": Role.EXPERIMENT,
    "network": Role.EXPERIMENT,
    "critic_network": Role.EXPERIMENT,
    "balancer": Role.EXPERIMENT,
    "balance": Role.EXPERIMENT,
    "agent": Role.EXPERIMENT,
    "seeds": Role.SEEDS,
    "total_steps": Role.EXPERIMENT,
    "batch_size": Role.EXPERIMENT,
    "buffer_size": Role.EXPERIMENT,
    "random_steps": Role.EXPERIMENT,
    "worlds_per_task": Role.EXPERIMENT,
    "staggered": Role.EXPERIMENT,
    "updates_per_step": Role.EXPERIMENT,
    "evaluation": Role.EXPERIMENT,
    "evaluation.worlds_per_task": Role.EXECUTION,
    "checkpoint": Role.EXECUTION,
    "log_interval": Role.EXECUTION,
    "device": Role.EXECUTION,
    "compile": Role.EXECUTION,
    "precision": Role.EXPERIMENT,
    "sync": Role.EXECUTION,
    "engine": Role.EXPERIMENT,
    "num_workers": Role.EXECUTION,
    "num_threads": Role.EXECUTION,
    "init_from": Role.EXPERIMENT,
    "init_checkpoint": Role.EXPERIMENT,
    "run_dir": Role.EXECUTION,
}
#: What a run that goes on may change: it is then the run that had this many steps to make from the start.
EXTENDABLE = ("total_steps",)


def role(name: str) -> Role:
    """The role of an option such as `agent.gamma`; one that this version does not know makes another experiment."""
    while name not in ROLES and "." in name:
        name = name.rpartition(".")[0]
    return ROLES.get(name, Role.EXPERIMENT)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level of names; a class is its import path, and its options follow: `network.width`."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and "class_path" in value:
            options = value.get("init_args")
            flat[f"{prefix}{name}"] = value["class_path"]
            flat |= flatten(options, f"{prefix}{name}.") if isinstance(options, Mapping) else {}
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def experiment(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run the experiment that it is: the options of that role by name, from what `config.yaml` holds."""
    return {name: value for name, value in flatten(config).items() if role(name) is Role.EXPERIMENT}


def record(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of the configuration that it is made with: what the run may not change, and its seeds."""
    kept = {name: value for name, value in experiment(config).items() if name not in EXTENDABLE}
    return {**kept, "seeds": config.get("seeds")}
