import io
import threading
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image
from small_checkpoint import pose_of

from pose3d_jax.errors import UserError
from pose3d_jax.prediction import webcam
from pose3d_jax.prediction.pose import Pose


def no_people(frame: np.ndarray, time: float) -> Pose:
    return pose_of(np.zeros((0, 16, 2)))


def test_the_page_shows_the_cameras_pictures():
    picture = np.full((24, 32, 3), (200, 30, 60), np.uint8)
    page, done = webcam.Page(0), threading.Event()

    def camera():
        while not done.is_set():
            yield picture
            time.sleep(0.01)

    shown = threading.Thread(target=webcam.show_live, args=(camera(), no_people, page))
    shown.start()
    try:
        with urllib.request.urlopen(page.url, timeout=30) as response:
            assert b"<img src=stream" in response.read()
        with urllib.request.urlopen(f"{page.url}/stream", timeout=30) as response:
            assert "multipart/x-mixed-replace" in response.headers["Content-Type"]
            assert response.readline() == b"--frame\r\n"
            response.readline()
            length = int(response.readline().split()[1])
            response.readline()
            image = np.asarray(Image.open(io.BytesIO(response.read(length))))
        np.testing.assert_allclose(image, picture, atol=6)
    finally:
        done.set()
        shown.join(30)
        page.close()
    assert not shown.is_alive()


def test_old_pictures_are_dropped():
    def camera():
        for number in range(50):
            yield number
            time.sleep(0.002)

    seen = []
    for number in webcam.newest(camera()):
        seen.append(number)
        time.sleep(0.02)
    assert seen == sorted(set(seen)) and len(seen) < 50


def test_a_camera_that_fails_is_a_sentence():
    def broken():
        yield 1
        raise OSError("unplugged")

    with pytest.raises(UserError, match=r"The camera stopped: .*unplugged"):
        list(webcam.newest(broken()))
    pytest.importorskip("av")
    with (
        pytest.raises(UserError, match=r"The camera .*video97.* cannot be opened"),
        webcam.open_camera("97"),
    ):
        pass


def test_a_used_port_is_named():
    page = webcam.Page(0)
    try:
        with pytest.raises(UserError, match="cannot be used"):
            webcam.Page(int(page.url.rpartition(":")[2]))
    finally:
        page.close()
