"""The notebook, executed as a reader would, and what it shows."""

from pathlib import Path

import numpy as np
import pytest
import small_checkpoint
from PIL import Image

from pose3d_jax import skeleton, viewer
from pose3d_jax.inference import Pose

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "inference.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after a run with a small checkpoint and a photo."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    photo = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(small_checkpoint.photo(50, 80)).save(photo)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert parameters.source.count('""') == 2
    checkpoint = str(small_checkpoint.directory())
    parameters.source = f"checkpoint = {checkpoint!r}\nphoto = {str(photo)!r}"
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    return client.execute()


def outputs(notebook, words: str) -> list[dict]:
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and words in c.source]
    return cell.outputs


def test_it_lists_the_joints(executed):
    (output,) = outputs(executed, "predictor(image, boxes")
    lines = output["text"].splitlines()
    assert [line.split()[0] for line in lines] == list(skeleton.JOINT_NAMES)
    assert lines[skeleton.ROOT].split()[4:7] == ["0", "0", "0"]


def test_it_shows_the_joints_on_the_image(executed):
    (output,) = outputs(executed, "draw_joints")
    assert "image/png" in output["data"]


@pytest.mark.parametrize("words", ["viewer.view(image, pose)", "viewer.view(own"])
def test_it_shows_a_skeleton_that_turns(executed, words):
    (output,) = outputs(executed, words)
    figure = output["data"]["application/vnd.plotly.v1+json"]
    kinds = [trace["type"] for trace in figure["data"]]
    assert kinds.count("image") == 1 and kinds.count("scatter3d") == 6


def test_it_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(c.get("outputs") or c.get("execution_count") for c in cells)


def test_the_view_is_upright_and_not_mirrored():
    """Up in the world is up in the view, the image's right is right, and away is behind."""
    pytest.importorskip("plotly")
    joints = np.zeros((1, 16, 3), np.float32)
    joints[0, skeleton.HEAD_TOP] = (30, -700, 50)
    pose = Pose(joints[..., :2], joints, joints[..., 0], np.zeros((1, 3)), np.zeros(1, int))
    figure = viewer.view(small_checkpoint.photo(20, 20), pose)
    (middle,) = [trace for trace in figure.data if trace.name == "middle"]
    place = middle.text.index("head top")
    assert (middle.x[place], middle.y[place], middle.z[place]) == (30, 50, 700)
    eye = figure.layout.scene.camera.eye
    assert eye.y < -1 and figure.layout.scene.camera.up.z == 1
