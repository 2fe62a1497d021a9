"""Names that come from outside are printed as they are, whatever a terminal, Markdown or a figure makes of them."""

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtrl.sweep.plan import PlannedRun
from mtrl.sweep.state import Progress
from mtrl.sweep.table import LiveTable
from mtrl.system import terminal
from tests.mtrl.conftest import Result

Cli = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[3]

NAMES = [
    "q[/b]",
    "lr[bold]2",
    "[/red]",
    "[link=x]y",
    ":car: :warning:",
    "[@click=quit()]z",
    "\\[b]",
    "two  spaces",
    "100%",
    "{0} %s",
    "$\\frac$ $x",
    "_hidden",
    "__bold__ *x* `y` <b> a|b [t](u) &amp; ~~s~~",
    "日本 ±·é",
    "x" * 200,
]
STEERING = {
    "\x1b[31mred": "\\x1b[31mred",
    "two\u2028lines\u202ederorrim": "two\\u2028lines\\u202ederorrim",
    "two\nlines": "two\\nlines",
    "a\tb": "a\\tb",
    "a\rb\x07": "a\\rb\\x07",
    "\x9b2J": "\\x9b2J",
    "\udcff": "\\udcff",
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def test_text_and_tables(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = terminal.table(name, "other", title=name)
    table.add_row(name, "1")
    terminal.console().print(table)
    terminal.console().print(name, soft_wrap=True)
    assert capsys.readouterr().out.count(name) == 4


@pytest.mark.parametrize("name", STEERING)
def test_what_would_steer_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = terminal.table(name, title=name)
    table.add_row(name)
    terminal.console().print(table)
    terminal.console().print(name)
    terminal.message(name)
    captured = capsys.readouterr()
    assert captured.out.count(STEERING[name]) == 4
    assert captured.err == f"{STEERING[name]}\n"


def test_a_narrow_terminal_cuts_nothing_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "".join(map(chr, range(ord("A"), ord("z"))))
    table = terminal.table("run", "other")
    table.add_row(name, "1")
    terminal.console().print(table)
    lines = [line.strip("│┃ ").split("│")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert name in "".join(lines)


def test_evaluations(name: str, finished: Path, cli: Cli) -> None:
    run = finished.parent / name
    shutil.copytree(finished, run)
    other = shutil.copytree(run, finished.parent / "other")
    settings = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(settings | {"log_interval": 11}))
    result = cli("evaluate", run, other, "--episodes", 1)
    assert result.code == 0, result.err
    assert result.out.count(str(run)) == 2  # heading and summary


def test_sentences(name: str, finished: Path, cli: Cli) -> None:
    run = finished.parent / name
    shutil.copytree(finished, run)
    result = cli("evaluate", run, f"--checkpoint={name}")
    assert result.code == 2
    assert f"There is no checkpoint {name!r} in {run}/checkpoints" in result.err


def test_a_name_that_is_no_text(cli: Cli) -> None:
    result = cli("evaluate", "bad\udcff")
    assert (result.code, result.out) == (2, "")
    assert (
        result.err
        == "mtrl: Names and options must be UTF-8 text on one line, got 'bad\\udcff': rename the file.\n"
    )


@pytest.mark.parametrize(
    "option",
    [
        ["train", "--benchmark"],
        ["train", "--protocol"],
        ["train", "--network"],
        ["train", "--balancer"],
        ["train", "--device"],
        ["train", "--seeds"],
        ["train", "--batch_size"],
        ["train", "--compile"],
        ["train", "--agent.critic"],
        ["train", "--agent.gamma"],
        ["train", "--config"],
        ["train", "--resume"],
        ["train"],
        ["toy", "--balancer"],
        ["toy", "--preference"],
        ["benchmark"],
        ["benchmark", "learner"],
        ["benchmark", "env", "--benchmark"],
        ["export", "--format"],
        ["list"],
        [],
    ],
    ids=" ".join,
)
def test_what_an_option_was_given(option: list[str], cli: Cli) -> None:
    for name in NAMES:
        if name == "{0} %s" and option[-1:] == ["--benchmark"]:
            continue  # an invalid mapping
        result = cli(*option, name)
        assert result.code == 2, name
        assert len(result.err.splitlines()) == 1
        shown = [name, repr(name)[1:-1], name[:80]]
        if option[-1:] in (["--seeds"], ["--balancer"], ["--preference"]) and name.startswith("["):
            shown = [name.strip("[]")]  # a list's elements
        assert any(text in result.err for text in shown), (name, result.err)


@pytest.mark.parametrize("command", ["evaluate", "report", "export", "sweep", "list"])
def test_a_name_of_two_lines(command: str, cli: Cli, tmp_path: Path) -> None:
    result = cli(command, tmp_path / "two\nlines")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"mtrl: Names and options must be UTF-8 text on one line, got '{tmp_path}/two\\nlines': rename the file.\n"
    )


def test_a_report_of_a_run_whose_name_has_two_lines(finished: Path, cli: Cli) -> None:
    (finished.parent / "runs").mkdir()
    run = finished.rename(finished.parent / "runs" / "two\nlines")
    (run / "metrics.jsonl").unlink()
    result = cli("report", finished.parent / "runs")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert f"{run.parent}/two\\nlines was skipped" in result.err


def test_a_sweeps_table(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = PlannedRun(name, name, (0,), {}, "", 100)
    table = LiveTable([Progress(run, tmp_path)])
    with table:
        table.update({name: "running"})
    assert name in capsys.readouterr().err
    terminal.console().print(table._table({name: "failed"}))
    assert name in capsys.readouterr().out


def test_only_this_module_makes_consoles_and_tables() -> None:
    for path in sorted((ROOT / "mtrl").rglob("*.py")):
        made = [
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        if path.name != "terminal.py":
            assert "Console" not in made, path
            assert "markup" not in path.read_text() or path.name == "tables.py", path
