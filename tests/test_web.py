"""The web page in headless Chromium: its joints are those of `Predictor`."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from pose3d_jax import Predictor, heatmaps
from pose3d_jax.errors import UserError
from pose3d_jax.images import read_image

PHOTO = Path(__file__).parent.parent / "docs" / "photos" / "balancing.jpg"
BOX = (170, 205, 330, 490)
#: Without the last flags Chromium connects to the outside.
CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--dump-dom",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the page of the bundled network, and its directory."""
    pytest.importorskip("jax2onnx")
    if not (shutil.which("npm") and shutil.which("chromium")):
        pytest.skip("needs npm and chromium")
    from pose3d_jax.export import write_site

    directory = tmp_path_factory.mktemp("site")
    write_site("open", directory)
    shutil.copyfile(PHOTO, directory / "photo.jpg")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def result(address: str, profile: Path) -> dict:
    """What the page computes, read from its document."""
    words = ["chromium", *CHROMIUM, f"--user-data-dir={profile}", address]
    for _ in range(4):  # Virtual time may run out first on a busy machine.
        page = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout
        if found := re.search(r'id="result"[^>]*>([^<]+)<', page):
            return json.loads(html.unescape(found[1]))
    pytest.skip("the browser ended before the network on this busy machine")


@pytest.mark.parametrize("box", [BOX, None])
def test_the_page_predicts_what_the_predictor_predicts(site, tmp_path, box):
    query = "?photo=photo.jpg" + (f"&box={','.join(map(str, box))}" if box else "")
    found = result(site + query, tmp_path)
    boxes = None if box is None else [box]
    predictor = Predictor.from_pretrained("open", compute="float32")
    expected = predictor(read_image(PHOTO), boxes)
    # The page rounds the crop to uint8. That moves a joint of which the heat-map is unsure; of the
    # others, one whose neighbouring cells tie may move by a cell.
    errors = np.linalg.norm(found["joints2d"] - expected.joints_2d[0], axis=1)
    errors = errors[expected.confidence[0] >= 0.5]
    assert len(errors) >= 5 and np.mean(errors < 1.0) >= 0.8, errors
    assert errors.max() < 1.5 * heatmaps.STRIDE * found["square"]["side"] / predictor.input_side


def test_a_missing_npm_is_reported(tmp_path, monkeypatch):
    from pose3d_jax import web

    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="--web needs npm"):
        web.write_page(tmp_path, input_side=128)
