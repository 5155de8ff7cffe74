"""Poses of a camera, live: an MJPEG page on localhost, which any browser shows."""

import contextlib
import http.server
import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.untrusted import reason

log = logging.getLogger(__name__)

#: FFmpeg's name of the system's cameras, and of the camera with a number.
_DEVICES = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}
_PAGE = b"<!doctype html><title>pose3d_jax</title><img src=stream style='max-width:100%'>"
_BOUNDARY = "frame"


@contextlib.contextmanager
def open_camera(camera: str) -> Iterator[Iterator[UInt8[np.ndarray, "h w 3"]]]:
    """Opens a camera.

    Args:
        camera: its number, or its name for FFmpeg (on Windows, the device's name).

    Yields:
        The newest picture at each time; older ones are dropped.

    Raises:
        UserError: PyAV is missing, or there is no such camera.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("A camera needs PyAV: pip install 'pose3d_jax[video]'.") from error
    kind, name = _DEVICES.get(sys.platform, _DEVICES["linux"])
    name = name.format(camera) if camera.isdigit() or sys.platform == "win32" else camera
    try:
        container = av.open(name, format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"The camera {name} cannot be opened: {reason(error)}.") from error
    with container:
        yield newest(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def newest(items: Iterator[Any]) -> Iterator[Any]:
    """The newest item at each time: a thread consumes the items and drops those not asked for."""
    condition, slot = threading.Condition(), {"item": None, "end": False}

    def consume() -> None:
        try:
            for item in items:
                with condition:
                    slot["item"] = item
                    condition.notify()
                    if slot["end"]:
                        return
        except Exception as error:
            slot["error"] = error
        finally:
            with condition:
                slot["end"] = True
                condition.notify()

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    try:
        while True:
            with condition:
                condition.wait_for(lambda: slot["item"] is not None or slot["end"])
                item, slot["item"] = slot["item"], None
            if item is None:
                break
            yield item
        if "error" in slot:
            raise UserError(f"The camera stopped: {reason(slot['error'])}.")
    finally:
        slot["end"] = True


class Page:
    """A page on localhost that shows the newest picture.

    Args:
        port: of the server; 0 for any free one.

    Attributes:
        url: of the page.
    """

    def __init__(self, port: int):
        self._condition, self._jpeg = threading.Condition(), b""
        try:
            # Only this computer can connect.
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise UserError(f"Port {port} cannot be used ({error.strerror}): --port.") from error
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Shows an RGB picture."""
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=80)
        with self._condition:
            self._jpeg = buffer.getvalue()
            self._condition.notify_all()

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

    def _pictures(self) -> Iterator[bytes]:
        while True:
            with self._condition:
                self._condition.wait()
                jpeg = self._jpeg
            yield jpeg

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                if self.path != "/stream":
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.end_headers()
                    self.wfile.write(_PAGE)
                    return
                kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
                self.send_header("Content-Type", kind)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    for jpeg in page._pictures():
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        head += f"Content-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")

            def log_message(self, *_: Any) -> None:
                """Requests are not logged."""

        return Handler


def show_live(
    frames: Iterator[UInt8[np.ndarray, "h w 3"]],
    track: Callable[[np.ndarray, float], Pose],
    page: Page,
) -> int:
    """Shows the people of a camera's pictures until the camera or the user ends it.

    Args:
        frames: RGB pictures.
        track: from a picture and its time in s to the people in it (`tracking.Tracker`).
        page: that shows them.

    Returns:
        The number of pictures.
    """
    start, count = time.monotonic(), 0
    for frame in frames:
        pose = track(frame, time.monotonic() - start)
        page.show(draw_people(frame, pose.joints_2d, pose.person_confidence))
        count += 1
        if count % 100 == 0:
            rate = count / (time.monotonic() - start)
            log.info("%d frames, %.1f per second, %d people", count, rate, len(pose))
    return count
