"""Extract: files made of videos, frames or sound, each video in a child process, and a row a video on what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfx.contain import contained
from dfx.errors import OutputError
from dfx.files import replace_file
from dfx.find import Found, find
from dfx.messages import Message
from dfx.settings import Limits
from dfx.streams import bar
from dfx.table import Row, Tabular

if TYPE_CHECKING:
    from dfx.charts import Chart


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one video: files written, files that were there already, and what there is to say.

    failed: the video could not be served; then note says why.
    """

    filename: str
    written: int = 0
    kept: int = 0
    note: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Extracted(Tabular):
    """A row a video, sorted by name."""

    items: tuple[Made, ...]

    def columns(self) -> tuple[str, ...]:
        """The video, the files written, the files that were there already, and what there is to say."""
        return ("filename", "written", "kept", "note")

    def rows(self) -> Iterator[Row]:
        """A row a video."""
        return ((item.filename, item.written, item.kept, item.note) for item in self.items)

    def charts(self) -> tuple[Chart, ...]:
        """The files that each video has now."""
        from dfx.charts import bars_chart

        return (bars_chart("Files of a video", [(item.filename, item.written + item.kept) for item in self.items]),)

    @property
    def written(self) -> int:
        """Files written, over all videos."""
        return sum(item.written for item in self.items)

    @property
    def kept(self) -> int:
        """Files that were there already, over all videos."""
        return sum(item.kept for item in self.items)

    @property
    def failed(self) -> list[Made]:
        """The videos that could not be served."""
        return [item for item in self.items if item.failed]


def extract(
    task: str,
    options: dict[str, Any],
    source: str | Path | Sequence[str | Path],
    out: Path,
    limits: Limits,
    *,
    workers: int | None,
    follow: bool,
    progress: bool,
) -> Extracted:
    """Has a task done on each video that is found; its files go below `out`, where the video lies below its source.

    Raises MissingInputError, InputError, OutputError, or as the task does on its options.
    """
    found = find(source, follow_symlinks=follow)
    stems = _stems(found, out)
    jobs = [{"path": str(item.path), "stem": str(stem)} for item, stem in zip(found, stems, strict=True)]
    made, files = dict[int, Made](), 0
    with bar(total=len(jobs), unit="video", shown=progress) as shown:
        for place, answer in contained(task, options, jobs, limits, workers):
            made[place] = _made(found[place], answer)
            files += made[place].written
            shown.set_postfix_str(f"{files} files", refresh=False)
            shown.update()
    return Extracted(tuple(made[place] for place in range(len(found))))


def save(file: Path, data: bytes) -> None:
    """Writes a file whole or not at all, so that a run that is cut leaves nothing half written to be kept."""
    try:
        replace_file(file, data)
    except OSError as error:
        raise OutputError(f"cannot write {file} ({error.strerror or error})") from error


def _stems(found: Sequence[Found], out: Path) -> list[Path]:
    """Where the files of each video go: its name without the ending, unless that is another's too; folders are made."""
    bare = [Path(item.filename).with_suffix("") for item in found]
    taken = Counter([*bare, *(Path(item.filename) for item in found if Path(item.filename).suffix)])
    stems = [out / (item.filename if taken[stem] > 1 else stem) for item, stem in zip(found, bare, strict=True)]
    try:
        for folder in {stem.parent for stem in stems}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make a folder in {out} ({error.strerror}); name one that can be written") from error
    return stems


def _made(item: Found, answer: Message) -> Made:
    if "reason" in answer:
        return Made(item.filename, note=f"{answer['reason']}: {answer['detail']}", failed=True)
    return Made(item.filename, answer["written"], answer["kept"], answer["note"])
