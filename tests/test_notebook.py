"""The notebook, executed from top to bottom, and its outputs."""

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import small_checkpoint
from PIL import Image

from pose3d_jax import skeleton
from pose3d_jax.checkpoints import loading
from pose3d_jax.images import read_image
from pose3d_jax.prediction import viewer
from pose3d_jax.prediction.predictor import Predictor

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "inference.ipynb"
PHOTO = Path(__file__).parent.parent / "docs" / "photos" / "balancing.jpg"


class Executed(NamedTuple):
    """The executed notebook and its inputs."""

    cells: list
    checkpoint: str
    photo: Path


@pytest.fixture(scope="module", params=["a stage", *["unchanged"][: len(loading.bundled_names())]])
def executed(request, tmp_path_factory):
    """The notebook, executed with a stage's directory and a photo, or unchanged."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    photo = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(small_checkpoint.photo(50, 80)).save(photo)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert parameters.source.count('"open"') == parameters.source.count('""') == 1
    checkpoint = loading.DEFAULT
    if request.param == "a stage":
        checkpoint = str(small_checkpoint.directory())
        parameters.source = f"checkpoint = {checkpoint!r}\nphoto = {str(photo)!r}"
    else:
        photo = PHOTO
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    return Executed(client.execute().cells, checkpoint, photo)


def outputs(executed: Executed, words: str) -> list[dict]:
    (cell,) = [c for c in executed.cells if c.cell_type == "code" and words in c.source]
    return cell.outputs


def test_it_lists_the_joints(executed):
    (output,) = outputs(executed, "predictor(image, boxes=")
    lines = output["text"].splitlines()
    assert [line.split()[0] for line in lines] == list(skeleton.JOINT_NAMES)
    assert lines[skeleton.ROOT].split()[4:7] == ["0", "0", "0"]


def test_it_shows_the_joints_on_the_image(executed):
    (output,) = outputs(executed, "draw_people")
    assert "image/png" in output["data"]


@pytest.mark.parametrize("words", ["viewer.view(image, pose)", "viewer.view(own"])
def test_it_shows_a_skeleton_that_turns(executed, words):
    (output,) = outputs(executed, words)
    figure = output["data"]["application/vnd.plotly.v1+json"]
    kinds = [trace["type"] for trace in figure["data"]]
    assert kinds.count("image") == 1 and kinds.count("scatter3d") in range(6, 200, 6)


def decoded(array: dict) -> np.ndarray:
    """An array as Plotly writes it into a notebook."""
    flat = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
    return flat.reshape([int(n) for n in array.get("shape", "-1").split(",")])


def test_it_shows_what_the_predictor_predicts(executed):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    (output,) = outputs(executed, "viewer.view(own")
    figure = graph_objects.Figure(output["data"]["application/vnd.plotly.v1+json"])
    predictor = Predictor.from_checkpoint(executed.checkpoint)
    image = read_image(executed.photo)
    expected = predictor(image, "auto")
    expected = expected if len(expected) else predictor(image)
    seen = set()
    for side in ("right", "left", "middle"):
        people = zip(dots(figure, "scatter", side), dots(figure, "scatter3d", side), strict=True)
        for person, (flat, deep) in enumerate(people):
            names = [text.partition(",")[0].replace(" ", "_") for text in flat.text]
            joints = [skeleton.JOINT_NAMES.index(name) for name in names]
            shown = np.stack([decoded(flat.x), decoded(flat.y)], axis=-1)
            np.testing.assert_allclose(shown, expected.joints_2d[person, joints], atol=1e-3)
            millimetres = decoded(deep.customdata)
            np.testing.assert_allclose(millimetres, expected.joints_3d[person, joints], atol=1e-2)
            seen |= set(joints)
    assert seen == set(range(16)) - {skeleton.THORAX}  # On no bone.


def test_it_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(c.get("outputs") or c.get("execution_count") for c in cells)


def test_without_a_package_it_asks_for_the_repository(monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (cell,) = [c for c in cells if "git clone" in c.source and c.cell_type == "code"]
    plain = re.sub(r"^( +)[!%].*$", r"\1pass", cell.source, flags=re.MULTILINE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="repository's address"):
        exec(plain, {"repository": ""})


def dots(figure, kind: str, side: str) -> list:
    return list(figure.select_traces({"type": kind, "mode": "markers", "legendgroup": side}))


def test_the_view_is_upright_and_not_mirrored():
    """Up in the world is up in the view, the image's right is right, and away is behind."""
    pytest.importorskip("plotly")
    joints = np.zeros((1, 16, 3))
    joints[0, skeleton.HEAD_TOP] = (30, -700, 50)
    figure = viewer.view(
        small_checkpoint.photo(20, 20), small_checkpoint.pose_of(joints[..., :2], joints)
    )
    (middle,) = dots(figure, "scatter3d", "middle")
    place = middle.text.index("head top")
    assert (middle.x[place], middle.y[place], middle.z[place]) == (30, 50, 700)
    assert middle.customdata[place].tolist() == [30, -700, 50]
    eye = figure.layout.scene.camera.eye
    assert eye.y < -1 and figure.layout.scene.camera.up.z == 1


def test_the_view_shows_joints_where_they_are_on_the_image():
    """Also on a large image, which is reduced; pixel i covers [i, i + 1)."""
    pytest.importorskip("plotly")
    joints = np.random.default_rng(0).uniform(0, 1000, (2, 16, 2))
    large = np.zeros((1500, 3000, 3), np.uint8)
    figure = viewer.view(large, small_checkpoint.pose_of(joints))
    (picture,) = [trace for trace in figure.data if trace.type == "image"]
    encoded = picture.source.removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as reduced:
        columns, rows = reduced.size
    assert max(columns, rows) == viewer.MAX_SIDE
    # The first pixel begins at 0, and the last ends with the image.
    np.testing.assert_allclose([picture.x0, picture.y0], [picture.dx / 2, picture.dy / 2])
    np.testing.assert_allclose([columns * picture.dx, rows * picture.dy], [3000, 1500])
    assert tuple(figure.layout.yaxis.range) == (1500, 0)
    for person, trace in enumerate(dots(figure, "scatter", "left")):
        names = [f"{name.replace('_', ' ')}, person {person + 1}" for name in skeleton.JOINT_NAMES]
        indices = [names.index(text) for text in trace.text]
        np.testing.assert_allclose(np.array([trace.x, trace.y]).T, joints[person, indices])


def test_a_picture_without_people_is_shown():
    pytest.importorskip("plotly")
    empty = small_checkpoint.pose_of(np.zeros((0, 16, 2)))
    assert len(viewer.view(small_checkpoint.photo(20, 20), empty).data) == 1


def test_people_are_numbered_and_dimmed():
    pytest.importorskip("plotly")
    joints = np.random.default_rng(0).uniform(0, 20, (2, 16, 2))
    confidence = np.float32([1.0, 0.1])[:, None].repeat(16, axis=1)
    pose = small_checkpoint.pose_of(joints, confidence=confidence)
    figure = viewer.view(small_checkpoint.photo(20, 20), pose)
    numbers = [(note.text, note.x, note.y) for note in figure.layout.annotations]
    heads = pose.joints_2d[:, skeleton.HEAD_TOP].tolist()
    assert numbers == [(str(person + 1), *heads[person]) for person in range(2)]
    for kind in ("scatter", "scatter3d"):
        first, second = (trace.opacity for trace in dots(figure, kind, "left"))
        assert first == 1 and second < 0.5
