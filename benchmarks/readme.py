"""Writes the README's figures from the JSON of the benchmarks, so that none is typed: `python benchmarks/readme.py`.

`--check` changes nothing and fails where the README is behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Figures = dict[str, Any]
ROOT = Path(__file__).parents[1]
KERNELS = (
    ("the detector's picture", "letterbox", ""),
    *((f"a face of {face} pixels", "crop", f"-{face}") for face in (100, 300, 900)),
)
PLANS = "windows at keyframes", "as many windows spread evenly", "all frames"
BESIDE = (
    ("print, shirt", "main"),
    ("poster", "second, distant, lap"),
    ("framed, held", "on screen"),
    ("paused, glossy", "animated"),
    ("nested, blip", "listener"),
)
README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- figures: (\w+) -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)  # never over another mark


@click.command()
@click.option("--check", is_flag=True, help="Only say whether the README is current.")
def main(check: bool) -> None:
    """Put the figures of benchmarks/results into the README."""
    text = README.read_text(encoding="utf-8")
    wanted = PLACE.sub(lambda match: match[1] + SENTENCES[match[2]](_results(match[2])) + "\n" + match[3], text)
    if check and wanted != text:
        raise click.ClickException("README.md is behind benchmarks/results: run python benchmarks/readme.py")
    if not check:
        README.write_text(wanted, encoding="utf-8")


def whole_job(figures: Figures) -> str:
    """The sentence on the main job's speed and memory."""
    runs = figures["seconds_a_video_of_each_run"]
    return (
        f"Ten-second 1080p clips take **{figures['seconds_a_video']:.2f} s a video** (median of {len(runs)} runs of "
        f"{figures['videos']} videos, {_span(runs)}, start-up included) on "
        f"{figures['workers']} cores ({figures['machine']['cpu']}), and all processes together at most "
        f"{figures['peak_memory_mib']} MiB of memory."
    )


def shares(figures: Figures) -> str:
    """The sentence on where a video's time goes."""
    seconds = {name: value for name, value in figures["seconds"].items() if name != "networks"}
    whole = sum(seconds.values())
    parts = ", ".join(
        f"{name} {100 * seconds[name] / whole:.0f} %" for name in ("probe", "decode", "detect", "classify")
    )
    return (
        f"Of the {whole:.2f} s of one core that such a video takes: {parts}. The whole is {figures['ratio']:.2f} times "
        f"what cannot be spared, decoding the planned frames and running the networks "
        f"(medians of {len(figures['ratios'])} runs)."
    )


def decoding(figures: Figures) -> str:
    """The sentence on decoding beside other ways to the frames."""
    beside, frames = figures["plan_beside"], figures["frames"]
    names = {"torchcodec": "torchcodec", "decord": "decord", "opencv": "OpenCV"}
    peers = ", ".join(f"{1 / beside[key]:.1f} times as long by {name}" for key, name in names.items() if key in beside)
    return (
        f"Decoding the {frames['plan']} frames of such a plan, opening included, takes {beside['same_packets']:.2f} "
        f"times the CPU time of PyAV alone sending the same packets; {beside['as_many_decoded']:.2f} times that of "
        f"PyAV decoding as many frames from the beginning as the plan must decode ({frames['same_packets']}), and "
        f"{beside['as_many_frames']:.2f} times that of as many as it hands on. The same frames take {peers} "
        f"(medians of {figures['rounds']} rounds in turns)."
    )


def ops(figures: Figures) -> str:
    """The table on the kernels beside OpenCV."""
    medians = figures["microseconds"]
    rows = [
        f"| {what}, {depth[:-3]} bits | {ours:.0f} us | {theirs:.0f} us | {theirs / ours:.1f} |"
        for what, test, face in KERNELS
        for depth in ("8bit", "10bit")
        for ours, theirs in [[medians[f"test_{test}{by}[{depth}{face}]"] for by in ("", "_by_opencv")]]
    ]
    head = "| of a 1080p frame, on one thread | dfx | OpenCV, through a full RGB picture | times |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def linear(figures: Figures) -> str:
    """The sentence on how cost grows with the number of videos."""
    seconds, memory = figures["seconds_a_video"], figures["peak_memory_mib"]
    return (
        f"Runs of {', '.join(seconds)} such videos take {', '.join(f'{value:.3f}' for value in seconds.values())} s a "
        f"video beyond start-up, and {', '.join(map(str, memory.values()))} MiB of memory."
    )


def plans(figures: Figures) -> str:
    """The sentence on what windows at keyframes cost in accuracy."""
    parts = ", ".join(
        f"{each['auc']:.3f} and {each['log_loss']:.3f} with {name} ({each['packets']:.0f} packets and "
        f"{each['seconds']:.2f} s of one core a video)"
        for name, each in zip(PLANS, figures["plans"].values(), strict=True)
    )
    _, *others = figures["log_loss_over_keyframes"].values()
    changes = " and ".join(f"{low:+.3f} to {high:+.3f}" for _, low, high in others)
    shown = any(low > 0 or high < 0 for _, low, high in others)
    return (
        f"AUC and log loss on the {figures['videos']} labelled videos are {parts}. The other two change log loss by "
        f"{changes} (95 % of resamples): {'more than chance would' if shown else 'chance alone might'}. "
        "Some of the model was fitted on these videos: on others it is worse."
    )


def interlaced(figures: Figures) -> str:
    """The sentence on what interlacing leaves of a score."""
    off = {kind: f"{each['mean']:.3f} ({each['bias']:+.3f} with its sign)" for kind, each in figures["off"].items()}
    return (
        f"{figures['videos']} labelled videos, interlaced from pairs of pictures, score {off['interlaced']} off the "
        f"first pictures alone, in the mean; {off['woven']} where the file does not say that it is interlaced. "
        f"Encoding alone makes {off['marked']}."
    )


def supervision(figures: Figures) -> str:
    """The sentence on what supervision costs."""
    ratios = figures["ratios"]
    return (
        f"Supervision, journal and limits together add {100 * (figures['ratio'] - 1):.1f} % to the time of the bare "
        f"pipeline (median of {len(ratios)} pairs of runs of {figures['videos']} videos on one core, "
        f"{_span([100 * (ratio - 1) for ratio in ratios], '+.1f')} %)."
    )


def inspect(figures: Figures) -> str:
    """The sentence on what an inspection costs beside reading the packets alone."""
    ratio, ratios = figures["ratio"], figures["ratios"]
    return (
        f"Looking at {figures['videos']} videos takes {ratio['inspect']:.2f} times what reading their packets with "
        f"PyAV alone takes on as many processes, and {ratio['inspect_and_hash']:.2f} times with hashes (medians of "
        f"{len(ratios['inspect'])} rounds, {_span(ratios['inspect'])} and {_span(ratios['inspect_and_hash'])}; "
        f"{figures['workers']} cores). The command, which starts a Python of its own and makes hashes, takes "
        f"{ratio['command']:.2f} times as long ({_span(ratios['command'])})."
    )


def notebook(figures: Figures) -> str:
    """The sentence on dfx beside the notebooks' way."""
    ratios = figures["ratios"]
    return (
        f"On ten-second 1080p clips dfx is **{figures['ratio']:.1f} times** as fast as a pipeline in the manner of the "
        f"challenge's public notebooks ({figures['dfx_seconds_a_video']:.2f} s a video beside "
        f"{figures['notebook_seconds_a_video']:.2f} s; medians of {len(ratios)} pairs of runs of {figures['videos']} "
        f"videos in turns, {_span(ratios, '.1f')} times; {figures['machine']['cores']} cores, "
        f"{figures['machine']['cpu']}, load average {figures['load']:.1f} before)."
    )


def precision(figures: Figures) -> str:
    """The table on what each precision costs."""
    rows = [
        f"| {name.upper()} | {form['megabytes']:.2f} | {form['auc']:.3f} | {form['log_loss']:.3f} | "
        f"{form['largest']:.3f} | {'yes' if form['holds'] else '**no**'} |"
        for name, form in figures["forms"].items()
    ]
    head = "| precision | MB | AUC | log loss | largest change of a logit | `check.py` holds |"
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])


def gpu(figures: Figures) -> str:
    """The sentences on parity, speed and a long run on a GPU."""
    told = [text for sentence in SEEN_ON_A_GPU if (text := _known(sentence, figures))]
    return f"On an {figures['machine']['card'].split(',')[0]}:\n\n" + "\n\n".join(told)


def _known(sentence: Callable[[Figures], str], figures: Figures) -> str:
    """Nothing where a part of a run was cut, or has the reason why there is no figure."""
    try:
        return sentence(figures)
    except (KeyError, TypeError, ValueError, StopIteration):
        return ""


def _memory(figures: Figures) -> str:
    memory = figures["memory"]
    held, own = (", ".join(map(str, memory[name])) for name in ("card_mib", "worker_mib"))
    return (
        f"{memory['videos']} such clips in a row: {memory['videos_a_second']:.0f} a second. At every eighth of the run "
        f"its processes held {held} MiB of the card, and {own} MiB of the machine."
    ) + (
        f" Its cores had something to do {memory['cores_busy_percent']:.0f} % of the time, its decoding engines "
        f"{memory['decoders_busy_percent']:.0f} %."
        if "decoders_busy_percent" in memory
        else ""
    )


def _parity(figures: Figures) -> str:
    found = figures["parity"]
    apart, reasons = found["probability"], len(found["reasons_differ"])
    return (
        f"Of {found['videos']} videos {reasons} had another reason than on its CPUs, {found['clips_differ']} another "
        f"number of clips; probabilities were apart by {apart['median']:.4f} in the median, "
        f"{apart['largest']:.4f} at most."
    )


def turned(figures: Figures) -> str:
    """The sentence on videos that lie on their side or stand on their head."""
    first, videos = figures["0"], figures["videos"]
    back = sum(figures[turn]["turned_back"] for turn in ("90", "180", "270"))
    before = " and ".join(f"{figures[turn]['real_above_half_without']} by {turn} degrees" for turn in ("90", "180"))
    return (
        f"{first['turned_back']} of {videos} labelled videos are left as they are. Turned by 90, 180 and 270 degrees "
        f"without a word in the file, {back} of {3 * videos} are turned back, which gives the upright one's score. "
        f"Looked at as they lie, of {figures['real']} real videos {before} would score above 0.5 (upright "
        f"{first['real_above_half']}, by a model that was fitted on these very videos)."
    )


def altered(figures: Figures) -> str:
    """The table on what ordinary changes of a video, or a camera for HDR, make of its score."""
    rows = [
        f"| {name} | {found['real_above_half']} | {found['fake_above_half']} | {found['auc']:.2f} |"
        for name, found in figures["altered"].items()
    ]
    head = f"| the videos | real ones above 0.5, of {figures['real']} | fakes, of {figures['fake']} | AUC |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def false_faces(figures: Figures) -> str:
    """The table on what is dropped as no real face, and of people."""
    (first, *others), seeds = figures.values(), [*figures][1:]
    false, true = ([kind for pair in BESIDE for kind in pair[side].split(", ")] for side in (0, 1))
    lines = ["| false faces | dropped | | people | dropped |", "| --- | --- | --- | --- | --- |"]
    for left, right in BESIDE:
        lines.append(f"| {left} | {_dropped(first, left)} | | {right} | {_dropped(first, right)} |")
    lines.append(f"| **all** | {_share([first], false)} | | **all** | {_share([first], true)} |")
    with_videos = _share([first], [*true, "video"])
    return "\n".join(lines) + (
        f"\n\nThe real videos lose {_dropped(first, 'video')}; with their tracks it is {with_videos} people. Of other "
        f"tracks, on no face or on a part of one, {_dropped(first, 'stray')} are dropped. On other clips "
        f"(seeds {' and '.join(seeds)}, made after the constants were fixed) {_share(others, false)} false faces and "
        f"{_share(others, true)} people are dropped."
    )


def _dropped(found: Figures, kinds: str) -> str:
    return ", ".join("{} of {}".format(*found[kind]) for kind in kinds.split(", "))


def _share(several: list[Figures], kinds: list[str]) -> str:
    dropped, count = (sum(found[kind][place] for found in several for kind in kinds) for place in (0, 1))
    return f"{100 * dropped / count:.1f} % of {count}"


def simulated(figures: Figures) -> str:
    """The sentences on parity with a GPU as far as a CPU can tell."""
    planes, rgb = figures["planes"], figures["rgb"]
    codecs = ", ".join(f"{count} of {codec.upper()}" for codec, count in figures["as_on_a_gpu"].items())
    return (
        f"Of the {figures['videos']} videos {planes['videos']} are decoded as on a GPU ({codecs}), the others by the "
        f"CPU there too. Of those {len(planes['reasons_differ'])} have another reason than on the CPU, "
        f"{planes['clips_differ']} another number of clips; probabilities are apart by "
        f"{planes['probability']['median']:.4f} in the median, {planes['probability']['largest']:.4f} at most. On "
        f"DALI's RGB as it is, {rgb['beyond']['0.02']} would be more than 0.02 apart, by up to "
        f"{rgb['probability']['largest']:.4f}. The roundings of a GPU's networks come on top."
    )


def _stages(figures: Figures) -> str:
    """What the stages cost, one window after the other."""
    stage = figures["stages"]
    unmixed = f", and {stage['unmix_4_pictures']:.2f} to make planes of them" if "unmix_4_pictures" in stage else ""
    return (
        f"For four pictures the detector takes {stage['detect_4_pictures']:.1f} ms "
        f"({stage['letterbox_4_pictures']:.2f} to letterbox them{unmixed}), for a clip the classifier "
        f"{stage['classify_a_clip']:.1f} ms ({stage['crop_a_clip']:.2f} to crop it)."
    )


def _networks(figures: Figures) -> str:
    """The networks alone: by CUDA's provider, as CUDA graphs, and in torch."""
    stage, alone, torch = figures["stages"], figures["providers"], figures["torch"]
    wide, clip = ("x".join(map(str, shape)) for shape in (stage["canvas"], [1, *stage["clip"]]))
    square = next(name for name in alone if name.startswith("detector_cuda_graph")).split("_")[-2]
    return (
        f"The networks alone, FP32: detector {alone[f'detector_cuda_{wide}_ms']:.2f} ms by ONNX Runtime's CUDA "
        f"provider, {torch[f'detector_torch_{wide}_ms']:.2f} in torch {torch['torch'].split('+')[0]}; classifier "
        f"{alone[f'classifier_cuda_{clip}_ms']:.2f} and {torch[f'classifier_torch_{clip}_ms']:.2f}. As a CUDA graph "
        f"the classifier takes {alone[f'classifier_cuda_graph_{clip}_ms']:.2f} ms, and the detector, on a square "
        f"canvas, {alone[f'detector_cuda_graph_{square}_ms']:.2f} where it takes "
        f"{alone[f'detector_cuda_{square}_ms']:.2f} else."
    )


def _decoding(figures: Figures) -> str:
    found = figures["decode"]
    several = ", ".join(f"{found[f'dali_{lanes}_lanes']:.0f} by {lanes}" for lanes in (1, 4, 12))
    processes = found.get("dali_4_processes")
    together = f", and {processes:.0f} by four processes" if processes else ""
    return (
        f"Ten-second 1080p clips decoded alone, the default plan: {several} lanes of one process{together}, a second."
    )


def _whole(figures: Figures) -> str:
    alone = max(
        rate for name, rate in figures["decode"].items() if name.startswith("dali") and not isinstance(rate, str)
    )
    one, two, four = (figures["whole"][name] for name in ("1 process", "2 processes", "4 processes"))
    return (
        f"Through the whole pipeline went {one:.0f} of them a second in one process, {two:.0f} in two, {four:.0f} in "
        f"four (the default there: {100 * four / alone:.0f} % of decoding alone)."
    )


def _span(values: list[float], form: str = ".2f") -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def _results(name: str) -> Figures:
    figures: Figures = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return figures


SEEN_ON_A_GPU = (_parity, _decoding, _whole, _stages, _networks, _memory)
PLACED = (
    whole_job,
    shares,
    decoding,
    ops,
    linear,
    plans,
    supervision,
    inspect,
    notebook,
    precision,
    interlaced,
    gpu,
    simulated,
    turned,
    altered,
    false_faces,
)
SENTENCES = {sentence.__name__: sentence for sentence in PLACED} | {"hdr": altered, "gpu_h200": gpu}


if __name__ == "__main__":
    main()
