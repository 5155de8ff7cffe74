"""A static web page that runs a network in the browser: `pose3d_jax export open --web DIR`.

The directory contains the page, the network as ONNX, and ONNX Runtime Web from the npm registry. No
server code runs, and no photo leaves the browser. Any static server publishes it:
`python -m http.server --directory DIR`.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pose3d_jax import skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.images.boxes import MAX_ZOOM

#: The version of ONNX Runtime Web, and its files that the page loads.
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE_FILES = ("index.html", "page.js")
NETWORK_FILE = "pose.onnx"


def write_page(directory: str | os.PathLike, *, input_side: int) -> None:
    """Writes the page and its runtime beside the network, `NETWORK_FILE`.

    Args:
        directory: exists, and receives the files.
        input_side: of the network's input, px.

    Raises:
        UserError: npm is missing, or cannot fetch the runtime.
    """
    directory = Path(directory)
    _fetch_runtime(directory)
    for name in PAGE_FILES:
        shutil.copyfile(Path(__file__).parent / name, directory / name)
    settings = {
        "side": input_side,
        "maxZoom": MAX_ZOOM,
        "names": skeleton.JOINT_NAMES,
        "bones": skeleton.BONES.tolist(),
    }
    text = (
        f"// Written by pose3d_jax export --web.\nexport const settings = {json.dumps(settings)};\n"
    )
    (directory / "settings.js").write_text(text)


def _fetch_runtime(directory: Path) -> None:
    if all((directory / name).is_file() for name in RUNTIME_FILES):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"--web needs npm (Node.js), which fetches {RUNTIME}.")
    with tempfile.TemporaryDirectory() as scratch:
        words = [npm, "pack", RUNTIME, "--silent", "--pack-destination", scratch]
        process = subprocess.run(words, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tgz"))
        if process.returncode != 0 or not archives:
            raise UserError(f"npm cannot fetch {RUNTIME}: {process.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            for name in RUNTIME_FILES:
                with archive.extractfile(f"package/dist/{name}") as source:
                    (directory / name).write_bytes(source.read())
