"""What a name that is not known was probably meant to be."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not one of `valid`."""
    names = list(valid)
    hint = suggestion(name, names, f"choose one of {', '.join(names)}.")
    return ValueError(f"There is no {kind} {name!r}: {hint}")


def suggestion(name: str, valid: Iterable[str], otherwise: str, cutoff: float = 0.4) -> str:
    """The nearest valid name as a question; `otherwise` if none is as similar as `cutoff`, in [0, 1]."""
    nearest = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f"did you mean {nearest[0]!r}?" if nearest else otherwise
