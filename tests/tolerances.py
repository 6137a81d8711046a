"""Every tolerance that a test allows, with its reason. No other file of the tests holds one."""

from __future__ import annotations

SINGLE_PRECISION = 1e-5
"""Relative: sums of a few thousand float32 values, taken in another order."""

GREY_LEVEL = 1
"""Levels: fixed point against double precision; a value near a half may be rounded either way."""

OPENCV_MEAN = 0.25
"""Levels, mean: OpenCV repeats chroma samples where dfx interpolates, and rounds positions to 1/32 pixel."""

ANTIALIASED = 16
"""Levels of 255: what a box filter that need not span whole periods may leave of a checkerboard of single pixels."""

SUBPIXEL = 0.02
"""Pixels (or levels on a gentle slope): positions are kept in float32 and in steps of 1/1024 pixel."""

SCORE_BETWEEN_PROCESSORS = 0.02
"""Probability: ONNX Runtime sums in another order on processors with other instruction sets."""

CODED_GREY = 2.5
"""Grey levels: what a video encoder at high quality may change of a plain colour."""

DOUBLE_PRECISION = 1e-12
"""Absolute: sums of a few dozen float64 values of about one, taken in another order."""

HALF_PIXEL = 0.5
"""Pixels: a face's place is not known better than that."""

EXPORT = 1e-4
"""Logits of one network in torch and in ONNX Runtime, or with its normalisation folded: float32 sums reordered."""

RECODED_SCORE = 0.06
"""Probability: what another codec, depth, sampling of colour or nearly the same size makes of the same face."""

COARSER_SCORE = 0.15
"""Probability: the same face at half the size or less, enlarged again; what is blurred looks less manipulated."""

SHORTER_SCORE = 0.1
"""Probability: fewer pictures of the same face, down to one."""

DALI_COLOURS = 3.0
"""Grey levels, mean: DALI's CPU variant leaves the conversion to FFmpeg, which repeats chroma samples."""

UNMIXED_COLOURS = 0.05
"""Grey levels, mean: what rounding to RGB, and clipping, lose of planes; 0.002 to 0.01 was seen."""

TEN_BITS_IN_EIGHT = 1.5
"""Grey levels, mean: NVDEC hands on eight bits of ten; if it drops two, a level of chroma and luma is 1.03 too low."""

CHROMA_LOST = 0.02
"""Share of chroma samples that rounding to RGB may have moved by a level: 0.001 to 0.01 in the samples."""

CHROMA_EDGES = 64
"""Grey levels, of all but a thousandth of the samples: the same, at the edges of strong colours."""

BACKEND_SCORE = 0.02
"""Probability of a video between backends: other colours at chroma edges, other providers' sums."""

RGB_LEVEL = 3
"""Levels: Y, U and V are whole numbers, and BT.709's blue magnifies half a level of U by 1.9 x 255/224."""

ALIGNED = 0.015
"""Share of a face's contrast: what two bilinear interpolations of a sharp picture leave."""

TENSORRT = 0.005
"""Absolute and relative: a network in FP32 without TF32 on a GPU, fused otherwise and summed in another order.
An estimate: TensorRT has not run on a GPU yet."""

NEARBY_LOOK = 0.05
"""Sides of a face: what a network sees of a face changes a little with what is cut off a side and more around it."""

MILLISECOND = 1e-3
"""Seconds: what a time stamp loses where it is told in another unit."""
