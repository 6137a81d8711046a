"""The sound as a file: copied to the bit, or decoded; and videos that have none."""

from __future__ import annotations

import shutil
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import clip, numbered, sound_only
from test_cli import dfx as run

import dfx
from dfx.audio import AudioTask
from dfx.errors import OutputError
from dfx.settings import Limits


def tone(path: Path, codec: str, *, rate: int = 48000, seconds: float = 1.0, layout: str = "stereo") -> Path:
    """A video with a tone of 1 kHz at half of full scale, all channels alike."""
    wave_ = np.sin(2 * np.pi * 1000 * np.arange(int(rate * seconds)) / rate) * 0.5
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=Fraction(25))
        sound = container.add_stream(codec, rate=rate, layout=layout)
        video.width, video.height, video.pix_fmt = 192, 96, "yuv420p"
        for number in range(int(25 * seconds)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(video.encode(None))
        channels = 2 if layout == "stereo" else 1
        samples = np.repeat((wave_ * 32767).astype(np.int16), channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


@pytest.mark.parametrize(
    ("video", "codec", "ending"),
    [
        ("a.mp4", "aac", ".m4a"),
        ("a.mkv", "aac", ".m4a"),
        ("a.avi", "libmp3lame", ".mp3"),
        ("a.mkv", "libopus", ".opus"),
        ("a.mkv", "libvorbis", ".ogg"),
        ("a.mkv", "flac", ".flac"),
        ("a.mpg", "mp2", ".mp2"),
        ("a.mkv", "ac3", ".ac3"),
        ("a.mov", "pcm_s16le", ".wav"),
        ("a.mov", "pcm_s16be", ".mka"),
    ],
)
def test_the_stream_is_copied_to_the_bit(tmp_path: Path, video: str, codec: str, ending: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    source = tone(tmp_path / video, codec)
    result = dfx.audio(source, tmp_path / "out")
    assert [(item.written, item.note) for item in result.items] == [(1, "")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"a{ending}"]
    copied = b"".join(packets(tmp_path / "out" / f"a{ending}"))
    assert copied == b"".join(packets(source))


def test_a_transport_streams_aac_becomes_an_m4a_that_plays(tmp_path: Path) -> None:
    dfx.audio(tone(tmp_path / "a.ts", "aac"), tmp_path / "out")
    with av.open(str(tmp_path / "out" / "a.m4a")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(48000, abs=2048)


def test_a_wav_holds_the_sound_at_its_own_rate(tmp_path: Path) -> None:
    dfx.audio(tone(tmp_path / "a.mp4", "aac"), tmp_path / "out", wav=True)
    with wave.open(str(tmp_path / "out" / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48000, 2, 2)
        assert file.getnframes() == pytest.approx(48000, abs=1024), "the encoder's padding is cut off"
        samples = np.frombuffer(file.readframes(48000), "<i2")[::2].astype(float)
    spectrum = np.abs(np.fft.rfft(samples[4800:43200]))
    assert spectrum.argmax() == round(1000 * 38400 / 48000), "1 kHz"


def test_no_sound_is_said_and_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    clip(tmp_path / "in" / "mute.mp4", 5)
    tone(tmp_path / "in" / "loud.mp4", "aac")
    sound_only(tmp_path / "in" / "only.mp4")
    (tmp_path / "in" / "bad.mp4").write_text("nothing")
    result = dfx.audio(tmp_path / "in", tmp_path / "out")
    notes = {item.filename: (item.written, item.note.split(":")[0]) for item in result.items}
    assert notes == {"bad.mp4": (0, "corrupt"), "loud.mp4": (1, ""), "mute.mp4": (0, "no sound"), "only.mp4": (1, "")}
    assert [item.filename for item in result.failed] == ["bad.mp4"]


def test_files_that_are_there_are_kept_unless_told(tmp_path: Path) -> None:
    source, file = tone(tmp_path / "a.mp4", "aac"), tmp_path / "out" / "a.m4a"
    file.parent.mkdir()
    file.write_text("mine")
    assert dfx.audio(source, tmp_path / "out").kept == 1
    assert file.read_text() == "mine"
    assert dfx.audio(source, tmp_path / "out", overwrite=True).written == 1
    assert packets(file) == packets(source)


@pytest.mark.parametrize("wav", [False, True])
@pytest.mark.parametrize("room", [100, 40_000])
def test_a_full_disk_is_no_fault_of_the_video(tmp_path: Path, wav: bool, room: int) -> None:
    resource = pytest.importorskip("resource", reason="a limit on what may be written stands in for a full disk")
    source, (soft, hard) = tone(tmp_path / "a.mkv", "flac", seconds=8), resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "out").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputError, match=rf"cannot write .*a\.{'wav' if wav else 'flac'} \(File too large\)"):
            AudioTask(Limits(), wav=wav, overwrite=False)(str(source), str(tmp_path / "out" / "a"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_source_itself_is_not_overwritten(tmp_path: Path) -> None:
    dfx.audio(tone(tmp_path / "a.mkv", "aac"), tmp_path)
    before = (tmp_path / "a.m4a").read_bytes()
    (item,) = dfx.audio(tmp_path / "a.m4a", tmp_path, overwrite=True).items
    assert item.failed
    assert "would take the place of" in item.note
    assert (tmp_path / "a.m4a").read_bytes() == before


def test_a_cut_file_gives_what_it_holds_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    whole = tone(tmp_path / "a.mkv", "aac", seconds=4).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    dfx.audio(tmp_path / "cut.mkv", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cut.m4a"]
    assert 10 < len(packets(tmp_path / "out" / "cut.m4a")) < len(packets(tmp_path / "a.mkv"))


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(tone(tmp_path / "a.mp4", "aac"), tmp_path / "in" / "[b]a.mp4")
    clip(tmp_path / "in" / "mute.mp4", 5)
    done = run("audio", tmp_path / "in", "--out", tmp_path / "out", "--wav")
    assert done.returncode == 0, done.stderr
    assert "1 sound file of 2 videos written to" in done.stderr
    assert "1 video: no sound" in done.stderr
    assert (tmp_path / "out" / "[b]a.wav").exists()


@pytest.mark.shared
def test_real_videos(shared: Path, tmp_path: Path) -> None:
    result = dfx.audio(shared / "data" / "videos" / "dfdc_00[12]*.mp4", tmp_path)
    assert (result.written, result.failed) == (2, [])
    assert packets(tmp_path / "dfdc_001_real.m4a") == packets(shared / "data" / "videos" / "dfdc_001_real.mp4")
