"""One command for all programs: `pose3d_jax COMMAND …`, or `python -m pose3d_jax COMMAND …`.

`pose3d_jax train` runs `python -m pose3d_jax.train`, and so on; `pose3d_jax COMMAND --help` lists a
command's flags.
"""

import runpy
import sys

from pose3d_jax import __version__
from pose3d_jax.errors import suggestion

#: Command → module, and what it does.
COMMANDS = {
    "predict": ("pose3d_jax.predict", "poses of photos, folders and videos"),
    "train": ("pose3d_jax.train", "train a network through the three stages"),
    "evaluate": ("pose3d_jax.evaluate", "score a network on data sets"),
    "prepare": ("tfds_builders.prepare", "prepare a data set from its official files"),
    "ablate": ("pose3d_jax.ablate", "train and compare the paper's four methods"),
    "export": ("pose3d_jax.export", "write a network as one file: StableHLO, ONNX, safetensors"),
    "train_heads": ("pose3d_jax.train_heads", "train the detector and the lifter of a network"),
    "convert": ("pose3d_jax.convert", "convert the authors' PyTorch weights"),
}


def usage() -> str:
    """The commands, one per line."""
    lines = [f"  {name:13}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["Usage: pose3d_jax COMMAND [--help] …", "", *lines, "", "  --version"])


def main() -> None:
    """The program: runs the module of a command."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("--version", "-V"):
        print(f"pose3d_jax {__version__}")
    elif command in ("--help", "-h"):
        print(usage())
    elif command in COMMANDS:
        del sys.argv[1]
        runpy.run_module(COMMANDS[command][0], run_name="__main__", alter_sys=True)
    else:
        hint = suggestion(command, COMMANDS)
        print(f"error: there is no command {command!r}.{hint}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
