"""Valid files to be damaged, and files that were never meant well."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image

from benchmarks.faults.damage import damage

#: Which codec the videos of a container have.
CODECS = {
    ".mp4": "libx264", ".mov": "libx264", ".avi": "mpeg4", ".mkv": "libx264", ".webm": "libvpx",
    ".mpg": "mpeg1video",
}  # fmt: skip
_CONTAINERS = {".mkv": "matroska", ".mpg": "mpeg"}
PEOPLE = 3


def _pixels(height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def picture(format_: str) -> bytes:
    """A small picture, with the tags of a camera where the format has some."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A], exif[0x0213] = 6, "a person", 72.0, 1
    options = {} if format_ in ("BMP", "GIF") else {"exif": exif.tobytes()}
    buffer = io.BytesIO()
    Image.fromarray(_pixels()).save(buffer, format_, **options)
    return buffer.getvalue()


def foreign_picture(rng: np.random.Generator, folder: Path) -> Path:
    """A picture that Pillow could open, in a format that we do not; EPS would run a program."""
    format_ = rng.choice(("EPS", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "IM"))
    Image.fromarray(_pixels()).save(folder / "a.jpg", format_)
    return folder / "a.jpg"


def video(path: Path, codec: str) -> bytes:
    """A few frames."""
    import av

    container = _CONTAINERS.get(path.suffix, path.suffix[1:])
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shift in range(6):
            image = np.roll(_pixels(48, 64), shift, axis=1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path.read_bytes()


def endless_table(content: bytes, rng: np.random.Generator, folder: Path) -> Path:
    """An .mp4 whose tables say in a few bytes that it has tens of millions of frames."""
    count, content = int(rng.integers(1 << 26, 80_000_000)), bytearray(content)
    for name, numbers in (
        (b"stsz", (1, count)),
        (b"stts", (1, count, 1)),
        (b"stsc", (1, 1, count, 1)),
    ):
        struct.pack_into(f">{len(numbers)}I", content, content.index(name) + 8, *numbers)
    (folder / "a.mp4").write_bytes(content)
    return folder / "a.mp4"


def play_list(content: bytes, rng: np.random.Generator, folder: Path) -> Path:
    """A text that names another file, called like a video."""
    target = folder / "out" / "b.mp4"
    target.parent.mkdir()
    target.write_bytes(content)
    texts = (
        f"ffconcat version 1.0\nfile {target.relative_to(folder)}\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{target}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    )
    (folder / "a.mp4").write_text(rng.choice(texts))
    return folder / "a.mp4"


_HEAD = b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})))
_NUMBERS = np.arange(6, dtype="<f4")


def _state_dict() -> bytes:
    """The pickle of a dictionary with one tensor."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\nNtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n(I2\nI3\nt(I3\nI1\ntI00\nNtR"
    return b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01" + tensor + b"q\x02s."


def damaged_weights(rng: np.random.Generator, folder: Path) -> Path:
    """The container of 2018; half of the time only the pickle is damaged."""
    tail = pickle.dumps(["0"]) + struct.pack("<q", len(_NUMBERS)) + _NUMBERS.tobytes()
    if rng.integers(2):
        content = _HEAD + damage(_state_dict(), rng) + tail
    else:
        content = damage(_HEAD + _state_dict() + tail, rng)
    (folder / "a.pth").write_bytes(content)
    return folder / "a.pth"


def zipped_weights() -> bytes:
    """The container since 2020."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/data.pkl", _state_dict())
        archive.writestr("m/data/0", _NUMBERS.tobytes())
    return buffer.getvalue()


def hostile_weights(rng: np.random.Generator, folder: Path) -> Path:
    """A pickle that calls a function with a path that must not appear."""
    module, name = str(
        rng.choice(
            (
                "os system", "posix system", "builtins eval", "builtins exec", "builtins open",
                "subprocess Popen", "pathlib Path.touch", "shutil rmtree", "builtins getattr",
                "importlib import_module", "numpy.f2py.crackfortran getlincoef", "torch.hub load",
            )
        )
    ).split()  # fmt: skip
    call = f"c{module}\n{name}\n(Vtouch {folder / 'witness'}\ntR.".encode()
    (folder / "a.pth").write_bytes((_HEAD if rng.integers(2) else b"") + b"\x80\x02" + call)
    return folder / "a.pth"


def swelling_weights(rng: np.random.Generator, folder: Path) -> Path:
    """A few bytes that ask for gigabytes of memory or of stack."""
    number = int(rng.choice((1 << 29, 1 << 30, (1 << 31) - 1)))
    bodies = (
        b"}r" + struct.pack("<I", number) + b".",
        b"\x8b" + struct.pack("<i", number) + b".",
        b"\x8d" + struct.pack("<Q", number << 10) + b"a.",
        b"\x96" + struct.pack("<Q", number << 4) + b"a.",
        b"\x95" + struct.pack("<Q", number << 4) + b"a.",
        b"})" + b"\x85" * 300_000 + b"K\x01s.",
    )
    body = b"\x80\x05" + bodies[rng.integers(len(bodies))]
    (folder / "a.pth").write_bytes((_HEAD if rng.integers(2) else b"") + body)
    return folder / "a.pth"


def sealed_weights(folder: Path) -> bytes:
    """A network's file, but for the network."""
    from pose3d_jax.interop.weight_files import write_weights

    tree = {"method": "3D/wo geo", "model": {"features": 8}, "data": {}, "stages": {}}
    arrays = {"params/a/value": _NUMBERS.reshape(2, 3), "stats/b/value": _NUMBERS}
    write_weights(folder / "a.safetensors", ml_collections.ConfigDict(tree), arrays)
    return (folder / "a.safetensors").read_bytes()


def annotations(folder: Path) -> dict[str, bytes]:
    """The data sets' own files, in miniature."""
    from tests import miniature

    miniature.write_mpii_people(folder, PEOPLE)
    miniature.write_mpi_inf_3dhp(folder, {"TS1": 3})
    miniature.write_lsp(folder, PEOPLE)
    shutil.make_archive(folder / "lsp", "zip", folder / "lsp_dataset")
    poses = np.random.default_rng(0).normal(size=(20, 64))
    miniature.write_cdf(folder / "compressed.cdf", poses)
    miniature.write_cdf(folder / "plain.cdf", poses, compress=0)
    return {
        "mat": (folder / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat").read_bytes(),
        "h5": (folder / "valid.h5").read_bytes(),
        "hdf5": (folder / "mpi_inf_3dhp_test_set/TS1/annot_data.mat").read_bytes(),
        "lsp": (folder / "lsp_dataset/joints.mat").read_bytes(),
        "lsp_zip": (folder / "lsp.zip").read_bytes(),
        "compressed": (folder / "compressed.cdf").read_bytes(),
        "plain": (folder / "plain.cdf").read_bytes(),
    }


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _takes() -> bytes:
    names = ("Videos/Eating.54138969.mp4", f"Videos/{150 * 'x'}.mp4", "Videos/notes.txt")
    return _tar(*((tarfile.TarInfo(name), 900 * b"v") for name in names))


def archive() -> bytes:
    """A .tgz with a long name in it."""
    return gzip.compress(_takes())


def damaged_archive(rng: np.random.Generator, folder: Path) -> Path:
    """A .tgz whose checksum is right and whose members are damaged."""
    (folder / "a.tgz").write_bytes(gzip.compress(damage(_takes(), rng)))
    return folder / "a.tgz"


def reaching_archive(rng: np.random.Generator, folder: Path) -> Path:
    """A .tgz whose members would be files elsewhere, links, devices and pipes."""
    name = str(rng.choice(("../a.mp4", "../../a.mp4", "/tmp/a.mp4", f"{folder}/a.mp4", "x/../..")))
    kind = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind[rng.integers(len(kind))], "/etc/passwd"
    content = b"v" if info.type == tarfile.REGTYPE else b""
    again = tarfile.TarInfo(name)
    (folder / "a.tgz").write_bytes(gzip.compress(_tar((info, content), (again, b"w"))))
    return folder / "a.tgz"
