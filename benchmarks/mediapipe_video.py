"""What MediaPipe's pose takes for a video: `python mediapipe_video.py SOURCE [OVERLAY]`.

To be run by a Python with `mediapipe` and `av`, not this project's; `benchmarks.videos` does. The
model "full" follows a person from frame to frame; with OVERLAY, the skeletons are drawn and encoded
as `pose3d_jax.predict` encodes its own. Prints one line of JSON.
"""

import json
import sys
import time

import av
import mediapipe


def main(source: str, overlay: str | None = None) -> None:
    """The program."""
    with mediapipe.solutions.pose.Pose(model_complexity=1) as pose:
        with av.open(source) as container:  # The first frame loads what is needed.
            frame = next(container.decode(video=0))
            pose.process(frame.to_ndarray(format="rgb24"))
        start, start_of_cores = time.perf_counter(), time.process_time()
        frames, found = predict(pose, source, overlay)
        spent = time.perf_counter() - start, time.process_time() - start_of_cores
    names = ("frames", "found", "seconds", "seconds_of_cores")
    print(json.dumps(dict(zip(names, (frames, found, *spent)))))


def predict(pose, source: str, overlay: str | None) -> tuple[int, int]:
    """Predicts a video; the number of frames, and of those with somebody in them."""
    out = av.open(overlay, "w") if overlay else None
    stream, frames, found = None, 0, 0
    with av.open(source) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            landmarks = pose.process(image).pose_landmarks
            frames, found = frames + 1, found + (landmarks is not None)
            if out is None:
                continue
            if stream is None:
                quality = {"crf": "20", "preset": "veryfast"}
                stream = out.add_stream("libx264", rate=25, options=quality)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            mediapipe.solutions.drawing_utils.draw_landmarks(
                image, landmarks, mediapipe.solutions.pose.POSE_CONNECTIONS
            )
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    if out is not None:
        out.mux(stream.encode())
        out.close()
    return frames, found


if __name__ == "__main__":
    main(*sys.argv[1:])
