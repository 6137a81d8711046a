"""What a container says, and what FFmpeg may not be made to open."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import clip, sound_only

from dfx.errors import CorruptVideoError, MissingInputError, UnsupportedVideoError
from dfx.probe import probe


def test_the_facts_of_a_plain_clip(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 60, rate=30, audio=True, g="25", sc_threshold="0", bf="0"))
    assert (info.codec, info.pix_fmt, info.width, info.height, info.rotation) == ("h264", "yuv420p", 192, 96, 0)
    assert (info.rate, info.frames, info.keyframes) == (Fraction(30), 60, (0, 25, 50))
    assert info.duration == pytest.approx(2.0, abs=0.05)
    assert info.audio is not None
    assert (info.audio.codec, info.audio.rate, info.audio.channels) == ("aac", 44100, 1)
    assert info.bytes == (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize(("counterclockwise", "clockwise"), [(0, 0), (90, 270), (-90, 90), (180, 180)])
def test_rotation_is_read_without_decoding(tmp_path: Path, counterclockwise: int, clockwise: int) -> None:
    assert probe(clip(tmp_path / "a.mp4", 3, rotation=counterclockwise)).rotation == clockwise


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"), ("a.mov", "mjpeg")]
)
def test_other_containers_and_codecs(tmp_path: Path, name: str, codec: str) -> None:
    info = probe(clip(tmp_path / name, 10, codec=codec, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p"))
    assert info.frames == 10
    assert len(set(info.packets.pts.tolist())) == 10
    assert info.keyframes[0] == 0


def test_what_is_no_video_says_why(tmp_path: Path, samples: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello\n" * 1000)
    whole = (samples / "real.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, error, words in [
        ("empty.mp4", CorruptVideoError, "0 bytes"),
        ("text.mp4", CorruptVideoError, "cannot read it"),
        ("cut.mp4", CorruptVideoError, "cannot read it"),
        (sound_only(tmp_path / "sound.mp4").name, UnsupportedVideoError, "only audio"),
        ("none.mp4", MissingInputError, "no video at"),
    ]:
        with pytest.raises(error, match=words):
            probe(tmp_path / name)


def test_odd_names_are_opened_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mp4", "a%03d.mp4", "http:x.mp4", "pipe:0.mp4", "line\nbreak.mp4", "concat:a|b.mp4"):
        shutil.copy(samples / "real.mp4", name)
        assert probe(name).frames == 75


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile '{target}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>',
    ],
    ids=["concat", "hls", "sdp", "dash"],
)
def test_a_disguised_playlist_opens_nothing(tmp_path: Path, samples: Path, script: str) -> None:
    disguised = tmp_path / "innocent.mp4"
    disguised.write_text(script.format(target=samples / "real.mp4"))
    with pytest.raises(CorruptVideoError):
        probe(disguised)


def test_a_tail_that_is_cut_leaves_what_came_before(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.mkv", 60, g="10").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    assert 10 < probe(tmp_path / "cut.mkv").frames < 60


@pytest.mark.shared
def test_real_challenge_clips_have_keyframes_250_frames_apart(shared: Path) -> None:
    info = probe(shared / "data" / "videos" / "dfdc_001_real.mp4")
    assert (info.frames, info.keyframes, info.width, info.height) == (300, (0, 250), 1920, 1080)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_still_pictures_are_unsupported_whatever_their_name(tmp_path: Path, kind: str) -> None:
    picture = cv2.imencode(f".{kind}", np.zeros((48, 64, 3), np.uint8))[1]
    (tmp_path / "a.mp4").write_bytes(picture.tobytes())
    with pytest.raises(UnsupportedVideoError, match="a still picture"):
        probe(tmp_path / "a.mp4")
