"""The web page in headless Chromium: its joints are those of `Predictor`."""

import http.server
import json
import queue
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
BOX = (39, 205, 520, 520)
#: Without the last flags Chromium connects to the outside.
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: Shows the page of its query, and sends the page's result to the server.
REPORTER = """<iframe></iframe><script>
const frame = document.querySelector("iframe");
frame.src = "index.html" + location.search;
const timer = setInterval(() => {
  const result = frame.contentDocument.getElementById("result");
  if (!result || !result.textContent) return;
  clearInterval(timer);
  fetch("result", { method: "POST", body: result.textContent });
}, 100);
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of the page of the bundled network, and the results that browsers send there."""
    pytest.importorskip("jax2onnx")
    if not (shutil.which("npm") and shutil.which("chromium")):
        pytest.skip("needs npm and chromium")
    from pose3d_jax.export import write_site

    directory = tmp_path_factory.mktemp("site")
    write_site("open", directory)
    shutil.copyfile(PHOTO, directory / "photo.jpg")
    (directory / "reporter.html").write_text(REPORTER)
    results = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=directory)

        def do_POST(self):
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/reporter.html", results
        server.shutdown()


@pytest.mark.parametrize("box", [BOX, None])
def test_the_page_predicts_what_the_predictor_predicts(site, tmp_path, box):
    address, results = site
    address += "?photo=photo.jpg" + (f"&box={','.join(map(str, box))}" if box else "")
    with subprocess.Popen([*CHROMIUM, f"--user-data-dir={tmp_path}", address]) as browser:
        try:
            found = results.get(timeout=1800)
        finally:
            browser.terminate()
    boxes = None if box is None else [box]
    predictor = Predictor.from_pretrained("open", compute="float32", flip=False, scales=(1,))
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
