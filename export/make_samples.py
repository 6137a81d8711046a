"""Makes the sample clips that ship in dfx/samples, from public-domain NASA pictures that scikit-image carries.

Example:
    python export/make_samples.py --out dfx/samples

`real.mp4` is a photograph of Eileen Collins seen by a moving camera. `manipulated.mp4` is the same shot with a
self-blended face (Shiohara and Yamasaki, CVPR 2022): a warped, recoloured copy of the face blended back over itself,
whose mask lags behind the camera. `no_face.mp4` is a rocket on its pad. Needs scikit-image (`pip install ".[dev]"`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import click
import numpy as np
from numpy.typing import NDArray
from one_line import OneLine
from skimage import data
from skimage.transform import AffineTransform, warp

from dfx.outputs import check_ours

Picture = NDArray[np.floating[Any]]
FRAMES, RATE, HEIGHT, WIDTH = 75, 25, 360, 480
CRF = 20  # x264's rate factor: as a phone or an upload would look
OURS = rb".{4}ftypisom.*x264 - core .* threads=1 .* rc=crf .* crf=%d\.0 " % CRF
"""How a file of `encode` begins, as a regular expression: MP4, and what x264 says of itself."""
FACE_CENTRE, FACE_RADII = (222.0, 118.0), (47.0, 62.0)  # x, y pixels of the astronaut picture, read off by eye


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="dfx/samples", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, seed: int) -> None:
    """Write real.mp4, manipulated.mp4 and no_face.mp4 to the folder --out, each whole or not at all.

    Files of these names there are replaced if they begin as this script writes them, and else refused before any work.

    \b
    Example:
        python export/make_samples.py --out dfx/samples
    """
    person, rocket = data.astronaut() / 255.0, data.rocket() / 255.0
    shots: dict[str, Callable[[int], Picture]] = {
        "real": lambda frame: camera(person, frame, (256, 190), seed),
        "manipulated": lambda frame: camera(self_blended(person, frame), frame, (256, 190), seed),
        "no_face": lambda frame: camera(rocket, frame, (320, 213), seed),
    }
    for name in shots:
        check_ours(out / f"{name}.mp4", OURS)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as work:
        made = [encode(Path(work, f"{name}.mp4"), map(shot, range(FRAMES))) for name, shot in shots.items()]
        for clip in made:
            clip.replace(out / clip.name)


def camera(picture: Picture, frame: int, centre: tuple[float, float], seed: int) -> Picture:
    """What a hand-held, slowly zooming camera sees: float64 [HEIGHT, WIDTH, 3] in 0..1, with sensor noise."""
    time = frame / RATE
    scale = 0.82 - 0.03 * time
    x = centre[0] + 12 * np.sin(0.9 * time) + 1.5 * np.sin(7.1 * time)
    y = centre[1] + 7 * np.sin(1.3 * time + 1) + 1.2 * np.sin(6.3 * time)
    matrix = AffineTransform(scale=scale, translation=(x - scale * WIDTH / 2, y - scale * HEIGHT / 2))
    seen = warp(picture, matrix, output_shape=(HEIGHT, WIDTH), mode="edge")
    noise = np.random.default_rng([seed, frame]).normal(0, 0.008, seen.shape)
    return np.asarray(np.clip(seen + noise, 0, 1))


def self_blended(picture: Picture, frame: int) -> Picture:
    """The picture with a warped, recoloured copy of its face blended over it; the mask flickers and lags."""
    angle = np.deg2rad(3 + np.sin(0.8 * frame))
    turn = AffineTransform(scale=0.93, rotation=angle, translation=_about(FACE_CENTRE, 0.93, angle))
    copy = np.clip(warp(picture, turn, mode="edge") * (1.06, 0.98, 0.9) + 0.02, 0, 1)
    mask = _ellipse(picture.shape[:2], (FACE_CENTRE[0] + 2 * np.sin(0.5 * frame), FACE_CENTRE[1] + 2), FACE_RADII)
    return np.asarray(picture + mask[..., None] * (copy - picture))


def _about(centre: tuple[float, float], scale: float, angle: float) -> tuple[float, float]:
    x, y = centre
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return x - (cos * x - sin * y), y - (sin * x + cos * y)


def _ellipse(shape: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]) -> Picture:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot((columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1])
    return np.asarray(np.clip((1.08 - distance) / 0.16, 0, 1))


def encode(path: Path, pictures: Iterable[Picture]) -> Path:
    """Writes H.264 at a fixed quality: pictures float [HEIGHT, WIDTH, 3] in 0..1 as MP4. Returns the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": str(CRF), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures:
            pixels = np.round(picture * 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
