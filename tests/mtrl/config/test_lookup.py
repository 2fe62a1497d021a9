import dataclasses

import pytest

from agents.networks import Architecture, MultiHead
from mtrl.balancers import AlignedMTL, Balancer
from mtrl.config.lookup import balancers, expand_arguments, expand_classes, get_object, import_path, networks

ALIGNED = f"{AlignedMTL.__module__}.AlignedMTL"


def test_all_networks_and_balancers_have_a_name() -> None:
    assert {"multi_head", "shared"} <= networks().keys()
    assert {"AlignedMTL", "LS", "PCGrad"} <= balancers().keys()
    assert all(issubclass(cls, Architecture) for cls in networks().values())
    assert all(issubclass(cls, Balancer) for cls in balancers().values())


@pytest.mark.parametrize("name", ["multi_head", "MultiHead", "multihead", "MULTI-HEAD"])
def test_spellings_of_a_network(name: str) -> None:
    assert get_object(import_path("network", name)) is MultiHead


@pytest.mark.parametrize("name", ["AlignedMTL", "aligned_mtl", "alignedmtl", "Aligned-MTL"])
def test_spellings_of_a_balancer(name: str) -> None:
    assert get_object(import_path("balancer", name)) is AlignedMTL


def test_every_listed_name_leads_to_its_class() -> None:
    for kind, known in (("network", networks()), ("balancer", balancers())):
        for name, cls in known.items():
            assert get_object(import_path(kind, name)) is cls


def test_a_class_of_the_toolkit_has_one_path() -> None:
    """So that a run says the same however its class was named."""
    for name in ("mtrl.balancers.AlignedMTL", "mtrl.balancers.aligned_mtl.AlignedMTL", "AlignedMTL"):
        assert import_path("balancer", name) == "mtrl.balancers.aligned_mtl.AlignedMTL"


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("balancer", "AlignMTL", "AlignedMTL"),
        ("balancer", "PCGard", "PCGrad"),
        ("network", "multi_heads", "multi_head"),
    ],
)
def test_the_nearest_name_is_proposed(kind: str, name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"There is no {kind} '{name}': did you mean '{nearest}'"):
        import_path(kind, name)


def test_configurations_with_names() -> None:
    expanded = expand_classes({"network": "multi_head", "balancer": None, "seeds": [0]})
    assert get_object(expanded["network"]["class_path"]) is MultiHead
    assert expanded["network"]["init_args"] == dataclasses.asdict(MultiHead())
    assert expanded["balancer"] is None
    assert expanded["seeds"] == [0]
    expanded = expand_classes(
        {"balancer": {"class_path": "aligned_mtl", "init_args": {"scale_mode": "rmse"}}}
    )
    assert get_object(expanded["balancer"]["class_path"]) is AlignedMTL
    assert expanded["balancer"]["init_args"] == {"preference": None, "scale_mode": "rmse", "tolerance": 1e-12}
    assert expand_classes({"network": {"init_args": {"width": 8}}}) == {
        "network": {"init_args": {"width": 8}}
    }


def test_help_of_a_class_takes_short_names() -> None:
    assert expand_arguments(["--network.help=care"], ["network"]) == [
        "--network.help=agents.networks.care.Care"
    ]
    assert expand_arguments(["--network.width=8"], ["network"]) == ["--network.width=8"]
