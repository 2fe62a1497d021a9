"""`agents` and `envs` are names that other distributions use too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.system.check_install import check_import_packages

ROOT = Path(__file__).resolve().parents[3]


def test_silent_where_all_is_right() -> None:
    check_import_packages()


@pytest.mark.parametrize("name", ["agents", "envs"])
def test_a_foreign_package_that_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    foreign = tmp_path / "site-packages" / name
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    monkeypatch.syspath_prepend(str(foreign.parent))
    for module in [m for m in sys.modules if m == name]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ValueError, match=f"The package '{name}'") as error:
        check_import_packages()
    message = str(error.value)
    assert str(foreign) in message
    assert str(ROOT / name) in message
    assert "uninstall" in message


@pytest.mark.parametrize("name", ["agents", "envs"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_of_the_users_own(tmp_path: Path, name: str, kind: str) -> None:
    """By the command and in Python: the sentence names it and how to go on, and says nothing of uninstalling."""
    own = tmp_path / (name if kind == "folder" else f"{name}.py")
    if kind == "folder":
        own.mkdir()
    ((own / "__init__.py") if kind == "folder" else own).write_text("raise SystemExit('it was run')")
    sentence = f"but your {kind} {own} comes first: rename it, or start with {tmp_path} off Python's path"
    (tmp_path / "script.py").write_text("import mtrl\nmtrl.load_policy('run')\n")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "mtrl", "list", "networks"]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | path, cwd=ROOT.parent
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "uninstall" not in result.stderr
    path = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": ""}
    result = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | path,
    )
    assert result.returncode == 1
    assert sentence in result.stderr.splitlines()[-1]


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from mtrl.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "list", "networks"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mtrl: The package 'agents'")
