// Separable resampling by a rational factor: exact area averages when shrinking, linear interpolation when magnifying.
#pragma once

#include "common.h"

namespace dfx {

// One axis of one plane. Lengths are integers in a common unit, so that nothing is rounded before the weights are:
// sample i spans [i * sample, (i + 1) * sample), output pixel j spans [j * pixel, (j + 1) * pixel).
struct Axis {
    i64 sample, pixel;
    i32 size;  // samples
};

// The samples first..last that output pixel j is made of; both may lie outside the plane when magnifying.
struct Reach {
    i64 first, last;
};

// For each output pixel of one axis: its first sample, and `count` weights that sum to kWeightOne.
struct Taps {
    i32 count;
    const i32* first;
    const i16* weights;
};

inline namespace DFX_LEVEL {

DFX_HD bool shrinks(const Axis& axis) { return axis.pixel >= axis.sample; }

DFX_HD Reach reach(const Axis& axis, i64 j) {
    if (shrinks(axis)) {
        const i64 end = least<i64>((j + 1) * axis.pixel, axis.size * axis.sample);
        return {j * axis.pixel / axis.sample, (end - 1) / axis.sample};
    }
    const i64 first = floor_divide((2 * j + 1) * axis.pixel - axis.sample, 2 * axis.sample);
    return {first, first + 1};
}

// The share of output pixel j, of kWeightOne, that lies before `edge` (the lower edge of a sample, as its index).
DFX_HD i32 area_share(const Axis& axis, i64 j, i64 edge) {
    const i64 start = j * axis.pixel;
    const i64 length = least<i64>(axis.pixel, axis.size * axis.sample - start);
    const i64 covered = clamp<i64>(edge * axis.sample - start, 0, length);
    return static_cast<i32>((2 * covered * kWeightOne + length) / (2 * length));
}

// The weight of sample i in output pixel j, in units of 1 / kWeightOne.
DFX_HD i32 weight(const Axis& axis, i64 j, i64 i) {
    if (shrinks(axis)) return area_share(axis, j, i + 1) - area_share(axis, j, i);
    const i64 offset = (2 * j + 1) * axis.pixel - (2 * reach(axis, j).first + 1) * axis.sample;
    const i32 right = static_cast<i32>((offset * kWeightOne + axis.sample) / (2 * axis.sample));
    return i == reach(axis, j).first ? kWeightOne - right : right;
}

}  // namespace DFX_LEVEL
}  // namespace dfx
