"""Time of MediaPipe's pose model on a video: `python mediapipe_video.py SOURCE [OVERLAY]`.

`benchmarks.videos` runs it with a Python that has `mediapipe` and `av`. The model "full" tracks a
person from frame to frame; with OVERLAY, the skeletons are drawn and encoded as by
`pose3d_jax.predict`. Prints one line of JSON.
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
        start, cpu_start = time.perf_counter(), time.process_time()
        frames, detected = predict(pose, source, overlay)
        result = {
            "frames": frames,
            "detected": detected,
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
    print(json.dumps(result))


def predict(pose, source: str, overlay: str | None) -> tuple[int, int]:
    """Predicts a video; returns the number of frames, and of those with a detected person."""
    out = av.open(overlay, "w") if overlay else None
    stream, frames, detected = None, 0, 0
    with av.open(source) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            landmarks = pose.process(image).pose_landmarks
            frames, detected = frames + 1, detected + (landmarks is not None)
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
    return frames, detected


if __name__ == "__main__":
    main(*sys.argv[1:])
