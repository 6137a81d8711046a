"""What DALI can decode: a pure judgement of a video's facts, so that the rest goes to the CPU's decoder in time.

Two things decide. The hardware, from NVIDIA's support matrix (https://developer.nvidia.com/video-encode-and-decode-gpu-
support-matrix-new) and the NVDEC application note of Video Codec SDK 13.0 (table "NVDEC Hardware Capabilities"). And
DALI 2.4's own code (dali/operators/video in https://github.com/NVIDIA/DALI), which takes pictures from NVDEC as NV12
and pairs each with one packet. What stands in the packets themselves is judged by `dfx.decode.cut`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfx.info import VideoInfo
from dfx.values import Transfer

HOST_CODECS = ("vp8", "vp9", "mjpeg")  # the rest is refused: "not supported by the CPU variant of this operator"
EIGHT_BITS = ("yuv420p", "yuvj420p")
TEN_BITS = ("yuv420p10le",)


@dataclass(frozen=True, slots=True)
class Engine:
    """What NVDEC takes of one codec.

    profiles: as FFmpeg names them, empty for all; smallest: pixels, width and height; largest: pixels a side, and that
    of the compute capabilities below `since_large`; since: compute capability for 8 bits, and `since_ten` for 10 bits
    (None: no GPU, or not as NV12).
    """

    profiles: tuple[str, ...]
    smallest: tuple[int, int]
    largest: int
    largest_before: int = 4096
    since_large: tuple[int, int] = (0, 0)
    since: tuple[int, int] = (5, 0)
    since_ten: tuple[int, int] | None = None


H264 = ("Baseline", "Constrained Baseline", "Main", "High", "Progressive High", "Constrained High")
# GP100, the chip of a P100 (6.0), decodes HEVC and VP9 up to 4096 a side and VP9 with 8 bits only.
ENGINES = {
    "h264": Engine(H264, (48, 16), 4096),
    "hevc": Engine(("Main", "Main 10"), (144, 144), 8192, 4096, (6, 1), since=(6, 0), since_ten=(6, 0)),
    "vp8": Engine((), (48, 16), 4096, since=(6, 1)),
    "vp9": Engine(("Profile 0", "Profile 2"), (128, 128), 8192, 4096, (6, 1), since=(6, 0), since_ten=(7, 5)),
}
# Codecs that NVDEC has and DALI's code does not serve, each with its reason.
NOT_THROUGH_DALI = {
    "av1": "DALI pairs a picture with every packet, and AV1 has packets that only show an earlier one",
    "mpeg4": "DALI pairs a picture with every packet, and MPEG-4 has packets without one",
    "mjpeg": "NVDEC tells DALI no range of its samples, and JPEG's is the full one",
    "mpeg1video": "DALI has no MPEG-1",
    "mpeg2video": "DALI has no MPEG-2",
    "vc1": "DALI has no VC-1",
    "wmv3": "DALI has no VC-1",
}


def suits(info: VideoInfo, capability: tuple[int, int] | None) -> str | None:
    """Why DALI cannot be trusted with a video; None where it can.

    capability: compute capability of the GPU, as (8, 6); None for DALI's CPU variant (HOST).
    """
    return _host(info) if capability is None else _shown(info) or _coded(info, capability)


def _host(info: VideoInfo) -> str | None:
    if info.codec not in HOST_CODECS:
        return f"DALI decodes {info.codec} on a GPU only; on a CPU it decodes {', '.join(HOST_CODECS)}"
    return None


def _shown(info: VideoInfo) -> str | None:
    """What is done to pictures on the CPU alone."""
    if info.mirrored:
        return "it is to be shown mirrored, which dfx does on the CPU"
    if info.stretch != 1:
        return f"its pixels are not square ({info.pixel_aspect}), and dfx stretches pictures on the CPU"
    if info.interlaced:
        return "it is interlaced, and dfx takes its fields apart on the CPU"
    if info.transfer != Transfer.SDR:
        return f"it is HDR ({info.transfer}), whose tones dfx brings to those of SDR on the CPU"
    return None


def _coded(info: VideoInfo, capability: tuple[int, int]) -> str | None:
    engine = ENGINES.get(info.codec)
    if engine is None:
        return NOT_THROUGH_DALI.get(info.codec, f"NVDEC has no {info.codec}")
    if engine.profiles and info.profile not in engine.profiles:
        return f"NVDEC decodes {info.codec} of the profiles {', '.join(engine.profiles)}; this is {info.profile!r}"
    return _format(info, engine, capability) or _size(info, engine, capability)


def _format(info: VideoInfo, engine: Engine, capability: tuple[int, int]) -> str | None:
    """4:2:0 alone: other sampling comes as a surface that DALI would read as NV12."""
    since = engine.since if info.pix_fmt in EIGHT_BITS else engine.since_ten if info.pix_fmt in TEN_BITS else None
    if since is None:
        return f"NVDEC through DALI decodes no {info.codec} with {info.pix_fmt}"
    if capability < since:
        has, needs = (".".join(map(str, pair)) for pair in (capability, since))
        return f"{info.codec} with {info.pix_fmt} needs compute capability {needs}; this GPU has {has}"
    return None


def _size(info: VideoInfo, engine: Engine, capability: tuple[int, int]) -> str | None:
    largest = engine.largest if capability >= engine.since_large else engine.largest_before
    (width, height), (least_width, least_height) = (info.width, info.height), engine.smallest
    if width < least_width or height < least_height or max(width, height) > largest:
        return (
            f"{width}x{height} pixels; NVDEC decodes {info.codec} from {least_width}x{least_height} "
            f"to {largest}x{largest}"
        )
    if width % 2 or height % 2:
        return f"{width}x{height} pixels; NVDEC's surfaces have even sides"
    return None
