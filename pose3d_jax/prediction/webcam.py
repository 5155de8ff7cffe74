"""Poses of a camera, live: an MJPEG page on localhost, which any browser shows."""

import contextlib
import http.server
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import encode_image
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
    """Opens a camera by its number, or by its name for FFmpeg (on Windows, the device's name).

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
    slot: queue.Queue[Any] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def consume() -> None:
        end = None
        try:
            for item in items:
                with contextlib.suppress(queue.Empty):
                    slot.get_nowait()
                slot.put(item)
                if stopped.is_set():
                    return
        except Exception as error:
            end = error
        slot.put(end)

    threading.Thread(target=consume, daemon=True).start()
    try:
        while (item := slot.get()) is not None:
            if isinstance(item, Exception):
                raise UserError(f"The camera stopped: {reason(item)}.")
            yield item
    finally:
        stopped.set()


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
        jpeg = encode_image(picture, quality=80)
        with self._condition:
            self._jpeg = jpeg
            self._condition.notify_all()

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

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
                    while True:
                        with page._condition:
                            page._condition.wait()
                            jpeg = page._jpeg
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
