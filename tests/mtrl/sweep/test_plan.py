"""From a sweep's file to its runs, and what is refused."""

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.networks import Residual, Shared
from mtrl.sweep.config import SweepConfig, parse_request
from mtrl.sweep.plan import make_run, methods
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result
from tests.mtrl.sweep.conftest import BASE

ROOT = Path(__file__).resolve().parents[3]
Write = Callable[..., Path]
Cli = Callable[..., Result]


def names(axes: Any, base: dict[str, Any] = BASE) -> list[str]:
    return [method.name for method in methods(SweepConfig(base=base, axes=axes))]


def test_every_combination_is_a_method() -> None:
    assert names({"balancer": ["LS", None], "agent.gamma": [0.9, 0.99]}) == [
        "LS-gamma0.9", "LS-gamma0.99", "none-gamma0.9", "none-gamma0.99"
    ]  # fmt: skip
    assert names({}) == ["run"]


def test_a_list_of_axes_is_a_union() -> None:
    axes = [
        {"network": ["shared", "film"], "balancer": [None]},
        {"network": ["shared"], "balancer": ["PCGrad"]},
    ]
    assert names(axes) == ["shared-none", "film-none", "shared-PCGrad"]


def test_classes_with_options() -> None:
    values = [{"class_path": "CAGrad", "init_args": {"c": c}} for c in (0.4, 0.9)]
    found = methods(SweepConfig(base=BASE, axes={"balancer": values, "network.width": [8]}))
    assert [method.name for method in found] == ["CAGrad-c0.4-width8", "CAGrad-c0.9-width8"]
    assert [method.config.balancer.c for method in found] == [0.4, 0.9]  # type: ignore[union-attr]
    assert found[0].config.network.width == 8  # type: ignore[attr-defined]
    assert found[0].config.network.depth == 1  # type: ignore[attr-defined]


def test_classes_by_import_path(write_sweep: Write) -> None:
    """As in the `config.yaml` of a run: they are described as those by their names are."""
    network = {"class_path": "agents.networks.shared.Shared", "init_args": {"width": 8}}
    values = [{"class_path": "mtrl.balancers.cagrad.CAGrad", "init_args": {"c": c}} for c in (0.4, 0.9)]
    sweep = write_sweep(base={**BASE, "network": network}, axes={"balancer": values, "network.depth": [2]})
    found = methods(parse_request([str(sweep), "--base.balancer.c=0.3"]).config)
    assert [method.name for method in found] == ["CAGrad-c0.4-depth2", "CAGrad-c0.9-depth2"]
    assert [method.config.network for method in found] == [Shared(8, 2)] * 2


def test_a_class_on_an_axis_has_its_own_defaults() -> None:
    """Not the options of the base's class, which nobody looks at, and not those of the default class."""
    base = {**BASE, "network": "absent.Own", "network.width": 8, "balancer": {"class_path": "absent.Own"}}
    found = methods(SweepConfig(base=base, axes={"network": ["residual", "shared"], "balancer": ["LS"]}))
    assert [method.config.network for method in found] == [Residual(), Shared()]


def test_dotted_options_of_a_base() -> None:
    base = {**BASE, "network": "shared", "network.width": 8, "agent.gamma": 0.5}
    (method,) = methods(SweepConfig(base=base, axes={"network.depth": [2]}))
    assert method.config.network == Shared(width=8, depth=2)
    assert method.config.agent.gamma == 0.5


#: What overrides a base, on an axis or on the command line, and what comes out of it.
OVERRIDES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a group": ("agent", {"gamma": 0.5}, {"agent.gamma": 0.5, "agent.tau": 0.1}),
    "evaluations": ("evaluation", {"episodes": 3}, {"evaluation.episodes": 3, "evaluation.interval": 200}),
    "options of the base's class": (
        "network", {"init_args": {"width": 64}}, {"network": Residual(64, 1, 9)}
    ),
    "the same by their name": ("network.init_args", {"width": 64}, {"network": Residual(64, 1, 9)}),
    "another class by its path": ("network.class_path", "shared", {"network": Shared()}),  # type: ignore[dict-item]
}  # fmt: skip


@pytest.mark.parametrize("case", OVERRIDES)
def test_what_overrides_a_base_does_so_option_by_option(write_sweep: Write, case: str) -> None:
    name, value, expected = OVERRIDES[case]
    network = {"class_path": "residual", "init_args": {"depth": 1, "embedding_width": 9}}
    base = {**BASE, "agent": {"gamma": 0.9, "tau": 0.1}, "network": network}
    on_axis = SweepConfig(base=base, axes={name: [value]})
    sweep = write_sweep(base=base, axes={})
    on_command_line = parse_request([str(sweep), f"--base.{name}", json.dumps(value)]).config
    for config in (on_axis, on_command_line):
        (method,) = methods(config)
        found = {option: attrgetter(option)(method.config) for option in expected}
        assert found == expected


def test_options_do_not_bring_back_a_class_that_the_base_made_null() -> None:
    axes = {"balancer": [{"init_args": {"scale_mode": "min"}}]}
    with pytest.raises(
        ValueError, match=r"^balancer\.init_args is an option of balancer, and balancer is None"
    ):
        names(axes, {**BASE, "balancer": None})


def test_the_digest_is_of_what_is_computed_not_of_where() -> None:
    def digest(**changes: Any) -> str:
        (method,) = methods(SweepConfig(base=BASE | changes))
        return make_run(method, [0, 1]).digest

    assert digest() == digest(num_workers=3, num_threads=2, device="cuda", run_dir="x", seeds=[7])
    assert digest() == digest(random_steps=50, balancer="AlignedMTL")  # a default, said
    assert len({digest(), digest(total_steps=401), digest(balancer="LS"), digest(agent={"tau": 0.1})}) == 4


def test_names_of_seeds() -> None:
    (method,) = methods(SweepConfig(base=BASE))
    assert make_run(method, [0, 1, 2, 5]).name == "run-seed0-2_5"
    assert make_run(method, [7]).name == "run-seed7"


def test_the_command_line_goes_before_the_file(write_sweep: Write) -> None:
    path = write_sweep(executor="ray", retries=5)
    config = parse_request([str(path), "--executor", "local", "--seeds", "4,5"]).config
    assert (config.executor, config.seeds, config.retries) == ("local", [4, 5], 5)


@pytest.mark.parametrize(
    ("name", "count"),
    [("small", 2), ("paper", 16), ("mt10_classic", 11), ("mt10_fast", 12), ("mt10_normalized", 2)],
)
def test_shipped_sweeps(name: str, count: int) -> None:
    config = parse_request([str(ROOT / "configs" / "sweeps" / f"{name}.yaml")]).config
    found = methods(config)
    assert len(found) == count
    assert config.directory == Path("runs") / name


def test_normalised_returns_are_all_that_the_two_tables_of_the_classic_agent_differ_in() -> None:
    def experiments(name: str) -> dict[str, dict[str, Any]]:
        config = parse_request([str(ROOT / "configs" / "sweeps" / f"{name}.yaml")]).config
        return {method.name: method.experiment for method in methods(config)}

    classic = experiments("mt10_classic")
    for name, normalized in experiments("mt10_normalized").items():
        raw = classic[name.removesuffix("-normalize_returnsTrue")]
        different = [option for option in raw | normalized if raw.get(option) != normalized.get(option)]
        assert different == ["agent.normalize_returns"]


BAD = {
    "unknown axis": ({"axes": {"balancr": ["LS"]}}, ["no axis 'balancr'", "did you mean 'balancer'?"]),
    "unknown nested axis": ({"axes": {"agent.gama": [0.9]}}, ["did you mean 'agent.gamma'?"]),
    "seeds as an axis": ({"axes": {"seeds": [[0], [1]]}}, ["seeds are no axis"]),
    "empty axis": ({"axes": {"balancer": []}}, ["axis balancer", "at least one value"]),
    "no evaluation": ({"evaluate": None}, ["evaluate must be a mapping of options to values, got null"]),
    "axis of one value": ({"axes": {"balancer": "LS"}}, ["axes must be", "lists of values", "got {'balancer': 'LS'}"]),
    "axes that are a list": ({"axes": [1, 2]}, ["axes must be a mapping of options to lists of values", "got [1, 2]"]),
    "same value twice": ({"axes": {"balancer": ["LS", "ls"]}}, ["same name 'ls'"]),
    "same class twice": (
        {"axes": {"balancer": ["CAGrad", {"class_path": "CAGrad"}]}},
        ["same name 'CAGrad'"],
    ),
    "unknown value": ({"axes": {"balancer": ["PCGrat"]}}, ["PCGrat", "did you mean 'PCGrad'?"]),
    "value of another type": ({"axes": {"agent.gamma": [0.9, "high"]}}, ["agent.gamma must be a number", "high"]),
    "value out of range": ({"axes": {"total_steps": [100, -1]}}, ["total_steps", "positive", "-1"]),
    "unknown device": ({"base": BASE | {"device": "tpu"}}, ["device", "auto, cpu, cuda", "tpu"]),
    "option of no balancer": (
        {"axes": {"balancer": [None], "balancer.c": [0.4]}},
        ["axis balancer.c needs a balancer"],
    ),
    "unknown option of the sweep": ({"seed": [0]}, ["'seed'", "did you mean 'seeds'?"]),
    "unknown key of the base": ({"base": {"totl_steps": 3}}, ["totl_steps"]),
    "option of the command line in the base": ({"base": {"config": "base.yaml"}}, ["no option or key 'config'"]),
    "group of the base that is a number": ({"base": {"agent": 3}}, ["agent must be a mapping of options"]),
    "group on an axis that is a number": ({"axes": {"agent": [3]}}, ["agent must be a mapping of options to values"]),
    "no base file": ({"base": "nowhere.yaml"}, ["nowhere.yaml"]),
    "a file as sweep_dir": ({"sweep_dir": __file__}, ["sweep_dir must be a directory", "is a file"]),
    "a file above sweep_dir": ({"sweep_dir": f"{__file__}/x"}, ["sweep_dir must be a directory", "is a file"]),
    "a union of nothing": ({"axes": []}, ["axes must have at least one"]),
    "no axes": ({"axes": None}, ["axes must have a value, got null"]),
    "no base": ({"base": None}, ["base must have a value, got null"]),
    "seeds that are none": ({"seeds": ["a"]}, ["seeds"]),
    "equal seeds": ({"seeds": [1, 1]}, ["seeds must be different", "[1, 1]"]),
    "no seeds": ({"seeds": []}, ["at least one"]),
    "no end of an evaluation": ({"evaluate": {"episodes": 2**40}}, ["evaluate.episodes", "below 2**31", str(2**40)]),
    "a seed of no environment": ({"seeds": [2**32]}, ["seeds must be", "to 2**32 - 1", str(2**32)]),
    "an evaluation's seed of no environment": (
        {"base": BASE | {"evaluation": {"seed": 2**32}}}, ["evaluation.seed", "below 2**32", str(2**32)]
    ),
    "no seeds in a run": ({"seeds_per_run": 0}, ["seeds_per_run", "in [1, 2147483647] or auto", "got 0"]),
    "cores of no machine": ({"cores": 10**9}, ["cores to be a whole number in [1, 65536]", "1000000000"]),
    "two GPUs for a run": ({"gpus_per_run": 2}, ["gpus_per_run", "2"]),
    "too few cores": ({"cores": 1, "cores_per_run": 4}, ["4 cores", "has 1"]),
    "address of no cluster": ({"address": "auto"}, ["--executor ray"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_sweeps(write_sweep: Write, cli: Cli, tmp_path: Path, case: str) -> None:
    options, words = BAD[case]
    assert_refused(cli("sweep", write_sweep(**options)), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ["empty"]), ("[1]", ["list"]), ("axes: [", ["not valid YAML"])],
)
def test_bad_files(cli: Cli, tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    assert_refused(cli("sweep", path), str(path), *words)
    assert_refused(cli("sweep", tmp_path / "nowhere.yaml"), "nowhere.yaml", "cannot be read")


def test_number_of_no_run(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    sweep = write_sweep(seeds_per_run=2)
    assert_refused(cli("sweep", sweep, "--only", 2), "--only", "from 0 to 1", "got 2")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("listing", ["--dry_run", "--estimate"])
def test_one_run_is_not_listed(write_sweep: Write, cli: Cli, listing: str) -> None:
    assert_refused(cli("sweep", write_sweep(), "--only", -1, listing), "--only trains a run", "leave one")


@pytest.mark.parametrize("in_a_file", [True, False])
def test_options_of_the_base_on_the_command_line(tmp_path: Path, in_a_file: bool) -> None:
    """They override it one by one; what they do not name stays."""
    base = {
        **BASE,
        "agent": {"gamma": 0.9, "tau": 0.1},
        "balancer": "CAGrad",
        "balancer.c": 0.3,
        "network.depth": 3,
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump({"base": "base.yaml" if in_a_file else base}))
    options = ["--base.agent.gamma=0.8", "--base.total_steps", "1e2", "--base.network.width", "9"]
    request = parse_request([*options, str(sweep), "--base.balancer", "LS"])
    config = methods(request.config)[0].config
    assert (config.agent.gamma, config.agent.tau, config.total_steps) == (0.8, 0.1, 100)
    assert (config.network.width, config.network.depth) == (9, 3)  # type: ignore[attr-defined]
    assert type(config.balancer).__name__ == "LS"
    assert config.batch_size == BASE["batch_size"]


@pytest.mark.parametrize(
    ("options", "words"),
    {
        "seeds": (["--base.seeds", "1"], "--seeds"),
        "no value": (["--base.total_steps"], "--base.total_steps needs a value"),
        "no option": (["--base.total_stepz", "3"], "total_stepz"),
        "no number": (["--base.total_steps", "many"], "total_steps must be an integer, got many"),
        "no YAML": (["--base.agent", "{gamma: [}"], "base.agent must be valid YAML"),
    }.values(),
)
def test_bad_options_of_the_base(write_sweep: Write, cli: Cli, options: list[str], words: str) -> None:
    assert_refused(cli("sweep", write_sweep(), *options, "--dry_run"), words)


def test_a_base_file_lies_beside_the_sweep(write_sweep: Write) -> None:
    sweep = write_sweep(base="base.yaml")
    (sweep.parent / "base.yaml").write_text(yaml.safe_dump(BASE))
    assert methods(parse_request([str(sweep)]).config)[0].config.total_steps == 400
