"""Where a face's landmarks lie in the box that a detector draws: what turns a crop by box and margin into a template.

Example:
    python export/face_box.py ../shared/data/videos

prints the mean over the faces of dfx's detector, made symmetric, as IN_BOX below holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from one_line import OneLine
from tqdm import tqdm

from dfx.errors import InputError, VideoError
from dfx.find import find
from dfx.pipeline import Pipeline
from dfx.settings import Settings
from dfx.streams import note
from dfx.values import Track

Points = NDArray[np.float64]
MIRRORED = (1, 0, 2, 4, 3)  # the landmarks' order after a flip
IN_BOX = ((-0.172, -0.122), (0.172, -0.122), (0.0, 0.09), (-0.15, 0.251), (0.15, 0.251))
"""Eyes, nose, mouth corners from the box's middle, in units of its longer side, which is the height: the mean of 165
faces in 150 videos, with a spread of 0.056 from face to face."""


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("videos", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def main(videos: tuple[Path, ...]) -> None:
    """Print where the landmarks lie in the boxes of VIDEOS, and how much that varies from face to face.

    \b
    Example:
        python export/face_box.py ../shared/data/videos
    """
    pipeline = Pipeline(Settings(windows=1))
    paths = [item.path for item in find(list(videos)) if item.path is not None]
    found = [place for path in tqdm(paths) for place in places(tracks(pipeline, path))]
    if not found:
        raise InputError(f"no face in {len(paths)} videos; name videos with faces")
    points = np.stack(found)
    click.echo(f"{len(points)} faces; spread {points.std(axis=0).mean():.3f} of the box's longer side")
    click.echo(json.dumps([[round(float(x), 3) for x in point] for point in symmetric(points)]))


def tracks(pipeline: Pipeline, path: Path) -> list[Track]:
    """The faces of a video; none, and a line that says why, where it cannot be read."""
    try:
        return pipeline.tracks(path)[0]
    except VideoError as error:
        note(f"{path} is left out: {error}")
        return []


def places(tracks: list[Track]) -> Iterator[Points]:
    """For each track its mean landmarks from the box's middle, float64 [5, 2], in units of the box's longer side."""
    for track in tracks:
        middle = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
        side = (track.boxes[:, 2:] - track.boxes[:, :2]).max(axis=1)
        yield ((track.landmarks - middle[:, None]) / side[:, None, None]).mean(axis=0, dtype=np.float64)


def symmetric(points: Points) -> Points:
    """The mean of landmarks [N, 5, 2] about a middle and their mirror images: [5, 2]."""
    mean = points.mean(axis=0)
    return np.asarray((mean + mean[list(MIRRORED)] * (-1, 1)) / 2)


def template(margin: float) -> list[list[float]]:
    """The `dfx.crop_template` that shows of a face what its box, made square and wider by `margin` of its longer side
    on each side, would show on average."""
    return [[round(0.5 + x / (1 + 2 * margin), 4) for x in point] for point in IN_BOX]


if __name__ == "__main__":
    main()
