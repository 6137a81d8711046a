"""The report: what it says, what it must not hold, and, in a browser, what it does."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import dfx
import dfx.device
import dfx.predict
from dfx import report
from dfx.classify import Ensemble
from dfx.cli import main
from dfx.device import choose
from dfx.errors import InputError, MissingInputError, OutputError
from dfx.page import FALSE_ALARMS, HITS, LEFT_OUT, MEANINGS, VERDICTS, base_rates
from dfx.results import Predictions
from dfx.settings import MODELS, Settings
from dfx.values import ClipScore, Dropped, Prediction, Reason, Verdict
from dfx.views import FACE, MOST_BYTES, sharpness, webp

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>.mp4".replace("/", "\u2215")
SPOOFED = "harmless\u202e4pm.exe\n.mp4"
FRAMES = Ensemble(Settings().models).contract.clip_length
CLIP = ClipScore(0, 0.0, 0.5, (10.0, 20.0, 110.0, 140.0), 0.95, 1.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A folder of videos (one of them with markup in its name, one broken), scored, with journal and labels."""
    home = tmp_path_factory.mktemp("run")
    videos = home / "videos"
    shutil.copytree(samples, videos)
    shutil.copy(samples / "real.mp4", videos / HOSTILE)
    (videos / "broken.mp4").write_bytes(b"no video")
    dfx.predict_dir(videos, home / "s.csv", device="cpu", progress=False)
    labels = {"real.mp4": "REAL", "manipulated.mp4": "FAKE", HOSTILE: "REAL", "broken.mp4": "FAKE"}
    (home / "metadata.json").write_text(json.dumps({name: {"label": label} for name, label in labels.items()}))
    return home


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    """The report of that run, with pictures and labels."""
    out = run / "report.html"
    arguments = [run / "s.csv.journal", "--videos", run / "videos", "--labels", run / "metadata.json", "--out", out]
    done = CliRunner().invoke(main, ["report", *map(str, arguments), "--quiet"])
    assert done.exit_code == 0, done.output
    return out.read_text(encoding="utf-8")


def written(out: Path, *rows: Prediction, **more: Any) -> str:
    report.write(Predictions(rows), out, paths={}, settings=Settings(), progress=False, **more)
    return out.read_text(encoding="utf-8")


def test_it_says_what_it_must(page: str) -> None:
    for text in (
        "never proof, and never evidence against anyone",
        f"better than a coin, but not by much: {100 * FALSE_ALARMS:.0f} % of real videos",
        "Where fakes are rare, most alarms are false",
        "Nobody has measured it by skin colour",  # of the classifier's card
        "Statues, dolls, printed faces and screens are faces to it",  # of the detector's
        "The clips that drove it",
        "Score over time",
        "What makes this score unsure",
        "Confusion at 0.5",
        "ROC curve",
        "Calibration",
        "log loss",
        "0.01 to 0.99",
        "yuv420p",
    ):
        assert text in page, text


def test_what_the_page_quotes_is_what_the_card_says() -> None:
    card = " ".join((MODELS / "CLASSIFIER_CARD.md").read_text(encoding="utf-8").split())
    shares = f"{100 * FALSE_ALARMS:.0f} % of real videos score above 0.5, and {100 * HITS:.0f} % of fakes"
    assert shares in card, "then dfx.page.FALSE_ALARMS and HITS change too"
    (this,) = re.findall(r"\| [^|]*\(this file\) \|[^\n]*?\| (\d\.\d\d, \d\.\d\d) \| \d+ of", card)
    assert this == f"{FALSE_ALARMS:.2f}, {HITS:.2f}"


def test_base_rates_follow_bayes() -> None:
    half, *_, rare = base_rates(0.4, 0.546)
    assert half["right"] == pytest.approx(0.546 / 0.946)
    assert rare["false"] == pytest.approx(3996)
    assert rare["right"] < 0.002


def test_names_are_escaped_and_what_deceives_is_spelt_out(page: str, tmp_path: Path) -> None:
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page
    spoofed = written(tmp_path / "r.html", Prediction(SPOOFED, 0.5, Reason.CORRUPT, "<b>\u202e&\udcff"))
    assert "\u202e" not in spoofed
    assert r"harmless\u202e4pm.exe\n.mp4" in spoofed
    assert r"&lt;b&gt;\u202e&amp;\udcff" in spoofed


def test_it_needs_no_network(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z0-9]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "default-src &#39;none&#39;" in page


def test_four_hundred_videos_stay_below_30_megabytes(page: str) -> None:
    pictures = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    assert pictures
    assert max(map(len, pictures)) * 3 * report.PICTURES < 30e6, "one scene and two strips a video"
    text = len(re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    assert text < 150_000


def test_the_noisiest_picture_keeps_the_bound() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 8 * 160, 3), np.uint8)
    data = webp(noise, 128)
    assert len(data) < 1.2 * MOST_BYTES
    assert data[8:12] == b"WEBP"


def test_pictures_show_the_face_that_was_scored(page: str) -> None:
    import io

    image = pytest.importorskip("PIL.Image")
    strip = re.search(r'class="strip".*?base64,([A-Za-z0-9+/=]+)', page, re.DOTALL)
    assert strip
    assert image.open(io.BytesIO(base64.b64decode(strip[1]))).size == (FRAMES * FACE, FACE)


def test_a_strip_says_what_the_table_of_its_video_says(page: str) -> None:
    """The calibrated score, since a logit above 0 may stand for one below 0.5."""
    captions = re.findall(r"<figcaption>Face \d+, ([\d.]+) to ([\d.]+) s: (0\.\d{3}) by itself", page)
    assert captions
    for start, end, score in captions:
        assert f"<td>{start}\u2013{end}</td><td>{score}</td>" in page


def test_what_is_wrong_with_a_file_is_said_once(page: str) -> None:
    assert page.count("FFmpeg cannot read it") == 1


def test_every_reason_has_its_row(tmp_path: Path) -> None:
    rows = [Prediction(f"{reason}.mp4", 0.5, reason, f"about {reason}") for reason in Reason if reason != Reason.OK]
    page = written(tmp_path / "r.html", *rows, Prediction("fine.mp4", 0.9, Reason.OK, faces=1, clips=(CLIP,)))
    for row in rows:
        assert f">{row.filename}</button>" in page
        assert f"about {row.reason}" in page
    assert set(MEANINGS) == set(Reason)


def test_without_a_folder_and_without_labels_it_is_whole(run: Path, tmp_path: Path) -> None:
    report.from_journal(run / "s.csv.journal", tmp_path / "r.html", progress=False)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "no folder of videos was named" in page
    assert "image/webp" not in page
    assert "Against the labels" not in page


def test_missing_and_changed_videos_have_rows_without_pictures(run: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy2(run / "videos" / "real.mp4", videos)
    shutil.copy(run / "videos" / "no_face.mp4", videos / "manipulated.mp4")
    (videos / "no_face.mp4").symlink_to("no_face.mp4")  # a link to itself
    report.from_journal(run / "s.csv.journal", tmp_path / "r.html", videos=videos, progress=False)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("the file is not in the folder any more") == 3
    assert page.count("another size or date") == 1
    assert page.count('class="scene"') == 1


def test_a_journal_leads_to_no_file_outside_the_folder(run: Path, tmp_path: Path) -> None:
    outside, journal = tmp_path / "outside.mp4", tmp_path / "j"
    shutil.copy(run / "videos" / "real.mp4", outside)
    shutil.copy(run / "s.csv.journal", journal)
    with sqlite3.connect(journal) as connection:
        (row,) = connection.execute("SELECT row FROM videos WHERE filename = ?", [b"real.mp4"]).fetchone()
        state = outside.stat()
        values = (b"../outside.mp4", state.st_size, state.st_mtime_ns, json.dumps(json.loads(row) | {"filename": "x"}))
        connection.execute("INSERT INTO videos VALUES (?, ?, ?, 2, 'ok', 0.5, ?)", values)
        connection.execute("INSERT INTO asked VALUES (?, 1)", values[:1])
    connection.close()
    (tmp_path / "videos").mkdir()
    report.from_journal(journal, tmp_path / "r.html", videos=tmp_path / "videos", progress=False)
    assert "image/webp" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_its_rows_are_those_of_the_runs_csv(samples: Path, tmp_path: Path) -> None:
    """Not what an earlier run scored beside them; but those too that were not scored."""
    out, sample = tmp_path / "s.csv", tmp_path / "sample.csv"
    dfx.predict_dir(samples, out, device="cpu", progress=False)
    sample.write_text("filename,label\nreal.mp4,0.5\nmanipulated.mp4,0.5\nno_face.mp4,0.5\n")
    folder = shutil.copytree(samples, tmp_path / "fewer")
    (folder / "manipulated.mp4").unlink()
    dfx.predict_dir(folder, out, sample_submission=sample, device="cpu", progress=False)
    report.from_journal(f"{out}.journal", tmp_path / "r.html", progress=False)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    names = re.findall(r">(\w+\.mp4)</button>", page)
    assert sorted(names) == ["manipulated.mp4", "no_face.mp4", "real.mp4"]
    assert "no such file in the folder" in page


def test_a_video_that_breaks_its_worker_costs_only_its_pictures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfx.evidence import gather, request
    from dfx.process import Process, WorkerDied

    ask = Process.ask

    def dies(self: Process, item: dict[str, Any], seconds: float) -> dict[str, Any]:
        if item.get("path", "").endswith("real.mp4"):
            self.kill()
            raise WorkerDied(-11)
        return ask(self, item, seconds)

    monkeypatch.setattr(Process, "ask", dies)
    rows = {name: Prediction(name, 0.5, Reason.OK, clips=(CLIP,)) for name in ("real.mp4", "manipulated.mp4")}
    requests = {name: request(row, run / "videos" / name, 2) for name, row in rows.items()}
    sights = gather(requests, Settings(), dfx.Limits(), workers=1)
    assert "the process that opened it died (exit status -11)" in sights["real.mp4"]["problem"]
    assert sights["manipulated.mp4"]["scenes"]


def test_an_interruption_does_not_wait_for_what_is_left(run: Path) -> None:
    from dfx.evidence import gather, request

    def interrupted() -> None:
        seen.append(1)
        raise KeyboardInterrupt

    seen: list[int] = []
    row = Prediction("real.mp4", 0.5, Reason.OK, clips=(CLIP,))
    requests = {str(number): request(row, run / "videos" / "real.mp4", 2) for number in range(500)}
    with pytest.raises(KeyboardInterrupt):
        gather(requests, Settings(), dfx.Limits(), workers=1, done=interrupted)
    assert len(seen) == 1


def test_labels_put_errors_first_and_agree_with_score(page: str, run: Path) -> None:
    marks = re.findall(r'data-label="([^"]*)"', page)
    assert marks == sorted(marks, key=lambda mark: "wrong" not in mark)
    measured = dfx.score(run / "s.csv", run / "metadata.json")
    assert f"{measured.log_loss:.4f}" in page


def test_sharpness_falls_with_blur() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    blurred = np.repeat(np.repeat(clip[:, :, ::4, ::4], 4, 2), 4, 3)
    assert sharpness(clip) > sharpness(blurred) > sharpness(np.full_like(clip, 90)) == 0


def test_another_models_scores_are_not_passed_off_as_ours(run: Path, tmp_path: Path) -> None:
    from models import brightness_classifier

    other = brightness_classifier(tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"other\.onnx is not the model .*--model"):
        report.from_journal(run / "s.csv.journal", tmp_path / "r.html", models=(other,), progress=False)
    rows = Predictions((Prediction("a", 0.9, Reason.OK, clips=(CLIP,)),))
    report.write(rows, tmp_path / "r.html", paths={}, settings=Settings(models=(other,)), progress=False)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "% of real videos" not in page
    assert "knows nothing of its training or its errors" in page


def test_what_was_dropped_is_shown_with_the_reason(tmp_path: Path) -> None:
    tracks = tuple(Dropped(verdict, 0.0, 0.5, (200, 20, 240, 60), 0.8) for verdict in Verdict)
    page = written(tmp_path / "r.html", Prediction("a", 0.9, Reason.OK, faces=1, clips=(CLIP,), dropped=tracks))
    for verdict, meaning in VERDICTS.items():
        assert f"<td><code>{verdict}</code></td><td>{meaning}</td>" in page
    assert "40 \u00d7 40 at 200, 20" in page
    assert "poster 1" in page
    assert "A face was left out as a picture of a face" in page
    assert "What the detector hardly took for a face was left out" in page
    assert "There were more people than are scored" in page
    nothing = written(tmp_path / "r.html", Prediction("a", 0.9, Reason.OK, faces=1, clips=(CLIP,)))
    assert "Left out: no real face" not in nothing
    assert f"{LEFT_OUT}</dt><dd>none" in nothing


def test_an_older_journal_says_that_it_knows_of_no_dropped_tracks(run: Path, tmp_path: Path) -> None:
    journal = shutil.copy(run / "s.csv.journal", tmp_path)
    with sqlite3.connect(journal) as old:
        old.execute("UPDATE settings SET json = json_set(json, '$.journal', 2)")
        old.execute("UPDATE videos SET row = json_remove(row, '$.dropped')")
    old.close()
    report.from_journal(journal, tmp_path / "r.html", progress=False)
    assert "not noted in this journal" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_what_stands_in_the_way_is_said(run: Path, tmp_path: Path) -> None:
    journal = run / "s.csv.journal"
    (tmp_path / "notes").write_text("notes" * 1000)
    with pytest.raises(MissingInputError, match="no journal at"):
        report.from_journal(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be read as a journal"):
        report.from_journal(tmp_path / "notes")
    with pytest.raises(MissingInputError, match="--videos"):
        report.from_journal(journal, videos=tmp_path / "nowhere")
    with pytest.raises(OutputError, match="cannot write"):
        report.from_journal(journal, tmp_path / "no" / "folder.html")
    with pytest.raises(InputError, match="pictures is -1"):
        report.from_journal(journal, pictures=-1)
    with pytest.raises(InputError, match="workers is 0"):
        report.from_journal(journal, tmp_path / "r.html", videos=run / "videos", workers=0)
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match="0 labels"):
        report.from_journal(journal, tmp_path / "r.html", labels=tmp_path / "empty.json")
    assert not (tmp_path / "r.html").exists()


def test_reading_changes_no_journal(run: Path, page: str) -> None:
    before = (run / "s.csv.journal").read_bytes()
    report.from_journal(run / "s.csv.journal", run / "again.html", progress=False)
    assert (run / "s.csv.journal").read_bytes() == before
    assert not list(run.glob("*.lock"))


def test_predict_writes_it_too(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, chosen = tmp_path / "r.html", list[str]()
    for module in (dfx.device, dfx.predict):
        monkeypatch.setattr(module, "choose", lambda wanted, choose=choose: chosen.append(wanted) or choose(wanted))
    arguments = ["predict", run / "videos" / "real.mp4", "--out", tmp_path / "s.csv", "--report", page]
    done = CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu", "--quiet"])
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert "the CPU, as asked for" in text
    assert chosen == ["cpu"], "the device is chosen once, by the run"
    assert 'class="strip"' in text


# In a browser.


@pytest.fixture
def opened(browser: Any, run: Path, page: str) -> Iterator[Any]:
    """The page, opened; at the end, whatever it asked for or complained of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    tab.goto((run / "report.html").as_uri())
    yield tab
    context.close()
    assert wrong == []


def names(tab: Any) -> list[str]:
    return list(tab.locator("#table button.open:visible").all_inner_texts())


@pytest.mark.browser
def test_headings_sort_by_mouse_and_keyboard(opened: Any) -> None:
    head = opened.get_by_role("columnheader", name="Video", exact=True)
    head.get_by_role("button").click()
    assert names(opened) == [HOSTILE, "broken.mp4", "manipulated.mp4", "no_face.mp4", "real.mp4"]
    assert head.get_attribute("aria-sort") == "ascending"
    before = names(opened)
    opened.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert names(opened) == before[::-1]
    opened.get_by_role("columnheader", name="Score", exact=True).get_by_role("button").click()
    scores = opened.locator("#table > tbody").evaluate_all("bodies => bodies.map(body => +body.dataset.score)")
    assert scores == sorted(scores, reverse=True)
    assert head.get_attribute("aria-sort") is None


@pytest.mark.browser
def test_filters_narrow_the_table_and_say_so(opened: Any) -> None:
    count = opened.get_by_role("status")
    opened.get_by_label("Name contains").fill("MANI")
    assert names(opened) == ["manipulated.mp4"]
    assert count.inner_text() == "1 of 5 videos"
    opened.get_by_label("Reason").select_option("corrupt")
    assert names(opened) == []
    assert opened.get_by_text("No video is left by these filters").is_visible()
    opened.get_by_role("button", name="Show all").click()
    opened.get_by_text("5 of 5 videos").wait_for()
    opened.get_by_label("Score at least").fill("0")
    assert set(names(opened)) == {"manipulated.mp4", "real.mp4", HOSTILE}
    opened.get_by_label("Score at least").fill("")
    opened.get_by_label("Label", exact=True).select_option("none")
    assert names(opened) == ["no_face.mp4"]


@pytest.mark.browser
def test_a_name_opens_its_evidence(opened: Any) -> None:
    button = opened.get_by_role("button", name="real.mp4", exact=True)
    button.focus()
    opened.keyboard.press("Enter")
    row = opened.locator(f"#{button.get_attribute('aria-controls')}")
    assert button.get_attribute("aria-expanded") == "true"
    assert row.get_by_text("The clips that drove it").is_visible()
    width = row.locator(".strip img").first.evaluate("async image => (await image.decode(), image.naturalWidth)")
    assert width == FRAMES * FACE
    assert row.locator(".scene rect").count() >= 1
    opened.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert not row.is_visible()


@pytest.mark.browser
def test_markup_in_a_name_is_text(opened: Any) -> None:
    button = opened.locator("button.open", has_text="onerror")
    assert button.inner_text() == HOSTILE
    button.click()
    assert opened.locator("img[src=x]").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_is_wider_than_the_window(browser: Any, run: Path, page: str, width: int, scheme: str) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.goto((run / "report.html").as_uri())
    for button in tab.locator("button.open").all():
        button.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(244, 245, 247)"
    assert light == (scheme == "light")
    tab.close()
