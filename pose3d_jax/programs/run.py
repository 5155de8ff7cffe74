"""How a program starts, and how it ends when something is wrong."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app

from pose3d_jax import __version__
from pose3d_jax.errors import Interrupted, UserError, system_error
from pose3d_jax.files import local_path
from pose3d_jax.presets.config_file import expand
from pose3d_jax.untrusted import reason


def run_program(main: Callable[[list[str]], None]) -> None:
    """Runs a program; a user's mistake becomes one sentence and an exit code, not a traceback.

    absl parses the flags, and reports unknown ones with a suggestion.
    """

    def program(argv: list[str]) -> None:
        _log_plainly()
        main(argv)

    sys.exit(exit_code(functools.partial(app.run, program, flags_parser=_parse_flags)))


def exit_code(program: Callable[[], None]) -> int:
    """Runs a program and returns its exit code; an expected end becomes one sentence."""
    try:
        program()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            raise
    # Outside `except`: the error is gone, and with it the progress bar of an unfinished loop.
    message, code = failure
    print(message, file=sys.stderr)
    return code


def _failure(error: BaseException) -> tuple[str, int] | None:
    """Message and exit code of an expected end; None for a programming error."""
    match error:
        case UserError():
            return f"error: {error}", 1
        case Interrupted():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            return "interrupted", 128 + signal.SIGINT
        case OSError() if error.errno is not None:  # Libraries raise others without a number.
            return f"error: {system_error(error)}", 1
    return None


def config_mistake(error: Exception) -> str:
    """The reason that ml_collections gives for an unknown key or a value of another type."""
    unknown = isinstance(error, AttributeError | KeyError)
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = ". ".join(str(error.args[0] if error.args else error).splitlines())
    if unknown:
        where = "pose3d_jax/presets/official.py lists all keys"
        return f"There is no such key in the config: {reason} ({where})"
    return f"The command line: {reason}"


def describe_unloaded_config(error: OSError) -> str:
    """The reason why ml_collections could not load a config file."""
    return f"The config cannot be loaded: {str(error).splitlines()[-1].strip()}"


def expand_path(path: str, flag: str) -> str:
    """A path, or the name of a network, with ~ expanded.

    Raises:
        UserError: the path is remote, or there is no home directory.
    """
    local_path(path, flag)
    return os.path.expanduser(path)


def configure_jax(compilation_cache: str) -> None:
    """Sets JAX's semantics and the directory of compiled programs; empty for none.

    It starts JAX's devices: several hosts join before.

    This package and the libraries below it are written for JAX's standard promotion and transfers:
    variables such as `JAX_NUMPY_DTYPE_PROMOTION=strict` do not apply to its programs.

    Raises:
        UserError: the cache is remote, or JAX has no device.
    """
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # Of a platform that is not there.
        platforms = os.environ.get("JAX_PLATFORMS", "not set")
        raise UserError(
            f"JAX finds no device (JAX_PLATFORMS is {platforms}): {reason(error)}. "
            "JAX_PLATFORMS=cpu computes on the CPU."
        ) from error

    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_transfer_guard", "allow")
    expanded = os.path.expanduser(compilation_cache)
    if expanded.startswith("~"):
        logging.getLogger(__name__).info("no compilation cache: HOME is not set")
    elif expanded:
        jax.config.update(
            "jax_compilation_cache_dir", str(local_path(expanded, "compilation_cache"))
        )
        # By default, programs that compile in less than a second are not kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags as `app.run` does by default, after `--version` and short config names.

    Raises:
        UserError: a config file or a value in the command line is wrong.
    """
    if "--version" in argv:
        print(f"pose3d_jax {__version__}")
        sys.exit(0)
    try:
        return app.parse_flags_with_usage(expand(argv))
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise UserError(f"{where}, is not Python: {error.msg}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(describe_unloaded_config(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(config_mistake(error)) from error


def _log_plainly() -> None:
    """Logs time and message; libraries log warnings only."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    for handler in logging.getLogger().handlers:
        # Orbax logs the exceptions of its threads with a traceback, and raises them as well.
        handler.addFilter(lambda record: not record.exc_info)
    logging.getLogger("pose3d_jax").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)
