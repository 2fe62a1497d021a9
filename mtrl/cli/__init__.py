"""The command line: `mtrl train`, `mtrl evaluate`, `mtrl list`, ...

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 bad input (one sentence), 128
and the number of a signal that ended it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

import mtrl
from mtrl.system.check_install import check_import_packages
from mtrl.system.signals import Interrupted
from mtrl.system.terminal import finish_output, is_read, message, one_line, print_any_text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    print_any_text()
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    finally:
        finish_output()


def _main(arguments: list[str]) -> int:
    os.environ["PYTHONSAFEPATH"] = "1"  # no process that is started imports from the working directory
    os.environ["MPLBACKEND"] = "agg"  # figures are files: what draws on the user's screen may not be here
    try:
        _check_text(arguments)
        check_import_packages()
        from mtrl.cli.commands import COMMANDS

        return _dispatch(arguments, COMMANDS)
    except (ValueError, FileNotFoundError, PermissionError, NotADirectoryError) as error:
        message(f"mtrl: {_sentence(error)}")
        return 2
    except Interrupted as interrupted:
        message(f"mtrl: {_sentence(interrupted)}")
        return interrupted.exit_code
    except KeyboardInterrupt:
        message("mtrl: interrupted.")
        return 128 + signal.SIGINT
    except (RuntimeError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            message(
                f"mtrl: The name {error.filename!r} is too long for the file system: choose a shorter one."
            )
            return 2
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            from mtrl.system.files import reason

            message(
                f"mtrl: The disk is full ({reason(error)}). What was written whole before is kept: make room and run "
                "the command again."
            )
            return 1
        if isinstance(error, BrokenPipeError) and not is_read():
            return 1
        message(f"mtrl: {_advice(error, arguments[0])}{one_line(_sentence(error))}")
        return 1


def _check_text(arguments: Sequence[str]) -> None:
    """
    Raises:
        ValueError: an argument is no text on one line, or empty: as a path it would be the working directory.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument or re.fullmatch("--[^=]*=", argument):
            option = argument.removesuffix("=") or before
            if option.startswith("--"):
                raise ValueError(f"{option} needs a value, got nothing: leave it out for its default.")
            raise ValueError("The name of a run or a file is empty: a variable of the shell may be unset.")
        is_text = argument.isascii() or argument == argument.encode(errors="replace").decode()
        if not is_text or ("\n" in argument and not argument.lstrip().startswith(("{", "["))):
            raise ValueError(
                f"Names and options must be UTF-8 text on one line, got {argument!r}: rename the file."
            )


def _dispatch(arguments: list[str], commands: dict[str, Callable[[list[str]], int]]) -> int:
    overview = {name: (run.__doc__ or "").strip().splitlines()[0] for name, run in commands.items()}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: mtrl COMMAND [options]\n\nMulti-task reinforcement learning on Meta-World.\n\nCommands:"
        )
        for name, summary in overview.items():
            print(f"  {name:<10} {summary}")
        print("\n`mtrl COMMAND --help` explains a command's options, `mtrl --version` prints the version.")
        return 0 if arguments else 2
    if arguments == ["--version"]:
        print(f"mtrl {mtrl.__version__}")
        return 0
    name, *rest = arguments
    if name not in commands:
        from envs.suggestion import unknown  # which imports environments: not for `--help`

        raise unknown("command", name, commands)
    return commands[name](rest)


#: Options of which less takes less memory.
_SIZES = {
    "train": "--buffer_size, --batch_size, --network.width or the number of --seeds",
    "evaluate": "--worlds_per_task or --episodes",
}


def _advice(error: BaseException, command: str) -> str:
    """What to do where memory is short; torch is not imported for it, which would slow `--help` down."""
    if type(error).__name__ == "OutOfMemoryError":
        place = "The GPU is out of memory"
    elif isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        place = "The machine is out of memory"
    else:
        return ""
    return f"{place}: lower {_SIZES[command]}. " if command in _SIZES else f"{place}. "


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        from mtrl.system.files import reason

        return f"{reason(error)}."
    return str(error).strip() or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
