"""Audio: the sound of a video as a file, by copying its packets, or decoded as WAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from dfx.decode.container import AS_PLAYED, open_file
from dfx.errors import CorruptVideoError, OutputError, UnsupportedVideoError
from dfx.extract import Extracted, extract
from dfx.outputs import check_apart
from dfx.settings import EXTRACTING, Limits, limits_given

# Codec -> ending and FFmpeg's muxer: the container that players expect the codec in.
CONTAINERS = {
    "aac": (".m4a", "ipod"),
    "alac": (".m4a", "ipod"),
    "mp3": (".mp3", "mp3"),
    "mp2": (".mp2", "mp2"),
    "ac3": (".ac3", "ac3"),
    "eac3": (".eac3", "eac3"),
    "flac": (".flac", "flac"),
    "opus": (".opus", "opus"),
    "vorbis": (".ogg", "ogg"),
    "amr_nb": (".amr", "amr"),
    "pcm_s16le": (".wav", "wav"),
    "pcm_s24le": (".wav", "wav"),
    "pcm_s32le": (".wav", "wav"),
    "pcm_f32le": (".wav", "wav"),
    "pcm_u8": (".wav", "wav"),
}
ANY = (".mka", "matroska")  # takes every codec that there is
WAV = (".wav", "wav")
LARGE = {"rf64": "auto"}  # RIFF's sizes end at 4 GiB, three hours of 16-bit 5.1 sound


def audio(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    wav: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    workers: int | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> Extracted:
    """Writes the sound of videos into a folder, as `<video>.m4a` where it is AAC, else with the ending that fits it.

    The packets are copied, so nothing is lost. A video without sound is no failure; its row says so.

    Args:
        source: a folder, a file, a glob, or several of these.
        out: the folder, made if need be; the folders of `source` are kept below it.
        wav: decode to 16-bit PCM instead; rate and channels stay.
        overwrite: write files anew that are there already.
        limits, workers, follow_symlinks, progress: as `dfx.inspect` has them.

    Raises:
        MissingInputError, InputError, OutputError: before any video is opened.
    """
    options, limits = {"wav": wav, "overwrite": overwrite}, limits_given(limits, EXTRACTING)
    return extract(
        "audio", options, source, Path(out), limits, workers=workers, follow=follow_symlinks, progress=progress
    )


class AudioTask:
    """Writes the sound of one video after the other, in a child process."""

    def __init__(self, limits: Limits, wav: bool, overwrite: bool) -> None:
        self._limits, self._wav, self._overwrite = limits, wav, overwrite

    def __call__(self, path: str, stem: str) -> dict[str, Any]:
        """One file written, or kept where it was there already, or neither where there is no sound."""
        with open_file(path, AS_PLAYED | {"max_pixels": str(self._limits.pixels)}) as container:
            stream = sound_of(container, Path(path))
            if stream is None:
                return {"written": 0, "kept": 0, "note": "no sound"}
            ending, muxer = WAV if self._wav else CONTAINERS.get(stream.codec_context.codec.canonical_name, ANY)
            file = Path(f"{stem}{ending}")
            if file.exists() and not self._overwrite:
                return {"written": 0, "kept": 1, "note": ""}
            check_apart(file, [path])
            self._write(container, stream, file, muxer)
        return {"written": 1, "kept": 0, "note": ""}

    def _write(self, container: InputContainer, stream: AudioStream, file: Path, muxer: str) -> None:
        """Writes the file under another name first: a run that is cut leaves nothing that looks whole."""
        part = file.with_name(f".{file.name}.part")
        try:
            with av.open(str(part), "w", format=muxer, options=LARGE if muxer == "wav" else {}) as target:
                count = decode(container, stream, target) if self._wav else copy(container, stream, target)
            if not count:
                raise CorruptVideoError(f"{file.stem!r}: its audio stream holds nothing that can be read")
            part.replace(file)
        except OSError as error:  # of writing: what FFmpeg says of reading and decoding ends there
            raise OutputError(f"cannot write {file} ({error.strerror or error})") from error
        finally:
            part.unlink(missing_ok=True)


def sound_of(container: InputContainer, path: Path) -> AudioStream | None:
    """The best audio stream; None where there is none. Raises UnsupportedVideoError where FFmpeg has no decoder."""
    best = container.streams.best("audio")
    stream = best if isinstance(best, AudioStream) else next(iter(container.streams.audio), None)
    if stream is not None and stream.codec_context is None:
        raise UnsupportedVideoError(f"{path.name!r}: FFmpeg has no decoder for its sound")
    return stream


def copy(container: InputContainer, stream: AudioStream, target: OutputContainer) -> int:
    """Copies the packets; returns how many."""
    track, count = target.add_stream_from_template(stream), 0
    for packet in _packets(container, stream):
        if packet.dts is None:
            continue
        packet.stream = track
        target.mux(packet)
        count += 1
    return count


def decode(container: InputContainer, stream: AudioStream, target: OutputContainer) -> int:
    """Decodes to 16-bit PCM of the same rate and layout; returns the number of frames that came."""
    context = stream.codec_context
    track = target.add_stream("pcm_s16le", rate=context.sample_rate, layout=context.layout)
    resampler, count = AudioResampler(format="s16", layout=context.layout, rate=context.sample_rate), 0
    for frame in _sounds(container, stream):
        count += 1
        for piece in resampler.resample(frame):
            target.mux(track.encode(piece))
    for piece in resampler.resample(None) if count else ():
        target.mux(track.encode(piece))
    target.mux(track.encode(None))
    return count


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[Any]:
    """What the file still holds: a broken tail ends it."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.error.FFmpegError:
        return


def _sounds(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in chain(_packets(container, stream), [None]):
        try:
            yield from (frame for frame in stream.codec_context.decode(packet) if isinstance(frame, AudioFrame))
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:  # a damaged packet costs its own sound
            continue
