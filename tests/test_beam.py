"""Beam's local runner in processes: the poses of `Predictor`, and a damaged file set apart."""

import json
from pathlib import Path

import pytest
import small_checkpoint
from PIL import Image

from pose3d_jax import Predictor
from pose3d_jax.images import read_image

beam = pytest.importorskip("apache_beam")
TESTS = Path(__file__).parent
IMAGES, DAMAGED = 200, 77


def as_line(named) -> str:
    name, pose = named
    return json.dumps(
        [name, *(x.tolist() for x in (pose.joints_2d, pose.joints_3d, pose.confidence))]
    )


def test_a_directory_of_images_and_a_damaged_one(tmp_path, monkeypatch):
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.options.pipeline_options import PipelineOptions

    from pose3d_jax.beam import pose_handler

    # Workers import this module and the package.
    monkeypatch.setenv("PYTHONPATH", f"{TESTS.parent}:{TESTS}")
    paths = []
    for i in range(IMAGES):
        paths.append(str(tmp_path / f"{i:03}.png"))
        Image.fromarray(small_checkpoint.photo(40 + i % 7, 50, seed=i)).save(paths[-1])
    (tmp_path / f"{DAMAGED:03}.png").write_bytes(b"no image")
    checkpoint = str(small_checkpoint.directory())
    options = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with beam.Pipeline(options=options) as pipeline:
        handler = pose_handler(checkpoint, boxes=None, batch_size=32)
        poses, failed = (
            pipeline | beam.Create(paths) | RunInference(handler).with_exception_handling()
        )
        _ = poses | beam.Map(as_line) | "poses" >> beam.io.WriteToText(str(tmp_path / "poses"))
        bad = failed.failed_preprocessing[0] | beam.Map(lambda failure: failure[0])
        _ = bad | "failed" >> beam.io.WriteToText(str(tmp_path / "failed"))

    def lines(name):
        return [
            line for path in tmp_path.glob(f"{name}-*") for line in path.read_text().split("\n")
        ]

    assert [line for line in lines("failed") if line] == [paths[DAMAGED]]
    found = {name: joints for name, *joints in map(json.loads, filter(None, lines("poses")))}
    assert sorted(found) == sorted(set(paths) - {paths[DAMAGED]})
    predictor = Predictor.from_checkpoint(checkpoint)
    for path in paths[:40:13]:
        small_checkpoint.assert_same(found[path], predictor(read_image(path), None))
