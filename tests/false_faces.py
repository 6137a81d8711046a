"""A labelled set of false faces, and how the clean-up of tracks does on it: python tests/false_faces.py [--data DIR].

Every case is a small H.264 clip whose two halves lie seconds apart, as the two windows of a ten-second clip do. In it
stand people who move as people do, and what is no person: see `STAGES` and the four generators. Without DIR
(../shared/data) the people are the astronaut of scikit-image (public domain), brought to life by a warp; with it they
are real talking heads, the portraits are of LFW, and all its REAL videos of one person count too. The set has two
parts that share no person, portrait or surface (`casting`): constants are chosen on `tune`, figures are of `measure`.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from casting import PARTS, SEVERAL, Cast
from clips import encode
from stages import HALF, RATE, Case, Stage, camera, cloth, screen
from studio import studio

from dfx.files import write_bytes
from dfx.pipeline import Pipeline
from dfx.values import Followed, Track, Verdict

STAGES: dict[str, tuple[Stage, tuple[str, ...], tuple[str, ...]]] = {  # name: generator, kinds of false and true faces
    "studio": (studio, ("print", "poster", "nested", "blip"), ("second",)),
    "camera": (camera, ("framed", "held"), ("distant",)),
    "cloth": (cloth, ("shirt",), ("lap",)),
    "screen": (screen, ("paused", "glossy"), ("on screen", "listener", "animated")),
}
FALSE = tuple(kind for _, false, _ in STAGES.values() for kind in false)
TRUE = ("main", *(kind for _, _, true in STAGES.values() for kind in true), "video")


@dataclass(frozen=True)
class Outcome:
    """What became of one track as it was linked: its kind, and why it was dropped, if it was."""

    case: str
    kind: str
    verdict: Verdict | None


def cases(stage: str, count: int, folder: Path | None, part: str, seed: int = 0) -> Iterator[Case]:
    """`count` cases of each kind of false and of true second faces of one generator."""
    make, false, true = STAGES[stage]
    for kind in (*false, *true):
        for number in range(count):
            rng = np.random.default_rng([PARTS.index(part), seed, number, *kind.encode()])
            yield make(f"{stage} {kind} {number}", kind, Cast(folder, part, rng), rng)


def encoded(case: Case, path: Path) -> Path:
    """Writes a case as a video whose two halves begin with keyframes."""
    options = {"g": str(HALF), "keyint_min": str(HALF), "sc_threshold": "0", "preset": "fast", "crf": str(case.crf)}
    return encode(path, case.pictures, rate=RATE, **options)


def judged(pipeline: Pipeline, case: Case, folder: Path) -> list[Outcome]:
    """Encodes a case, and says what became of each of its tracks."""
    path = encoded(case, folder / "case.mp4")
    seen = [(followed, _kind(case, followed.track)) for followed in pipeline.followed(path)[0]]
    return [Outcome(case.name, _surest(each, kind, seen), each.verdict) for each, kind in seen]


def _surest(each: Followed, kind: str, seen: list[tuple[Followed, str]]) -> str:
    """The kind, but "stray" for all but the surest of a window's detections of one person."""
    start = each.track.index[0]
    same = [other for other, its in seen if its == kind and other.track.index[0] == start]
    return kind if kind not in TRUE or each is max(same, key=_presence) else "stray"


def _presence(each: Followed) -> float:
    return float((each.track.scores * each.track.detected).sum())


def _kind(case: Case, track: Track) -> str:
    """Whose box it is: the smallest drawn picture that its middle lies in and that it does not outgrow."""
    row = int(np.flatnonzero(track.detected)[0])
    frame, box = int(track.index[row]), track.boxes[row]
    x, y = (box[:2] + box[2:]) / 2
    side = float(box[2] - box[0])
    found = []
    for kind, places in case.places.items():
        place = places[frame]
        most = 1.2 if kind in TRUE else 1.0  # a head may fill more than its square; a portrait has a margin
        if place and place[0] < x < place[2] and place[1] < y < place[3] and side < most * (place[2] - place[0]):
            found.append((place[2] - place[0], kind))
    return min(found)[1] if found else "elsewhere"


def videos(pipeline: Pipeline, folder: Path) -> Iterator[Outcome]:
    """The REAL videos of one person: the surest, largest face of a window is theirs; what else is seen is false."""
    for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        if row["label"] == "REAL" and not row["filename"].startswith(SEVERAL):
            seen, _ = pipeline.followed(folder / row["filename"])
            for start in sorted({int(each.track.index[0]) for each in seen}):
                window = [each for each in seen if each.track.index[0] == start]
                main = max(window, key=_presence)
                for each in window:
                    yield Outcome(row["filename"], "video" if each is main else "stray", each.verdict)


def table(outcomes: list[Outcome]) -> str:
    """A row a kind: tracks, how many were dropped, and by which rules."""
    lines = [f"{'kind':10} {'tracks':>6} {'dropped':>8}  why"]
    for kind in dict.fromkeys([*FALSE, "stray", "elsewhere", *TRUE]):
        those = [each for each in outcomes if each.kind == kind]
        if those:
            why = Counter(str(each.verdict) for each in those if each.verdict)
            lines.append(f"{kind:10} {len(those):6} {sum(why.values()) / len(those):8.1%}  {dict(why)}")
    for name, kinds in (("false, made", FALSE), ("false, with strays", (*FALSE, "stray")), ("true", TRUE)):
        share, count = dropped(outcomes, kinds)
        lines.append(f"all {name}: {share:.1%} of {count}")
    return "\n".join(lines)


def dropped(outcomes: list[Outcome], kinds: tuple[str, ...]) -> tuple[float, int]:
    """The share of the tracks of these kinds that was dropped, and how many there are."""
    those = [each for each in outcomes if each.kind in kinds]
    return sum(each.verdict is not None for each in those) / max(1, len(those)), len(those)


@click.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(__file__).parents[2] / "shared/data",
    help="Real talking heads, portraits and videos; without them people are drawn.",
)
@click.option("--part", type=click.Choice(PARTS), default="measure", show_default=True, help="Which half of the cast.")
@click.option("--stage", "stages", type=click.Choice(list(STAGES)), multiple=True, help="Only these generators.")
@click.option("--count", default=10, show_default=True, help="Cases of each kind.")
@click.option(
    "--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="Others make other cases."
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="File for the counts.")
def main(
    folder: Path, part: str, stages: tuple[str, ...], count: int, seeds: tuple[int, ...], out: Path | None
) -> None:
    """Print what the clean-up of tracks drops of the labelled set, by kind and rule; the videos with the first seed."""
    data = folder if folder.is_dir() else None
    if data is None:
        click.echo(f"{folder} is not there: people are drawn, and these are not the README's figures", err=True)
    given = data, part, stages or tuple(STAGES), count
    found = {seed: measured(*given, seed, seed == seeds[0] and not stages) for seed in seeds}
    for seed, outcomes in found.items():
        click.echo(f"seed {seed}\n{table(outcomes)}")
        for each in outcomes:
            if (each.kind in TRUE) == (each.verdict is not None) and each.kind != "elsewhere":
                click.echo(f"{'lost' if each.verdict else 'left'}: {each.case}, {each.kind}, {each.verdict or 'kept'}")
    if out is not None:
        write_bytes(out, json.dumps({str(seed): counts(each) for seed, each in found.items()}, indent=1).encode())


def measured(
    folder: Path | None, part: str, stages: tuple[str, ...], count: int, seed: int, with_videos: bool
) -> list[Outcome]:
    """What became of every track of the cases of a seed, and of the real videos."""
    pipeline, outcomes = Pipeline(), list[Outcome]()
    with tempfile.TemporaryDirectory() as place:
        for stage in stages:
            for case in cases(stage, count, folder, part, seed):
                outcomes += judged(pipeline, case, Path(place))
    if folder is not None and with_videos:
        outcomes += videos(pipeline, folder / "videos")
    return outcomes


def counts(outcomes: list[Outcome]) -> dict[str, tuple[int, int]]:
    """Of each kind how many tracks were dropped, and how many there are."""
    lost = Counter(each.kind for each in outcomes if each.verdict is not None)
    return {kind: (lost[kind], count) for kind, count in sorted(Counter(each.kind for each in outcomes).items())}


if __name__ == "__main__":
    main()
