"""Poses by MediaPipe or ONNX Runtime: `python other_programs.py SOURCE --out DIR [--network FILE]`.

SOURCE is a video or a folder of photographs. With `--network` and `--boxes` ONNX Runtime runs our
exported network, else MediaPipe its own (model "full"). To be run by a Python that has `av`, and
`mediapipe` or `onnxruntime`; `benchmarks.programs` does. Writes a `poses.json` per input.
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

#: Images with the names of their files.
Images = Iterable[tuple[str, np.ndarray]]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network")
    parser.add_argument("--boxes", type=Path)
    options = parser.parse_args()
    is_video = options.source.is_file()
    images = frames(options.source) if is_video else photographs(options.source)
    if options.network:
        people = by_onnx(images, options.network, json.loads(options.boxes.read_text()))
    else:
        people = by_mediapipe(images, is_video)
    poses: dict[str, list] = {}
    for name, found in people:
        poses.setdefault(name, []).append({"people": found})
    for name, results in poses.items():
        path = options.out / name / "poses.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"frames": results} if is_video else results[0]))


def photographs(folder: Path) -> Images:
    """The photographs of a folder."""
    for path in sorted(folder.iterdir()):
        yield path.name, np.asarray(Image.open(path).convert("RGB"))


def frames(path: Path) -> Images:
    """The frames of a video."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield path.name, frame.to_ndarray(format="rgb24")


def by_mediapipe(images: Images, is_video: bool) -> Iterator[tuple[str, list]]:
    """33 × (x, y, z, visibility) of at most one person in each image, who is tracked in a video."""
    from mediapipe import solutions

    with solutions.pose.Pose(static_image_mode=not is_video, model_complexity=1) as pose:
        for name, image in images:
            landmarks = pose.process(image).pose_landmarks
            people = [landmarks.landmark] if landmarks else []
            yield name, [[(p.x, p.y, p.z, p.visibility) for p in points] for points in people]


def by_onnx(images: Images, network: str, boxes: dict) -> Iterator[tuple[str, list]]:
    """Joints in px of the image, joints in mm and scores of the person in each box."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[1]
    for name, image in images:
        squares, crops = [], []
        for x, y, width, height in boxes[name]:
            extent = max(width, height)
            left, top = x + (width - extent) / 2, y + (height - extent) / 2
            square = [round(edge) for edge in (left, top, left + extent, top + extent)]
            crop = Image.fromarray(image).crop(square)
            squares.append((*square[:2], (square[2] - square[0]) / side))
            crops.append(np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR)))
        people = zip(squares, *session.run(None, {"crops": np.stack(crops)})) if crops else ()
        yield (
            name,
            [
                [([left, top] + scale * joints).tolist(), millimetres.tolist(), scores.tolist()]
                for (left, top, scale), joints, millimetres, scores in people
            ],
        )


if __name__ == "__main__":
    main()
