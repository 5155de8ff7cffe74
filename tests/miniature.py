"""Miniature releases of the real data sets, in their official formats, for tests.

Everything is drawn so that a record can be checked against its picture: each joint is a disc of
its own colour, and every video frame carries its index as a row of black and white squares.
"""

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pose3d_jax import skeleton
from pose3d_jax.images.jpeg import decode_image
from tfds_builders import base

#: One colour per joint, each far from the others and from the grey background.
COLORS = np.array([
    (r, g, b)
    for r in (0, 128, 255) for g in (0, 255) for b in (0, 128, 255)
    if (r, g, b) != (128, 128, 128)
][:16])  # fmt: skip
BACKGROUND = (90, 90, 90)
#: LSP's order: right leg upwards, left leg downwards, right arm inwards, left arm outwards, neck,
#: head top; by our joints' names.
LSP_JOINTS = [skeleton.JOINT_NAMES.index(name) for name in (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "upper_neck", "head_top",
)]  # fmt: skip
# Truth of its own, from the releases' documentation: the builders' tables are what is tested.
#: fx, fy, cx, cy of Human3.6M's cameras, px.
CAMERAS = {
    "54138969": (1145.0494, 1143.7811, 512.5415, 515.4515),
    "55011271": (1149.6757, 1147.5917, 508.8486, 508.0649),
    "58860488": (1149.1407, 1148.7990, 519.8158, 501.4026),
    "60457274": (1145.5114, 1144.7739, 514.9682, 501.8820),
}
#: Human3.6M's joints by the skeleton's: legs, pelvis, spine, neck, head top, arms.
HUMAN36M_JOINTS = [3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19]
#: The same for MPI-INF-3DHP's 17: head top, neck, arms (right first), legs, pelvis, spine, head.
MPI_INF_3DHP_JOINTS = [10, 9, 8, 11, 12, 13, 14, 15, 1, 0, 4, 3, 2, 5, 6, 7]
INDEX_BITS = 10
_BIT_SIDE = 16

#: A person upright, arms out and down, of the canonical bone lengths; mm, camera axes, pelvis at
#: the origin. Joint 7 is where Human3.6M has the spine.
_HIP, _SHOULDER = skeleton.HIP, skeleton.SHOULDER
_LEG = skeleton.SHIN + skeleton.THIGH
_SPINE = skeleton.SPINE + skeleton.THORAX_NECK
_DOWN = np.array([0.6, 0.8])


def _arm(side: float) -> list[tuple[float, float, float]]:
    """Shoulder, elbow, wrist; `side` is -1 for the person's right, at smaller x."""
    shoulder = np.array([side * _SHOULDER, -_SPINE])
    elbow = shoulder + skeleton.UPPER_ARM * _DOWN * (side, 1)
    wrist = elbow + skeleton.FOREARM * _DOWN * (side, 1)
    return [(*point, 0.0) for point in (shoulder, elbow, wrist)]


STANDING = np.array([
    (-_HIP, _LEG, 0), (-_HIP, skeleton.THIGH, 0), (-_HIP, 0, 0),
    (_HIP, 0, 0), (_HIP, skeleton.THIGH, 0), (_HIP, _LEG, 0),
    (0, 0, 0), (0, -skeleton.SPINE / 2, 0), (0, -_SPINE, 0), (0, -_SPINE - skeleton.HEAD, 0),
    *_arm(-1)[::-1], *_arm(1),
], dtype=np.float64)  # fmt: skip


def poses(frames: int, seed: int) -> np.ndarray:
    """(frames, 16, 3) mm in a camera's frame: a rigid person who turns and walks about."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi) + np.linspace(0, 1.5, frames)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(frames), np.ones(frames)
    turn = np.moveaxis(np.array([[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]]), 2, 0)
    start = np.array([rng.uniform(-300, 300), rng.uniform(-50, 50), rng.uniform(4200, 5000)])
    walk = np.linspace(0, 1, frames)[:, None] * [200, 0, -300]
    return np.einsum("nij,kj->nki", turn, STANDING) + (start + walk)[:, None]


def draw_person(image: Image.Image, joints: np.ndarray, radius: float = 11) -> None:
    """A disc per joint; joint 7 first, since it is where discs may overlap."""
    draw = ImageDraw.Draw(image)
    for joint in sorted(range(len(joints)), key=lambda j: j != skeleton.THORAX):
        x, y = joints[joint]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(COLORS[joint]))


def index_places(joints: np.ndarray) -> np.ndarray:
    """Centres (px) of the squares that tell the index: above the head, within the person's box."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    across = (np.arange(INDEX_BITS) - (INDEX_BITS - 1) / 2) * (_BIT_SIDE + 2)
    return np.stack([(low[0] + high[0]) / 2 + across, np.full(INDEX_BITS, low[1] - 25)], axis=1)


def _draw_index(image: Image.Image, index: int, places: np.ndarray) -> None:
    draw = ImageDraw.Draw(image)
    half = _BIT_SIDE / 2
    for bit, (x, y) in enumerate(places):
        fill = (255, 255, 255) if index >> bit & 1 else (0, 0, 0)
        draw.rectangle((x - half, y - half, x + half, y + half), fill=fill)


def read_index(picture: np.ndarray, places: np.ndarray) -> int:
    """The index in a picture, given where its squares are now."""
    columns, rows = np.floor(places).astype(int).T
    return sum(
        int(picture[y, x].mean() > 127) << bit for bit, (x, y) in enumerate(zip(columns, rows))
    )


# Human3.6M


def project(points: np.ndarray, camera: str) -> np.ndarray:
    """Pinhole projection, px."""
    fx, fy, cx, cy = CAMERAS[camera]
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([fx * x / z + cx, fy * y / z + cy], axis=-1)


def write_cdf(path: Path, pose: np.ndarray, compress: int = 6) -> None:
    """A CDF file whose variable `Pose` is (1, frames, n), as in the release."""
    from cdflib import cdfwrite

    path.parent.mkdir(parents=True, exist_ok=True)
    with cdfwrite.CDF(path, cdf_spec={"Majority": "row_major", "Encoding": 6}) as file:
        spec = {
            "Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True,
            "Var_Type": "zVariable", "Dim_Sizes": list(pose.shape), "Compress": compress,
        }  # fmt: skip
        file.write_var(spec, var_data=pose[None].astype(np.float32))


def write_video(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """An H.264 file with B-frames; its container claims 25 fps, so that trusting it is wrong."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "bf": "2", "crf": "18"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_sequence(
    root: Path,
    subject: str,
    name: str,
    camera: str,
    frames: int,
    *,
    video_frames: int | None = None,
    pose_directory: str = "MyPoseFeatures/{}",
) -> np.ndarray:
    """One video and its poses below `root/subject`; returns the (frames, 16, 3) truth."""
    truth = poses(frames, seed=sum(map(ord, subject + name + camera)))
    flat = project(truth, camera)
    pictures = []
    for index in range(frames if video_frames is None else video_frames):
        image = Image.new("RGB", (1000, 1002 if camera in ("54138969", "60457274") else 1000),
                          BACKGROUND)  # fmt: skip
        draw_person(image, flat[index])
        _draw_index(image, index, index_places(flat[index]))
        pictures.append(np.asarray(image))
    directory = root / subject
    write_video(directory / "Videos" / f"{name}.{camera}.mp4", pictures)
    for kind, values in (("D2_Positions", flat), ("D3_Positions_mono", truth)):
        everything = np.full((frames, 32, values.shape[-1]), -1.0)
        everything[:, HUMAN36M_JOINTS] = values
        path = directory / pose_directory.format(kind) / f"{name}.{camera}.cdf"
        write_cdf(path, everything.reshape(frames, -1))
    return truth


def write_human36m(
    root: Path,
    *,
    subjects: Sequence[str] = ("S1", "S9"),
    names: Sequence[str] = ("Directions 1",),
    cameras: Sequence[str] = ("54138969",),
    frames: int = 21,
    **options: object,
) -> dict[tuple[str, str, str], np.ndarray]:
    """A part of Human3.6M, unpacked; returns the truth by (subject, name, camera)."""
    return {
        (subject, name, camera): write_sequence(root, subject, name, camera, frames, **options)
        for subject in subjects for name in names for camera in cameras
    }  # fmt: skip


def pack(directory: Path, archive: Path, inside: str) -> None:
    """A .tgz of a directory, as the release has them."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(directory, inside)


# MPII


def matlab_struct(rows: Sequence[Mapping[str, object]]) -> np.ndarray:
    """A MATLAB struct array: fields that a row lacks are empty in it."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    array = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for k, row in enumerate(rows):
        for field in fields:
            array[0, k][field] = row.get(field, np.zeros((0, 0)))
    return array


def mpii_rect(
    joints: Mapping[int, tuple[float, float]],
    *,
    scale: float | None = None,
    center: tuple[float, float] | None = None,
    head: tuple[float, float, float, float] | None = None,
    visible: Mapping[int, object] | None = None,
) -> dict[str, object]:
    """An `annorect`: joints by index in MATLAB's coordinates, in the given order."""
    rect: dict[str, object] = {}
    if head:
        rect |= dict(zip(("x1", "y1", "x2", "y2"), head, strict=True))
    if joints:
        visible, empty = visible or {}, np.zeros((0, 0))
        points = [
            {"x": x, "y": y, "id": joint, "is_visible": visible.get(joint, empty)}
            for joint, (x, y) in joints.items()
        ]
        rect["annopoints"] = matlab_struct([{"point": matlab_struct(points)}])
    if scale is not None:
        rect["scale"] = scale
    if center is not None:
        rect["objpos"] = matlab_struct([{"x": center[0], "y": center[1]}])
    return rect


def write_mpii(
    root: Path,
    images: Mapping[str, tuple[bool, Sequence[Mapping[str, object]]]],
    validation: Sequence[tuple[int, int]],
    pictures: Mapping[str, Image.Image],
) -> None:
    """MPII's files.

    Args:
        root: the manual directory.
        images: file name to (whether it is for training, its `annorect`s); in `annolist`'s order.
        validation: (image index, person index) of the validation people.
        pictures: the images themselves, by file name.
    """
    import h5py
    import scipy.io

    annolist = [
        {
            "image": matlab_struct([{"name": name}]),
            "annorect": matlab_struct(rects) if rects else np.zeros((0, 0)),
        }
        for name, (_, rects) in images.items()
    ]
    single = np.empty((len(images), 1), dtype=object)
    single[:, 0] = [np.zeros((0, 0))] * len(images)
    release = {
        "annolist": matlab_struct(annolist),
        "img_train": np.array([[int(train) for train, _ in images.values()]]),
        "single_person": single,
        "version": "12",
    }
    annotations = root / "mpii_human_pose_v1_u12_2"
    annotations.mkdir(parents=True)
    scipy.io.savemat(annotations / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    folder = root / "mpii_human_pose_v1" / "images"
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        picture.save(folder / name, quality=95)
    names = list(images)
    with h5py.File(root / "valid.h5", "w") as file:
        file["index"] = np.array([i for i, _ in validation], np.float64)
        file["person"] = np.array([j for _, j in validation], np.float64)
        file["imgname"] = np.array([names[i] for i, _ in validation], "S16")


def write_mpii_people(root: Path, count: int = 6) -> dict[str, np.ndarray]:
    """A small, faultless MPII: one person an image, every third for validation.

    Returns:
        The (16, 2) joints by image name, in MATLAB's coordinates.
    """
    truth, images, pictures, validation = {}, {}, {}, []
    for k in range(count):
        name = f"{k:09d}.jpg"
        joints = project(poses(1, seed=1000 + k)[0], "55011271") * 0.7
        truth[name] = joints
        low, high = joints.min(axis=0), joints.max(axis=0)
        head = (*(joints[9] - 20), *(joints[8] + 20))
        rect = mpii_rect(
            dict(enumerate(joints.tolist())),
            scale=float((high - low).max()) / 200,
            center=tuple(((low + high) / 2).tolist()),
            head=head,
        )
        images[name] = (True, [rect])
        picture = Image.new("RGB", (720, 700), BACKGROUND)
        # Pillow draws at pixel indices; MATLAB's first pixel is 1.
        draw_person(picture, joints - 1)
        pictures[name] = picture
        if k % 3 == 0:
            validation.append((k, 0))
    write_mpii(root, images, validation, pictures)
    return truth


# Leeds Sports Pose


def write_lsp(root: Path, count: int = 4, extended: int = 3) -> dict[str, np.ndarray]:
    """LSP and its extension, unpacked, faultless, with fewer people.

    Returns:
        The (14, 2) joints by image name, in MATLAB's coordinates.
    """
    import scipy.io

    truth = {}
    for dataset, people, digits in (("lsp_dataset", count, 4), ("lspet_dataset", extended, 5)):
        folder = root / dataset / "images"
        folder.mkdir(parents=True)
        values = np.zeros((people, 14, 3))
        for k in range(people):
            name = f"im{k + 1:0{digits}d}.jpg"
            joints = project(poses(1, seed=3000 + digits * 100 + k)[0], "55011271") * 0.25
            picture = Image.new("RGB", (250, 250), BACKGROUND)
            labelled = np.full_like(joints, -100)  # Without pelvis and thorax.
            labelled[LSP_JOINTS] = joints[LSP_JOINTS] - 1  # Pillow's first pixel is 0.
            draw_person(picture, labelled, radius=5)
            picture.save(folder / name, quality=95, subsampling=0)
            truth[name] = values[k, :, :2] = joints[LSP_JOINTS]
        values[..., 2] = dataset == "lspet_dataset"  # visible there, occluded in the other
        joints = values.transpose((1, 2, 0) if dataset == "lspet_dataset" else (2, 1, 0))
        scipy.io.savemat(root / dataset / "joints.mat", {"joints": joints})
    return truth


# MPI-INF-3DHP


def write_mpi_inf_3dhp(
    root: Path, frames: Mapping[str, int], *, valid: Sequence[int] = (0, 2)
) -> dict[str, dict[str, np.ndarray]]:
    """The test set's files; returns `annot2` (n, 17, 2) and `univ_annot3` (n, 17, 3) by sequence.

    Args:
        root: the manual directory.
        frames: how many frames each sequence has.
        valid: which of them are valid; only those get an image.
    """
    import h5py

    truth = {}
    for number, (name, count) in enumerate(frames.items()):
        points = poses(count, seed=2000 + number)
        annot3 = np.zeros((count, 17, 3))
        annot3[:, MPI_INF_3DHP_JOINTS] = points
        annot3[:, 16] = points[:, [skeleton.NECK, skeleton.HEAD_TOP]].mean(axis=1)
        annot2 = project(annot3, "55011271")
        truth[name] = {"annot2": annot2, "univ_annot3": annot3 * 0.9}
        folder = root / "mpi_inf_3dhp_test_set" / name
        (folder / "imageSequence").mkdir(parents=True)
        chosen = [index for index in valid if index < count]
        with h5py.File(folder / "annot_data.mat", "w", userblock_size=512) as file:
            file["annot2"] = annot2[:, None]
            file["annot3"] = annot3[:, None]
            file["univ_annot3"] = truth[name]["univ_annot3"][:, None]
            flags = np.zeros((count, 1))
            flags[chosen] = 1
            file["valid_frame"] = flags
            file["activity_annotation"] = np.arange(count)[:, None] % 7 + 1.0
        for index in chosen:
            image = Image.new("RGB", (1000, 1000), BACKGROUND)
            draw_person(image, annot2[index, MPI_INF_3DHP_JOINTS])
            _draw_index(image, index, index_places(annot2[index]))
            image.save(folder / "imageSequence" / f"img_{index + 1:06d}.jpg", quality=95)
    return truth


def make_all(plan: base.Plan) -> dict[tuple[str, str], dict[str, object]]:
    """All records of a plan by split and `image_id`; nothing may fail."""
    made = {}
    for item in plan.items:
        outcome = plan.process(item)
        assert not outcome.errors
        made |= {(item.split, record["image_id"]): record for record in outcome.records}
    return made


def in_source(record: Mapping[str, object], points: np.ndarray) -> np.ndarray:
    """Points of a record's image in its source, px."""
    to_source = record["to_source"].astype(np.float64)
    return points @ to_source[:, :2].T + to_source[:, 2]


def joints_that_show(
    record: Mapping[str, object], apart: float, drawn: Sequence[int] = range(16)
) -> set[int]:
    """Joints whose discs are seen in a record's image where it says; the others may be covered.

    Asserts that the colour of each joint that is `apart` px from all others is its own.
    """
    image, joints = decode_image(record["image"]), record["joints_2d"]
    checked = set()
    for joint in set(drawn) - {skeleton.THORAX}:
        x, y = joints[joint].astype(int)
        if np.sort(np.linalg.norm(joints[drawn] - joints[joint], axis=1))[1] > apart:
            seen = image[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
            np.testing.assert_allclose(seen, COLORS[joint], atol=60)
            checked.add(joint)
    return checked


def assert_framed(record: Mapping[str, object]) -> None:
    """The box is the image, and the person is in its middle, with a margin of an eighth."""
    joints = record["joints_2d"]
    low, high = joints.min(axis=0), joints.max(axis=0)
    np.testing.assert_array_equal(record["box"], [128, 128, 256])
    np.testing.assert_allclose((high - low).max() * 1.25, 256, rtol=1e-4)
    np.testing.assert_allclose((low + high) / 2, 128, atol=0.01)
    head = np.linalg.norm(joints[skeleton.HEAD_TOP] - joints[skeleton.NECK])
    np.testing.assert_allclose(record["head_size"], head, rtol=1e-5)
