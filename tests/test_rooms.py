"""The rooms of the house: what may import what, read from the sources."""

import ast
import pydoc
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("agents", "envs", "mtrl")
    for path in (ROOT / package).rglob("*.py")
}


def imports(module: str) -> Iterator[str]:
    """The modules of the toolkit that a module imports, also those for type checking and within functions."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def room(module: str) -> str:
    """`agents`, `envs`, a folder of mtrl, or a module beside the folders."""
    package, _, rest = module.partition(".")
    return ".".join((package, rest.partition(".")[0])) if package == "mtrl" and rest else package


def arrows() -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module in MODULES:
        targets = {room(target) for target in imports(module)} - {room(module)}
        found.setdefault(room(module), set()).update(targets)
    return found


def test_no_circles() -> None:
    TopologicalSorter(arrows()).prepare()  # raises with the circle
    TopologicalSorter({m: {*imports(m)} - {m} for m in MODULES}).prepare()


def test_the_layers() -> None:
    found = arrows()
    for alone in ("envs", "mtrl.system", "mtrl.device", "mtrl.options"):
        assert found[alone] == set()
    assert found["mtrl.adam"] == {"mtrl.device"}
    assert found["mtrl.balancers"] == {"mtrl.adam", "mtrl.device", "mtrl.options"}
    assert found["mtrl.gradients"] == {"mtrl.balancers"}
    assert found["agents"] == {"mtrl.adam", "mtrl.balancers", "mtrl.device", "mtrl.gradients", "mtrl.options"}


def test_few_modules_stand_beside_the_rooms() -> None:
    assert {path.stem for path in (ROOT / "mtrl").glob("*.py")} == {
        "__init__",
        "__main__",
        "adam",
        "diagnostics",
        "functions",
        "gradients",
        "options",
    }


def test_the_map_names_every_room() -> None:
    named = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    for path in (ROOT / "mtrl").iterdir():
        if (path / "__init__.py").is_file():
            assert f"| `{path.name}/` |" in named


def test_the_paths_name_what_is_there() -> None:
    rows = re.findall(
        r"^\| (`.*) \| `(.*\.py)` \|$", (ROOT / "docs" / "code.md").read_text(encoding="utf-8"), re.M
    )
    assert len(rows) == 19
    for calls, path in rows:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for call in re.findall(r"`([A-Za-z_.]+)`", calls.partition(":")[0]):
            body: list[ast.stmt] = tree.body
            for name in call.split("."):
                (found,) = (
                    node
                    for node in body
                    if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name
                )
                body = found.body


def test_docs_name_modules_and_files_that_are_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:agents|envs|mtrl)(?:\.\w+)+)(?:\(.*?\))?`", text):
            assert pydoc.locate(name) is not None, f"{page.name}: {name}"
        for path in re.findall(
            r"`((?:agents|configs|docs|envs|examples|mtrl|scripts|tests)/[\w./-]+)`", text
        ):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
        for path, heading in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
            linked = page.parent / path if path else page
            assert linked.exists(), f"{page.name}: {path}"
            if heading and linked.is_file():
                headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
                anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
                assert heading in anchors, f"{page.name}: {path}#{heading}"


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(d for group in project["optional-dependencies"].values() for d in group),
    ]
    packages = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in declared}
    packages |= {"pil", "triton", "yaml"}  # of Pillow, of PyTorch's builds for GPUs and of PyYAML
    assert {"pillow", "torch", "pyyaml"} <= packages
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                assert name in ("agents", "envs", "mtrl") or name.lower() in packages, f"{path}: {name}"
