"""How a program starts, and how it ends when something is wrong."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app

from pose3d_jax import __version__
from pose3d_jax.errors import Interrupted, UserError, system_error
from pose3d_jax.presets.config_file import expand

#: Said after Ctrl-C where nothing more is to say: what was finished is there, nothing else.
INTERRUPTED = "interrupted"


def run_program(main: Callable[[list[str]], None]) -> None:
    """Runs a program; a user's mistake becomes one sentence and an exit code, not a traceback.

    Flags are parsed by absl, which reports unknown ones in the same way.
    """
    parsed = False

    def program(argv: list[str]) -> None:
        nonlocal parsed
        parsed = True
        _log_plainly()
        asyncio.set_event_loop_policy(_Policy())
        main(argv)

    try:
        app.run(program, flags_parser=_parse_flags)
    except UserError as error:
        _stop(f"error: {error}", 1)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # What ml_collections raises for a config's unknown keys and values of another type.
        if parsed:
            raise
        _stop(f"error: {config_mistake(error)}", 1)
    except Interrupted as interrupted:
        _stop(str(interrupted), interrupted.exit_code)
    except KeyboardInterrupt:
        _stop(INTERRUPTED, 128 + signal.SIGINT)
    except SyntaxError as error:
        if parsed:
            raise
        _stop(f"error: {error.filename}, line {error.lineno}, is not Python: {error.msg}", 1)
    except OSError as error:
        if error.errno is None and not parsed:
            _stop(f"error: {unloaded(error)}", 1)
        if error.errno is None:  # A library's own, which may be our mistake.
            raise
        _stop(f"error: {system_error(error)}", 1)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags as `app.run` does by default, after `--version` and short config names."""
    if "--version" in argv:
        print(f"pose3d_jax {__version__}")
        sys.exit(0)
    return app.parse_flags_with_usage(expand(argv))


def exit_code(program: Callable[[], None]) -> int:
    """Runs a program that has parsed its own command line, and shows a mistake in the same way."""
    try:
        program()
        return 0
    except UserError as error:
        message, code = f"error: {error}", 1
    except OSError as error:
        if error.errno is None:  # A library's own, which may be our mistake.
            raise
        message, code = f"error: {system_error(error)}", 1
    except KeyboardInterrupt:
        message, code = INTERRUPTED, 128 + signal.SIGINT
    # Last, now that the error is gone and with it whatever shows progress.
    print(message, file=sys.stderr)
    return code


def config_mistake(error: Exception) -> str:
    """What ml_collections says, without the exceptions and quotes that it wraps it in."""
    unknown = isinstance(error, AttributeError | KeyError)
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = ". ".join(str(error.args[0] if error.args else error).splitlines())
    if unknown:
        where = "pose3d_jax/presets/official.py has them all"
        return f"There is no such key in the config: {reason} ({where})"
    return f"The command line: {reason}"


def unloaded(error: OSError) -> str:
    """What ml_collections says when a value of a config is set or read that is not there."""
    return f"The config cannot be loaded: {str(error).splitlines()[-1].strip()}"


def _log_plainly() -> None:
    """Time and message, instead of absl's format; libraries speak up only when they must."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    for handler in logging.getLogger().handlers:
        # Orbax logs the exceptions of its threads with a traceback, and raises them as well.
        handler.addFilter(lambda record: not record.exc_info)
    logging.getLogger("pose3d_jax").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that hears no more once it is closed.

    Orbax closes its loop when one of many reads or writes fails, and tells us; TensorStore prints a
    stack trace for each of the others that ends later and finds the loop closed.
    """

    def call_soon_threadsafe(self, callback, *args, context=None):
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
