"""Other libraries that decode on a GPU, at the frames of a plan, on one thread: what `gpu.py` compares DALI with.

A peer that is not installed, or cannot serve, is its reason. None of them has run on a card here yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dfx.info import VideoInfo
from dfx.values import Plan

VIDEOS = 16
Read = Callable[[str, Sequence[int]], object]


def rates(info: VideoInfo, chosen: Plan) -> dict[str, float | str]:
    """Videos a second of each peer, opening the file included, as a plan's decoder has it, and no scan of its packets,
    which is a plan's, not its decoder's."""
    indices = [int(index) for window in chosen.windows for index in window.frames]
    return {name: _rate(read, str(info.path), indices) for name, read in PEERS.items()}


def _rate(read: Read, path: str, indices: Sequence[int]) -> float | str:
    try:
        read(path, indices)  # the driver and the decoder's session are made by the first
        started = time.perf_counter()
        for _ in range(VIDEOS):
            read(path, indices)
        return round(VIDEOS / (time.perf_counter() - started), 2)
    except Exception as error:  # the other figures are still worth their time
        return f"{type(error).__name__}: {error}"[:200]


def torchcodec(path: str, indices: Sequence[int]) -> object:
    """RGB, by FFmpeg's NVDEC."""
    import torch
    from torchcodec.decoders import VideoDecoder

    batch = VideoDecoder(path, device="cuda", seek_mode="approximate").get_frames_at(list(indices)).data
    torch.cuda.synchronize()
    return batch


def pynvvideocodec(path: str, indices: Sequence[int]) -> object:
    """RGB, by NVIDIA's own binding; a frame that is handed out has been decoded."""
    import PyNvVideoCodec

    colour = PyNvVideoCodec.OutputColorType.RGB
    decoder = PyNvVideoCodec.SimpleDecoder(path, gpu_id=0, use_device_memory=True, output_color_type=colour)
    return decoder.get_batch_frames_by_index(list(indices))


PEERS: dict[str, Read] = {"torchcodec_1_thread": torchcodec, "pynvvideocodec_1_thread": pynvvideocodec}
