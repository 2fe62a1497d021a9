"""Every numeric option of every balancer and architecture: which values it takes, and what it says to others.

The tests walk over all classes and their constructors, so an option that is added without a range fails here.
"""

import dataclasses
import inspect
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from agents.config import SACConfig
from agents.networks import Architecture
from mtrl.balancers import AlignedMTL, Balancer, CAGrad
from mtrl.config.lookup import balancers, networks
from mtrl.options import PositiveFloat, PositiveInt, Range, range_of

CLASSES: dict[str, type] = {**balancers(), **networks()}
BROKEN = [math.nan, math.inf, -math.inf, "much", True, None]


def leaves(hint: Any) -> Iterator[Any]:
    """The types that a type hint consists of, those with a range as one."""
    if get_origin(hint) is Annotated or not get_args(hint):
        yield hint
    else:
        for part in get_args(hint):
            yield from leaves(part)


def options() -> Iterator[tuple[str, type, str, Any]]:
    for label, cls in CLASSES.items():
        hints = get_type_hints(cls.__init__, include_extras=True)
        for name in list(inspect.signature(cls).parameters):
            yield f"{label}.{name}", cls, name, hints[name]


def numeric() -> Iterator[Any]:
    for label, cls, name, hint in options():
        if name != "preference" and any(
            leaf in (int, float) or range_of(leaf) is not None for leaf in leaves(hint)
        ):
            yield pytest.param(cls, name, hint, id=label)


def around(hint: Any, value: Any) -> Any:
    """A value of the option that has the number in it: alone, or the second of two."""
    return (0.5, value) if get_origin(hint) is tuple else value


def just_outside(numbers: Range, whole: bool) -> list[float]:
    low, high = numbers.low, numbers.high
    if whole:
        return [low - 1, high + 1, low + 0.5]
    below = low if numbers.ends[0] == "(" else math.nextafter(low, -math.inf)
    return [below, high if numbers.ends[1] == ")" else math.nextafter(high, math.inf)]


def ends(numbers: Range) -> list[float]:
    low = math.nextafter(numbers.low, math.inf) if numbers.ends[0] == "(" else numbers.low
    return [low, math.nextafter(numbers.high, -math.inf) if numbers.ends[1] == ")" else numbers.high]


def whole(hint: Any) -> bool:
    return any(get_args(leaf)[0] is int for leaf in leaves(hint) if range_of(leaf) is not None)


def test_there_are_options_to_look_at() -> None:
    labels = [parameter.id for parameter in numeric()]
    assert {
        "CAGrad.c",
        "IMGrad.c",
        "STCH.mu",
        "AdaTask.betas",
        "NashMTL.max_norm",
        "care.temperature",
    } <= set(labels)
    assert len(labels) > 60


@pytest.mark.parametrize(("cls", "name", "hint"), list(numeric()))
def test_every_numeric_option_has_a_range(cls: type, name: str, hint: Any) -> None:
    for leaf in leaves(hint):
        assert leaf not in (int, float), f"{cls.__name__}.{name} needs a type of mtrl.options"


@pytest.mark.parametrize(("cls", "name", "hint"), list(numeric()))
def test_values_that_cannot_be_meant_are_refused_by_one_sentence(cls: type, name: str, hint: Any) -> None:
    numbers = range_of(hint)
    assert numbers is not None
    optional = type(None) in get_args(hint)
    for bad in [*BROKEN, *just_outside(numbers, whole(hint))]:
        if bad is None and optional:
            continue
        with pytest.raises(
            ValueError, match=rf"^{cls.__name__} needs {name} to be [^.]* in .*, got .*\.$"
        ) as refused:
            cls(**{name: around(hint, bad)})
        assert "\n" not in str(refused.value)
        assert str(numbers) in str(refused.value)
        if any(get_origin(leaf) is None for leaf in leaves(hint)) and "Sequence" in str(hint):
            with pytest.raises(ValueError, match=f"^{cls.__name__} needs {name} to be"):
                cls(**{name: [0.5, bad]})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (n, h)
        for n, h in get_type_hints(SACConfig, include_extras=True).items()
        if any(leaf in (int, float) or range_of(leaf) is not None for leaf in leaves(h))
    ],
)
def test_every_number_of_the_agent_has_a_range(name: str, hint: Any) -> None:
    numbers = range_of(hint)
    assert numbers is not None, f"{name} needs a type of mtrl.options"
    optional = type(None) in get_args(hint)
    for bad in [*BROKEN, *just_outside(numbers, whole(hint))]:
        if bad is not None or not optional:
            with pytest.raises(ValueError, match=rf"^agent needs {name} to be [^.]* in .*, got .*\.$"):
                SACConfig(**{name: bad})
    fitting = {"log_std_min": "log_std_max", "log_std_max": "log_std_min"}
    fitting |= {"value_min": "value_max", "value_max": "value_min"}
    for end in ends(numbers):
        if name not in fitting or (end == numbers.low) == name.endswith("_min"):
            assert getattr(SACConfig(**{name: int(end) if whole(hint) else end}), name) == end


@pytest.mark.parametrize(("cls", "name", "hint"), list(numeric()))
def test_the_ends_of_a_range_work(cls: type, name: str, hint: Any) -> None:
    """Three calls on an ordinary system: finite weights and directions, and nothing that counts as failed."""
    numbers = range_of(hint)
    assert numbers is not None
    generator = torch.Generator().manual_seed(0)
    for end in ends(numbers):
        made = cls(**{name: around(hint, int(end) if whole(hint) else end)})
        if isinstance(made, Architecture):  # built, the larger end would not fit any memory
            assert getattr(made, name) == end
            continue
        assert isinstance(made, Balancer)
        made.setup(3)
        for _ in range(3):
            jacobian = torch.randn(1, 3, 50, generator=generator)
            losses = torch.rand(1, 3, generator=generator) + 0.5
            balanced = made(jacobian, losses, jacobian)
            if made.observes_update:
                made.observe(losses * torch.tensor([0.8, 0.9, 0.95]))
            assert balanced.direction.isfinite().all(), end
            assert made.failures.tolist() == [0], end
        assert all(b.isfinite().all() for n, b in made.named_buffers() if n != "previous")


@pytest.mark.parametrize("cls", [c for c in CLASSES.values() if issubclass(c, Balancer)])
def test_a_preference_that_cannot_be_meant_is_refused(cls: type[Balancer]) -> None:
    lists: list[Any] = [[bad, 1.0] for bad in (math.nan, math.inf, -1.0, 1e308, True, "1", None, 1j)]
    others = [
        math.nan,
        1.0,
        True,
        "x",
        "12",
        b"12",
        {1.0: 2.0},
        object,
        torch.tensor(math.nan),
        np.float64(1),
    ]
    for bad in [*lists, *others, [], (), [0.0, 0.0]]:
        with pytest.raises(
            ValueError,
            match=f"^{cls.__name__} needs non-negative preferences with a positive sum, got .*\\.$",
        ) as refused:
            cls(preference=bad)
        assert "\n" not in str(refused.value)
    assert cls(preference=np.array([1.0, 3.0])).setup(2).preference.tolist() == [0.25, 0.75]


def test_names_among_which_to_choose_are_checked_too() -> None:
    choices = [(cls, name) for _, cls, name, hint in options() if get_origin(hint) is Literal]
    assert len(choices) > 3
    for cls, name in choices:
        with pytest.raises(ValueError, match=rf"{cls.__name__} needs {name} to be .* or .*, got 'other'"):
            cls(**{name: "other"})
        with pytest.raises(ValueError, match=rf"{cls.__name__} needs {name} to be .* or .*, got array"):
            cls(**{name: np.array(["other", "names"])})


def test_yes_or_no_is_no_number_and_no_word() -> None:
    switches = [(cls, name) for _, cls, name, hint in options() if hint is bool]
    assert switches
    for cls, name in switches:
        for bad in (1, 0.0, "false", None, [True]):
            with pytest.raises(ValueError, match=rf"{cls.__name__} needs {name} to be true or false, got"):
                cls(**{name: bad})


def test_numbers_of_numpy_are_numbers() -> None:
    assert CAGrad(c=np.float32(0.5)).c == 0.5


def test_a_balancer_of_a_users_own_is_checked() -> None:
    class Mine(AlignedMTL):
        def __init__(self, strength: PositiveFloat = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.strength = strength

    assert Mine(2.0, scale_mode="rmse").strength == 2.0
    with pytest.raises(ValueError, match="Mine needs strength to be a number in"):
        Mine(-1.0)
    with pytest.raises(ValueError, match="Mine needs tolerance to be a number in"):
        Mine(tolerance=math.nan)


def test_an_architecture_of_a_users_own_is_checked() -> None:
    @dataclasses.dataclass(frozen=True)
    class Mine(Architecture):
        units: PositiveInt = 3

        def build(self, axes: Any, in_features: int, out_features: int) -> Any: ...

    assert Mine(4).units == 4
    with pytest.raises(
        ValueError, match=r"Mine needs units to be a whole number in \[1, 2147483647\], got 0"
    ):
        Mine(0)
