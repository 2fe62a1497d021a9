"""Where nothing is rendered no OpenGL is loaded, whatever MUJOCO_GL says; who renders loads what it says."""

import os
import subprocess
import sys

import pytest

LOADED = """
with open("/proc/self/maps") as maps:
    names = {line.rstrip().rpartition("/")[2] for line in maps if "/" in line}
print(*(name for name in names if name.startswith(("libEGL", "libGL", "libOpenGL", "libOSMesa", "libglfw"))))
"""
BATCHED = "import envs.compiled.engine, mtrl.benchmarks.bare"


def run(code: str, library: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY")}
    if library is not None:
        environment["MUJOCO_GL"] = library
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo has these libraries on Linux only")
@pytest.mark.parametrize("library", [None, "", "egl", "osmesa", "glfw", "disable", "crayons"])
def test_the_engine_loads_no_opengl(library: str | None) -> None:
    done = run(BATCHED + LOADED, library)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo has these libraries on Linux only")
@pytest.mark.parametrize("library", ["egl", "osmesa", "crayons"])
def test_meta_world_loads_no_opengl(library: str) -> None:
    """GLFW, which Gymnasium imports beside it, makes windows and is no OpenGL."""
    done = run("import envs.reference" + LOADED, library)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"libglfw.so"}


@pytest.mark.parametrize("library", [None, "", "osmesa", "crayons"])
def test_the_environment_is_as_it_was(library: str | None) -> None:
    done = run("import os, envs.headless; print(repr(os.environ.get('MUJOCO_GL')))", library)
    assert done.stdout == f"{library!r}\n"


@pytest.mark.parametrize("renderer", ["mujoco.GLContext", "mujoco.gl_context.GLContext"])
def test_a_script_can_render_after_all(renderer: str) -> None:
    """GLFW's context needs no display before it is made."""
    done = run(f"import envs.headless, mujoco; print({renderer}.__module__)" + LOADED, "glfw")
    assert done.stdout.split() == ["mujoco.glfw", "libglfw.so"], done.stderr


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("crayons", "RuntimeError: invalid value for environment variable MUJOCO_GL: crayons"),
        ("disable", "AttributeError: MuJoCo has no 'GLContext' (MUJOCO_GL is 'disable')"),
    ],
)
def test_a_script_that_cannot_render_hears_why(library: str, reason: str) -> None:
    code = (
        "import envs.headless, mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 16, 16)"
    )
    done = run(code, library)
    assert reason in done.stderr


def test_what_mujoco_does_not_have_it_does_not_have() -> None:
    done = run("import envs.headless, mujoco; mujoco.mj_fly", None)
    assert "AttributeError: MuJoCo has no 'mj_fly'" in done.stderr
