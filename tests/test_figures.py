import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from PIL import Image

from pose3d_jax import metrics
from pose3d_jax.drawing.axes import MAX_ROWS, figure_3d, plot_beside_truth
from pose3d_jax.drawing.skeletons import draw_joints, draw_people, joint_colour
from pose3d_jax.evaluation import charts, pictures
from pose3d_jax.evaluation.poses import Poses, Setting, to_labels
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.skeleton import BONE_LENGTHS, BONES, HEAD_TOP, JOINT_NAMES, ROOT

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning"),
]

SIDE = 64
COUNT = 5
ERRORS = np.array([70.0, np.nan, 20.0, 45.0, 300.0])
RATIO_PANELS = ("leg", "arm", "hip", "shoulder")


@pytest.fixture(scope="module")
def split():
    """Records, predictions and labels; image i is of one grey, 40 i, and called "image-i"."""
    rng = np.random.default_rng(0)
    records = [
        {
            "image": encode_image(np.full((90, 100, 3), 40 * i, np.uint8)),
            "image_id": f"image-{i}".encode(),
            "box": np.array([40.0 + i, 50.0, 80.0 - 3 * i], np.float32),
            "joints_2d": rng.uniform(10, 80, (16, 2)).astype(np.float32),
            "joints_valid": np.arange(16) != 9 + i,
            "joints_3d": rng.normal([0, 0, 4000], 300, (16, 3)).astype(np.float32),
            "has_3d": i != 4,
            "head_size": np.float32(10),
        }
        for i in range(COUNT)
    ]
    names = ("joints_2d", "box", "joints_valid", "joints_3d", "has_3d", "head_size")
    labels = to_labels({k: np.stack([r[k] for r in records]) for k in names}, SIDE)
    poses = Poses(
        rng.uniform(0, SIDE, (COUNT, 16, 2)),
        rng.normal(size=(COUNT, 16)),
        rng.normal(0, 300, (COUNT, 16, 3)),
    )
    return records, poses, labels


@pytest.fixture(scope="module")
def examples(split):
    return pictures.plot_examples(*split, ERRORS, Setting(SIDE, 4000.0, "any"), "mm")


@pytest.fixture(scope="module")
def rows(examples):
    return np.array(examples.axes).reshape(3, 5)


def segments(axes):
    """The ends of all lines drawn, as a set that does not depend on the order."""
    return {tuple(map(tuple, np.round(line.get_xydata(), 3))) for line in axes.lines}


def bones_of(points, valid=None):
    valid = np.ones(16, bool) if valid is None else valid
    points = points.astype(np.float64)
    return {
        tuple(map(tuple, np.round(points[[a, b]], 3))) for a, b in BONES if valid[a] and valid[b]
    }


def test_rows_are_the_best_median_and_worst_image(rows):
    titles = [row[0].get_title(loc="left").strip() for row in rows]
    assert titles == ["best: 20 mm", "median: 45 mm", "worst: 300 mm"]
    for row, index in zip(rows, (2, 3, 4)):
        assert row[0].texts[0].get_text() == f"image-{index}"
        assert abs(row[0].images[0].get_array().mean() - 40 * index) < 2


def test_the_crop_is_what_the_network_sees(split, rows):
    records, poses, labels = split
    for (crop, *_), index in zip(rows, (2, 3, 4)):
        assert crop.get_xlim() == (0, SIDE) and crop.get_ylim() == (SIDE, 0)
        left, right, bottom, top = crop.images[0].get_extent()
        shown = records[index]["joints_2d"] / (100, 90) * (right - left, bottom - top) + (left, top)
        np.testing.assert_allclose(shown, labels.joints[index], atol=1e-3)
        true = bones_of(labels.joints[index], labels.valid[index])
        assert segments(crop) == true | bones_of(poses.joints[index])
        white = [line for line in crop.lines if same_color(line.get_color(), "white")]
        assert len(white) == len(true) and crop.lines[: len(white)] == white  # Beneath.


def test_views_show_prediction_and_truth_upright_and_alike(split, rows):
    _, poses, labels = split
    for row, index in zip(rows, (2, 3)):
        truth = labels.joints_3d[index] - labels.joints_3d[index, ROOT]
        for column, across in ((1, 0), (3, 2)):
            predicted, true = row[column : column + 2]
            ours = poses.millimetres[index][:, [across, 1]] * (1, -1)
            assert segments(predicted) == bones_of(ours)
            theirs = truth[:, [across, 1]] * (1, -1)
            assert segments(true) == bones_of(theirs, labels.valid[index])
            assert predicted.get_xlim() == true.get_xlim()
            assert predicted.get_ylim() == true.get_ylim()
            assert np.ptp(predicted.get_xlim()) == pytest.approx(np.ptp(predicted.get_ylim()))
            places = np.concatenate([line.get_xydata() for a in row[1:3] for line in a.lines])
            low, high = row[1].get_ylim()
            assert low < places[:, 1].min() and places[:, 1].max() < high
    for panel in rows[2, [2, 4]]:
        assert not panel.lines and panel.texts[0].get_text() == "not known"
    assert rows[2, 1].lines and rows[2, 3].lines


def test_nearer_bones_cover_the_others():
    pose = np.zeros((16, 3))
    pose[[0, 1, 2], 2] = -100.0  # The right leg is nearer to the camera,
    pose[[3, 4, 5], 0] = 100.0  # and the left one further right.
    row = Figure().subplots(1, 4)
    plot_beside_truth(row, pose, pose, np.ones(16, bool))
    right, left = (tuple(np.divide(joint_colour(joint), 255)) for joint in (0, 5))
    assert [tuple(line.get_color()) for line in row[0].lines[-2:]] == [right, right]
    assert [tuple(line.get_color()) for line in row[2].lines[-2:]] == [left, left]


def test_examples_without_depth_are_crops_alone(split):
    errors = np.array([np.nan, 70.0, 0.2, np.nan, np.nan])
    setting = Setting(SIDE, 4000.0, "any", with_depth=False)
    figure = pictures.plot_examples(*split, errors, setting, "head sizes")
    titles = [axes.get_title(loc="left").strip() for axes in figure.axes]
    assert titles == ["best: 0.2 head sizes", "median: 0.2 head sizes", "worst: 70 head sizes"]


def random_errors(seed, count=40, missing=0.2):
    rng = np.random.default_rng(seed)
    errors = rng.gamma(2.0, 60.0, (count, 16))
    errors[rng.random(errors.shape) < missing] = np.nan
    return errors


def test_joint_errors_are_means_of_what_counts():
    errors = {"ours": random_errors(0), "theirs": random_errors(1)}
    errors["theirs"][:, HEAD_TOP] = np.nan
    (axes,) = charts.plot_joint_errors(errors, "title").axes
    names = [label.get_text().replace("\n", "_") for label in axes.get_xticklabels()]
    assert set(names) == set(JOINT_NAMES) - {JOINT_NAMES[ROOT]}
    for container, (name, values) in zip(axes.containers, errors.items(), strict=True):
        assert container.get_label() == name
        for bar, joint in zip(container, names, strict=True):
            own = [v for v in values[:, JOINT_NAMES.index(joint)] if v == v]
            expected = sum(own) / len(own) if own else np.nan
            np.testing.assert_allclose(bar.get_height(), expected)
            place = bar.get_x() + bar.get_width() / 2
            assert abs(place - names.index(joint)) < 0.5
    for name in names:
        if name.startswith("left"):
            mirrored = name.replace("left", "right")
            assert abs(names.index(name) - names.index(mirrored)) == 1


@given(st.integers(0, 1000), st.floats(0, 1))
def test_shares_are_counted(seed, missing):
    errors = random_errors(seed, 6, missing).round(-1)
    thresholds = np.arange(0.0, 400.0, 10.0)
    known = [v for v in errors.ravel() if v == v]
    expected = [100 * sum(v <= t for v in known) / len(known) if known else np.nan
                for t in thresholds]  # fmt: skip
    np.testing.assert_allclose(charts.share_within(errors, thresholds), expected)


def test_pck_curves_say_what_the_metric_says():
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 300, (30, 16, 3)).astype(np.float32)
    poses = truth + rng.normal(0, 90, truth.shape).astype(np.float32)
    valid = rng.random((30, 16)) < 0.7
    errors = np.where(valid, np.asarray(metrics.joint_errors(poses, truth)), np.nan)
    figure = charts.plot_pck(
        {"ours": errors, "nothing": np.full((30, 16), np.nan)},
        limit=300, unit="mm", mark=150, title="title",
    )  # fmt: skip
    (axes,) = figure.axes
    ours = next(line for line in axes.lines if line.get_label().startswith("ours"))
    x, y = ours.get_data()
    assert x[0] == 0 and x[-1] == 300
    np.testing.assert_allclose(y, charts.share_within(errors, x))
    expected = float(metrics.pck_3d(poses, truth, 150.0, valid))
    assert ours.get_label() == f"ours: {expected:.1f} %"
    assert axes.get_legend().get_title().get_text() == "within 150 mm"


def posed(seed, count=20, noise=0.0):
    """People with canonical bones in random directions; with noise, of uneven lengths."""
    rng = np.random.default_rng(seed)
    pose = np.zeros((count, 16, 3))
    size = rng.uniform(0.5, 2.0, (count, 1))
    known = {ROOT}
    while len(known) < 15:  # The thorax is on no bone.
        for (a, b), length in zip(BONES, BONE_LENGTHS):
            if (a in known) != (b in known):
                start, end = (a, b) if a in known else (b, a)
                direction = rng.normal(size=(count, 3))
                direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
                uneven = np.exp(rng.normal(0, noise, (count, 1)))
                pose[:, end] = pose[:, start] + direction * length * size * uneven
                known.add(end)
    return pose


@pytest.mark.parametrize("group", RATIO_PANELS)
def test_ratios_of_canonical_bones_agree(group):
    pose = posed(0)
    np.testing.assert_allclose(charts.bone_ratios(pose, group), 1.0)
    pose[3] = 0.0
    pose[4] = np.nan
    assert len(charts.bone_ratios(pose, group)) == 18
    uneven = charts.bone_ratios(posed(1, noise=0.3), group)
    np.testing.assert_allclose(uneven.mean(-1), 1.0)
    assert uneven.std() > 0.05


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_bones_show_deviations_beside_sums():
    poses = {"truth": posed(0), "without": posed(1, noise=0.4), "with": posed(2, noise=0.1)}
    poses["with"][5] = np.nan
    rng = np.random.default_rng(0)
    sums = {"without": rng.uniform(0.8, 1.2, 20), "with": rng.uniform(1.3, 1.5, 20)}
    sums["with"][:3] = np.nan
    figure = charts.plot_bone_lengths(poses, sums, "title")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    for group in RATIO_PANELS:
        ratios = [charts.bone_ratios(pose, group) for pose in poses.values()]
        assert legend_texts(panels[group]) == [f"{np.std(r):.3f}" for r in ratios]
        for patch, own in zip(panels[group].patches, ratios, strict=True):
            density, edges, _ = patch.get_data()
            shown = np.mean((own >= edges[0]) & (own <= edges[-1]))
            np.testing.assert_allclose(np.sum(density * np.diff(edges)), shown)
    medians = [f"{np.median(r[~np.isnan(r)]):.2f}" for r in sums.values()]
    assert legend_texts(panels["all bones"]) == medians
    assert legend_texts(panels[""]) == list(poses)


def test_an_entry_keeps_its_colour():
    poses = {"truth": posed(0), "ours": posed(1), "theirs": posed(2)}
    sums = {"ours": np.ones(20), "theirs": np.ones(20)}
    errors = {"ours": random_errors(0), "theirs": random_errors(1)}
    bars = charts.plot_joint_errors(errors, "").axes[0].containers
    expected = [to_hex(container[0].get_facecolor()) for container in bars]
    bones = charts.plot_bone_lengths(poses, sums, "").axes
    for panel, first in ((bones[0], 1), (bones[4], 0)):
        assert [to_hex(patch.get_edgecolor()) for patch in panel.patches[first:]] == expected
    curves = charts.plot_pck(errors, limit=1, unit="mm", mark=1, title="").axes[0].lines[1:]
    assert [to_hex(line.get_color()) for line in curves] == expected


def test_many_entries_can_be_told_apart():
    errors = {str(i): random_errors(i) for i in range(20)}
    curves = charts.plot_pck(errors, limit=1, unit="mm", mark=1, title="").axes[0].lines[1:]
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == 20


def test_a_sweep_has_a_panel_for_every_column(tmp_path):
    table = {
        weight: {"symmetry": (40 - weight, 1.0), "MPJPE": (200 + weight, 2.0),
                 "bone sum": (1 + weight, 0.1)}
        for weight in (0.1, 0.0, 0.01)
    }  # fmt: skip
    figure = charts.plot_sweep(table, ["symmetry", "MPJPE", "bone sum"], "title")
    labels = [axes.get_ylabel() for axes in figure.axes if axes.axison]
    assert labels == ["symmetry (mm)", "MPJPE (mm)", "bone sum (truth = 1)"]
    for axes, column in zip(figure.axes, ("symmetry", "MPJPE", "bone sum")):
        line, _, (bars,) = axes.containers[0].lines
        weights, means = line.get_data()
        assert list(weights) == [0.0, 0.01, 0.1]
        assert list(means) == [table[weight][column][0] for weight in weights]
        for bar, weight in zip(bars.get_segments(), weights, strict=True):
            mean, deviation = table[weight][column]
            np.testing.assert_allclose(bar[:, 1], [mean - deviation, mean + deviation])
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.01", "0.1"]
        places = axes.transData.transform([(weight, 1.0) for weight in weights])[:, 0]
        assert (np.diff(places) > 0.2 * np.ptp(places)).all()
    charts.save(figure, tmp_path / "sweep.png")


def test_a_saved_picture_is_whole_or_the_old_one(tmp_path, examples):
    path = tmp_path / "examples.png"
    charts.save(examples, path)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width > 1000

    class Broken(Figure):
        def savefig(self, file, **_):
            file.write(b"half")
            raise OSError("no space left")

    old = path.read_bytes()
    with pytest.raises(OSError, match="no space"):
        charts.save(Broken(), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def crowd(count):
    rng = np.random.default_rng(0)
    joints = rng.uniform(60, 90, (count, 16, 2)).astype(np.float32)  # All at one place.
    return np.zeros((120, 160, 3), np.uint8), joints, rng.normal(0, 300, (count, 16, 3))


@pytest.mark.parametrize("count", [0, 1, 2, 6, 13])
def test_people_in_3d_have_the_numbers_of_the_image(count):
    figure = figure_3d(*crowd(count), np.linspace(0.1, 1, count))
    figure.canvas.draw()
    picture, *views = figure.axes
    assert len(views) == 2 * count
    titles = [axes.get_title() for axes in views]
    prefixes = [f"{person + 1}: " for person in range(count)] if count > 1 else [""] * count
    assert titles == [
        prefix + view for prefix in prefixes for view in ("from the camera", "from the side")
    ]
    assert sorted(int(text.get_text()) for text in picture.texts) == (
        list(range(1, count + 1)) if count > 1 else []
    )
    boxes = [text.get_window_extent() for text in picture.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert figure.get_size_inches()[1] <= 4 * MAX_ROWS


def test_people_of_low_confidence_are_dimmed():
    image, joints, joints_3d = crowd(2)
    joints[1] += 40
    plain = draw_people(image, joints)
    np.testing.assert_array_equal(plain, draw_people(image, joints, np.array([0.9, 0.6])))
    dimmed = draw_people(image, joints, np.array([0.9, 0.2]))
    np.testing.assert_array_equal(dimmed[:90, :90], plain[:90, :90])
    alone = draw_joints(image, joints[1])
    far = np.s_[95:, 95:]
    assert 0 < dimmed[far].sum() < 0.4 * alone[far].sum()
    figure = figure_3d(image, joints, joints_3d, np.array([0.9, 0.2]))
    alphas = [axes.lines[0].get_alpha() for axes in figure.axes[1:]]
    assert alphas[:2] == [1, 1] and max(alphas[2:]) < 0.5
