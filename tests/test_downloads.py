import errno

import pytest
from miniature import pack, write_human36m

from pose3d_jax.errors import UserError
from tfds_builders import prepare
from tfds_builders.downloads import check_download, reading
from tfds_builders.human36m import release as human36m_release

PAGE = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("Videos_S1.tgz", PAGE, "is an HTML page"),
        ("joints.mat", b"<html>404", "is an HTML page"),
        ("Videos_S1.tgz", b"PK\x03\x04", r"is not a \.tgz file"),
        ("lsp_dataset.zip", b"\x1f\x8b", r"is not a \.zip file"),
        ("valid.h5", b"", r"is not a \.h5 file"),
    ],
)
def test_the_wrong_file_is_named_by_its_first_bytes(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} {sentence}"):
        check_download(tmp_path / name)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.EIO])
def test_a_file_that_the_system_refuses_is_not_called_damaged(number):
    """Locked by another program, or not readable for this user."""
    with pytest.raises(UserError, match=r"x\.h5 cannot be read: ") as caught, reading("x.h5", "y"):
        raise OSError(number, "the system's reason")
    assert "the system's reason" in str(caught.value) and "damaged" not in str(caught.value)


def test_a_missing_library_names_the_extra():
    with (
        pytest.raises(UserError, match=r"needs no_such_reader: pip install 'pose3d_jax\[prep"),
        reading("x.cdf", "poses"),
    ):
        import no_such_reader  # noqa: F401


@pytest.fixture
def archives(tmp_path):
    """Archives of S1 and S9; S9's videos are a login page."""
    source, root = tmp_path / "unpacked", tmp_path / "release"
    write_human36m(source, frames=2, pose_directory="{}")
    for subject in ("S1", "S9"):
        for kind in ("Videos", "D2_Positions", "D3_Positions_mono"):
            pack(source / subject / kind, root / subject.lower() / f"{kind}.tgz", kind)
    (root / "s9" / "Videos.tgz").write_bytes(PAGE)
    return root


def test_wrong_archives_are_reported_before_any_is_unpacked(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(human36m_release, "_unpack", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(UserError, match=r"S9: .*s9/Videos\.tgz is an HTML page"):
        prepare.prepare("human36m", tmp_path / "data", manual_dir=archives)


def test_without_records_the_reasons_come_first(archives, tmp_path):
    """With --partial, when all archives are wrong."""
    (archives / "s1" / "D2_Positions.tgz").write_bytes(b"\x1f\x8b cut off")
    with pytest.raises(UserError) as caught:
        prepare.prepare("human36m", tmp_path / "data", manual_dir=archives, partial=True)
    *reasons, last = str(caught.value).splitlines()
    assert any("s9/Videos.tgz is an HTML page" in line for line in reasons)
    assert any("D2_Positions.tgz is truncated or damaged" in line for line in reasons)
    assert last == "No records can be made from this release."
