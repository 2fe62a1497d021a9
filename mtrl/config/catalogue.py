"""What `mtrl list` and the overview print, without an import of torch: classes are read from their sources."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def networks() -> dict[str, str]:
    """The first paragraph on every architecture of the package, by its snake-case name."""
    found = _subclasses(ROOT / "agents" / "networks", "Architecture")
    return dict(sorted((snake_case(name), text) for name, text in found.items()))


def balancers() -> dict[str, str]:
    """The first paragraph on every balancer of the package, by its class name."""
    return dict(sorted(_subclasses(ROOT / "mtrl" / "balancers", "Balancer").items()))


def snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _subclasses(package: Path, base: str) -> dict[str, str]:
    """The public classes in a package's modules that derive from `base`, directly or not."""
    classes: dict[str, ast.ClassDef] = {}
    for path in package.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node

    def derives(name: str) -> bool:
        node = classes.get(name)
        parents = [] if node is None else [b.id for b in node.bases if isinstance(b, ast.Name)]
        return any(parent == base or derives(parent) for parent in parents)

    return {
        name: " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
        for name, node in classes.items()
        if derives(name) and not name.startswith("_")
    }
