"""Builds TensorRT engines of dfx's networks for the GPU that it runs on, each with a manifest of what it is for.

Examples:
    python export/build_engines.py --out engines
    python export/build_engines.py mine.onnx --out engines --standalone
    dfx predict videos --device tensorrt --engines engines

An engine is an ONNX file with TensorRT's plan inside (ONNX Runtime's EPContext), for `dfx predict`. --standalone also
writes the plan alone, as a .engine file, through Polygraphy, for those who serve with something else. Both take the
shapes that dfx feeds, and the precision of the graph (export/to_onnx.py); TF32 is off. It takes minutes a model.

Needs a GPU from Turing on and `pip install ".[gpu-cu13,tensorrt-cu13]"` (or cu12 twice), for --standalone `export-trt`
too. On a machine with several GPUs, choose by CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from one_line import OneLine

from dfx.device import choose
from dfx.errors import DependencyError, DeviceError, ModelError
from dfx.infer import nvinfer
from dfx.infer.build import build, cast_first, load, shapes_of, store
from dfx.infer.contract import Shapes
from dfx.infer.engines import Engine, Fingerprint, engine_of, place
from dfx.origin import install
from dfx.settings import Settings

SHIPPED = (Settings().detector, *Settings().models)


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", type=click.Path(path_type=Path), nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--standalone", is_flag=True, help="Also write a .engine file, through Polygraphy.")
@click.option("--again", is_flag=True, help="Build what is there already, too.")
def main(models: tuple[Path, ...], out: Path, standalone: bool, again: bool) -> None:
    """Build engines of MODELS, ONNX files with dfx's contract; of the two that ship where none is named.

    \b
    Example:
        python export/build_engines.py --out engines
    """
    choose("tensorrt:0")
    for model in models or SHIPPED:
        _report(model, out, again)
        if standalone:
            path = build_standalone(model, out).path
            click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _report(model: Path, folder: Path, again: bool) -> None:
    started = time.monotonic()
    engine = None if again else _fitting(model, folder)
    if engine is not None:
        click.echo(f"{engine.path}: fits this GPU, driver and model already; --again builds it anew")
        return
    path = build(model, folder, 0).path
    click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB, built in {time.monotonic() - started:.0f} s")


def _fitting(model: Path, folder: Path) -> Engine | None:
    try:
        engine = engine_of(model, folder, 0)
        engine.check_shapes(shapes_of(load(model), model))
    except DeviceError:
        return None
    return engine


def build_standalone(model: Path, folder: Path) -> Engine:
    """Builds a .engine file for the first GPU, and its manifest, in a folder.

    Raises:
        DependencyError: Polygraphy or TensorRT's Python module is missing. ModelError: TensorRT cannot build it.
        DeviceError: no TensorRT, or the module and the library are of different versions.
    """
    here, source = Fingerprint.here(model, 0), load(model)
    shapes = shapes_of(source, model)
    content = plan_of(cast_first(source, model).SerializeToString(), shapes, model)
    folder.mkdir(parents=True, exist_ok=True)
    return store(content, place(model, folder, here).with_suffix(".engine"), here, shapes)


def plan_of(content: bytes, shapes: Shapes, model: Path) -> bytes:
    """TensorRT's serialised plan of an ONNX file's bytes, for these shapes alone, in the types of its graph."""
    try:
        import tensorrt
        from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxBytes, Profile
        from polygraphy.exception import PolygraphyException
    except ImportError as error:
        needed = f"{install('export-trt')}, and {nvinfer.EXTRA}"
        raise DependencyError(f"standalone engines need Polygraphy and TensorRT ({error}): {needed}") from error
    if not tensorrt.__version__.startswith(nvinfer.release()):
        raise DeviceError(
            f"TensorRT's Python module is {tensorrt.__version__} and its library {nvinfer.release()}: {nvinfer.EXTRA}"
        )
    profile = Profile()
    for name, shape in shapes.items():
        profile.add(name, min=shape, opt=shape, max=shape)
    network = NetworkFromOnnxBytes(content, strongly_typed=True)
    try:
        return bytes(EngineBytesFromNetwork(network, config=CreateConfig(profiles=[profile], tf32=False))())
    except PolygraphyException as error:
        raise ModelError(f"{model.name}: TensorRT cannot build it: {error}") from error


if __name__ == "__main__":
    main()
