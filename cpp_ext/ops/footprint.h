// The filter of an aligned crop. A crop pixel sees a box of the picture, upright in it, as wide as the matrix makes it
// (at least one sample): the average over that box is the bilinear interpolation when magnifying, and an exact area
// average when shrinking. The box never spans more than 4 samples: beyond a side of 3 the plane is reduced first.
#pragma once

#include "common.h"

namespace dfx {

constexpr i32 kTaps = 4;
constexpr double kLongestSide = kTaps - 1;
// Boxes begin at multiples of 1/1024 of a sample: fine enough to be within one grey level of exact positions, even in
// noise of the highest contrast.
constexpr i32 kPhaseBits = 10;
constexpr i32 kPhases = 1 << kPhaseBits;

// One axis of a crop in one plane: position of a pixel centre (column, row) = column * across + row * down + offset,
// in samples of the reduced plane, whose first sample spans [0, 1).
struct Line {
    double across, down, offset;
    double low, high;  // positions are clamped to these: further out, the box sees the edge of the picture alone
    double start;      // from the position of a pixel to the beginning of its box, in a region of the plane
};

// Where boxes would be longer, blocks of samples are averaged first; of more than 16 samples a side, every few.
constexpr i32 kBlockSamples = 16;

inline namespace DFX_LEVEL {

DFX_HD i32 block_step(i32 side) { return (side + kBlockSamples - 1) / kBlockSamples; }

// The average of a block as a filtered sample, from the sum of its samples and `block_scale` of their number. Exact in
// single precision for a flat block.
DFX_HD float block_scale(i32 samples, i32 depth) { return static_cast<float>(1 << (kLevelBits - depth)) / samples; }
DFX_HD i16 block_mean(i32 sum, float scale) { return static_cast<i16>(sum * scale + 0.5f); }

// Position of a pixel's centre, clamped. Monotone in the column and in the row (as IEEE 754 rounds), so the corners of
// a crop bound all that lies between. Built without fused multiply-adds, for the same result everywhere.
DFX_HD double row_offset(const Line& line, i32 row) { return (row + 0.5) * line.down + line.offset; }

DFX_HD double position(const Line& line, double row_offset, i32 column) {
    return clamp((column + 0.5) * line.across + row_offset, line.low, line.high);
}

// Where the box of a pixel begins, in phases from the first sample of the region.
DFX_HD i32 box_start(const Line& line, double row_offset, i32 column) {
    return static_cast<i32>((position(line, row_offset, column) - line.start) * kPhases + 0.5);
}

// Weights of the 4 samples under a box that begins `phase` / 1024 into the first; its side is given in phases.
DFX_HD void box_weights(i32 phase, i32 side, i16* weights) {
    const i32 scale = ((1 << (kWeightBits + 10)) + side / 2) / side;
    i32 before = 0;
    for (i32 tap = 0; tap < kTaps; ++tap) {
        const i32 covered = clamp((tap + 1) * kPhases - phase, 0, side);
        const i32 share = covered == side ? kWeightOne : least(round_shift(covered * scale, 10), kWeightOne);
        weights[tap] = static_cast<i16>(share - before);
        before = share;
    }
}

// The filtered value of a box: rows first, then columns. `samples(x, y)` gives the filtered sample of a tap.
template <class Samples> DFX_HD i32 box_average(const Samples& samples, const i16* wx, const i16* wy) {
    i32 sum = 0;
    for (i32 x = 0; x < kTaps; ++x) {
        i32 column = 0;
        for (i32 y = 0; y < kTaps; ++y) column += wy[y] * samples(x, y);
        sum += wx[x] * round_shift(column, kWeightBits);
    }
    return round_shift(sum, kWeightBits);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
