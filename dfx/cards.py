"""What a GPU is expected to need for a video: published rates of the cards, and all of the arithmetic. A projection.

Nothing here was measured on a GPU. What is measured is a video on one core of this machine; a card's part of it is
scaled by published rates, and what no one publishes is an assumption that is named as one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfx.errors import InputError

FULL_HD = 1920 * 1080
"""Pixels of the pictures that NVDEC's rates are published for."""

BYTES_A_PIXEL = 14.0
"""Of a card's memory, a decoded pixel, written and read: NV12 (2 x 1.5), DALI's RGB (2 x 3), what becomes chroma of it
(2 x 1), and planes (2 x 1.5)."""

SHARE_OF_PEAK = 0.1
"""Assumption: small networks, a video at a time, reach this share of a card's peak rate of arithmetic."""

SHARE_OF_DECODER = 0.5
"""Assumption: an engine reaches this share of its published rate, since it begins anew at every window."""

START_SECONDS = 60.0
"""Assumption: contexts, kernels and models are ready by then."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card and the machine that it is usually rented with.

    engines: NVDEC units; frames: of H.264 at 1080p a second and engine; bandwidth: bytes/s of memory; flops: FP32
    operations/s without tensor cores, which is how dfx's FP32 models run; cores: of the usual machine.
    """

    name: str
    engines: int
    frames: float
    bandwidth: float
    flops: float
    cores: int


# engines: NVIDIA, "Video Encode and Decode GPU Support Matrix"; for the H100 its datasheet.
# frames: NVIDIA, "NVDEC Application Note", Video Codec SDK 13.0, table of performance, by architecture (Pascal 694,
#   Turing 771, Ampere 748, Ada 903). It was not read for Hopper: the H100 is given Ampere's.
# bandwidth, flops: NVIDIA's datasheets of the Tesla P100 PCIe 16 GB, T4, L4, A100 40 GB PCIe and H100 SXM; only the
#   T4's and the A100's were looked up again (in public tables) when this was written.
# cores: virtual ones of Kaggle's notebook with a P100 (4), and of Google Cloud's smallest machine with one card:
#   n1-standard-4, g2-standard-4, a2-highgpu-1g, a3-highgpu-1g.
CARDS = {
    "p100": Card("Tesla P100", engines=1, frames=694, bandwidth=732e9, flops=9.3e12, cores=4),
    "t4": Card("T4", engines=2, frames=771, bandwidth=320e9, flops=8.1e12, cores=4),
    "l4": Card("L4", engines=4, frames=903, bandwidth=300e9, flops=30.3e12, cores=4),
    "a100": Card("A100", engines=5, frames=748, bandwidth=1555e9, flops=19.5e12, cores=12),
    "h100": Card("H100", engines=7, frames=748, bandwidth=3350e9, flops=67e12, cores=26),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What a video is, on average, and what it took of one core of this machine. All a video.

    packets_pixels: pixels of all packets sent to the decoder; frames_pixels: of the pictures handed on; probing:
    seconds that the cores share; linking: seconds of Python that one process does alone; networks: seconds; flops:
    operations/s that one core of this machine reaches in a product of matrices.
    """

    packets_pixels: float
    frames_pixels: float
    probing: float
    linking: float
    networks: float
    flops: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Seconds a video of each thing that a card's machine has one of, or a few: they work at the same time."""

    host: float
    python: float
    engines: float
    arithmetic: float
    memory: float

    @property
    def parts(self) -> dict[str, float]:
        """By name, for people."""
        return {
            "containers, on the cores": self.host,
            "Python of one process": self.python,
            "NVDEC": self.engines,
            "networks": self.arithmetic,
            "memory": self.memory,
        }

    @property
    def expected(self) -> float:
        """Seconds a video when all overlap: the slowest part is the pace."""
        return max(self.parts.values())

    @property
    def bound(self) -> float:
        """Seconds a video when nothing overlaps."""
        return sum(self.parts.values())


def card_named(name: str) -> Card:
    """Raises InputError for a card that is not in the table."""
    try:
        return CARDS[name.lower()]
    except KeyError:
        raise InputError(f"card is {name!r}; one of {', '.join(CARDS)} is needed") from None


def project(work: Work, card: Card) -> Projection:
    """The arithmetic.

    The networks' operations are not counted but inferred: what one core of this machine could have done in their time,
    which overstates them, since no network reaches the rate of a product of matrices.
    """
    return Projection(
        host=work.probing / card.cores,
        python=work.linking,
        engines=work.packets_pixels / (FULL_HD * card.frames * SHARE_OF_DECODER * card.engines),
        arithmetic=work.networks * work.flops / (card.flops * SHARE_OF_PEAK),
        memory=work.frames_pixels * BYTES_A_PIXEL / card.bandwidth,
    )
