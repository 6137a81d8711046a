// The planes that DALI made RGB of, from that RGB: what `dfx.ops.unmix` documents, and `dfx.ops.reference` derives.
#pragma once

#include "common.h"
#include "thread.h"

namespace dfx {

constexpr i32 kLumaBits = 20, kChromaBits = 13;

// Luma of a pixel as multiples of its red, green, blue and one; filtered chroma of a cell of 4 pixels as multiples of the
// sums of their red, green, blue and luma, and one. With fractional bits as above.
struct Unmixing {
    i32 luma[4], chroma[2][5];
};

// RGB [count, height, width, 3] of even sides to planes: for each picture luma [height, width], then both of chroma
// [height / 2, width / 2]. `means` is for chroma in between: [count, 2, height / 2, width / 2].
struct UnmixLaunch {
    const u8* rgb;
    u8* planes;
    i16* means;
    Unmixing unmixing;
    i32 width, height, count;
};

static_assert(sizeof(UnmixLaunch) == 96, "another layout");

// Pictures of one launch, for which `means` has room.
constexpr i32 kUnmixBatch = 8;
constexpr i32 kSharpTaps = 5;

inline namespace DFX_LEVEL {

DFX_HD i32 to_fixed(double x, i32 bits) {
    const double scaled = x * (1 << bits);
    return static_cast<i32>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

// Chroma is the least squares of what red, green and blue say of it.
DFX_HD Unmixing unmixing(bool full_range) {
    constexpr double kr = 0.299, kg = 0.587, kb = 0.114;
    const double luma = full_range ? 1 : 255 / 219.0, chroma = full_range ? 1 : 255 / 224.0;
    const double black = full_range ? 0 : 255 / 16.0;
    const double rv = 2 * (1 - kr) * chroma, bu = 2 * (1 - kb) * chroma, gu = kb / kg * bu, gv = kr / kg * rv;
    const double uu = bu * bu + gu * gu, uv = gu * gv, vv = rv * rv + gv * gv;
    const double unit = (1 << kFraction) / 4 / (uu * vv - uv * uv);
    const double rows[2][3] = {{-uv * rv, uv * gv - vv * gu, vv * bu}, {uu * rv, uv * gu - uu * gv, -uv * bu}};
    Unmixing all = {{to_fixed(kr / luma, kLumaBits), to_fixed(kg / luma, kLumaBits), to_fixed(kb / luma, kLumaBits),
                     to_fixed(black, kLumaBits)}, {}};
    for (i32 plane = 0; plane < 2; ++plane) {
        const double grey = (rows[plane][0] + rows[plane][1] + rows[plane][2]) * luma * unit;
        for (i32 colour = 0; colour < 3; ++colour)
            all.chroma[plane][colour] = to_fixed(rows[plane][colour] * unit, kChromaBits);
        all.chroma[plane][3] = to_fixed(-grey, kChromaBits);
        all.chroma[plane][4] = to_fixed(4 * black * grey + 127.5 * (1 << kFraction), kChromaBits);
    }
    return all;
}

DFX_HD i32 luma_of(const Unmixing& unmixing, const u8* pixel) {
    i32 sum = unmixing.luma[3];
    for (i32 colour = 0; colour < 3; ++colour) sum += unmixing.luma[colour] * pixel[colour];
    return clamp(round_shift(sum, kLumaBits), 0, 255);
}

// As a filtered sample; what clipped colours say may lie beyond a byte.
DFX_HD i16 chroma_of(const i32* weights, const i32* sums) {
    i32 sum = weights[4];
    for (i32 i = 0; i < 4; ++i) sum += weights[i] * sums[i];
    return static_cast<i16>(clamp(round_shift(sum, kChromaBits), -32768, 32767));
}

// A cell of 2 x 2 pixels: luma of each, and what chroma is in the mean.
DFX_HD void unmix_cell_thread(const UnmixLaunch& launch, const Thread& at) {
    const i32 wide = launch.width / 2, high = launch.height / 2;
    if (at.x >= wide || at.y >= high || at.z >= launch.count) return;
    const i64 area = static_cast<i64>(wide) * high, corner = 2 * (static_cast<i64>(at.y) * launch.width + at.x);
    const u8* rgb = launch.rgb + 12 * area * at.z;
    u8* planes = launch.planes + 6 * area * at.z;
    i32 sums[4] = {};
    for (i32 pixel = 0; pixel < 4; ++pixel) {
        const i64 place = corner + static_cast<i64>(pixel / 2) * launch.width + pixel % 2;
        const i32 luma = luma_of(launch.unmixing, rgb + 3 * place);
        planes[place] = static_cast<u8>(luma);
        for (i32 colour = 0; colour < 3; ++colour) sums[colour] += rgb[3 * place + colour];
        sums[3] += luma;
    }
    i16* means = launch.means + 2 * area * at.z + static_cast<i64>(at.y) * wide + at.x;
    for (i32 plane = 0; plane < 2; ++plane) means[plane * area] = chroma_of(launch.unmixing.chroma[plane], sums);
}

// Interpolated chroma, averaged over the cell, is 3/4 of its sample and 1/8 of either neighbour, across and down. The
// inverse of that filter is sqrt(2) * (2 sqrt(2) - 3)^|n|: its five largest weights, which sum to kWeightOne.
DFX_HD i32 sharp_weight(i32 tap) {
    constexpr i32 weights[kSharpTaps] = {674, -3927, 22890, -3927, 674};
    return weights[tap];
}

// Beyond the edge the picture is its own mirror image, as it is to linear interpolation whose edges are repeated.
DFX_HD i32 mirrored(i32 place, i32 size) {
    const i32 inside = place < 0 ? -1 - place : place < size ? place : 2 * size - 1 - place;
    return clamp(inside, 0, size - 1);
}

DFX_HD u8 sharpened(const i16* means, i32 wide, i32 high, i32 column, i32 row) {
    i32 sum = 0;
    for (i32 x = 0; x < kSharpTaps; ++x) {
        const i16* from = means + mirrored(column + x - kSharpTaps / 2, wide);
        i32 blended = 0;
        for (i32 y = 0; y < kSharpTaps; ++y)
            blended += sharp_weight(y) * from[static_cast<i64>(mirrored(row + y - kSharpTaps / 2, high)) * wide];
        sum += sharp_weight(x) * round_shift(blended, kWeightBits);
    }
    return static_cast<u8>(clamp(round_shift(round_shift(sum, kWeightBits), kFraction), 0, 255));
}

// One sample of both chroma planes.
DFX_HD void unmix_chroma_thread(const UnmixLaunch& launch, const Thread& at) {
    const i32 wide = launch.width / 2, high = launch.height / 2;
    if (at.x >= wide || at.y >= high || at.z >= launch.count) return;
    const i64 area = static_cast<i64>(wide) * high;
    const i16* means = launch.means + 2 * area * at.z;
    u8* out = launch.planes + 6 * area * at.z + 4 * area + static_cast<i64>(at.y) * wide + at.x;
    for (i32 plane = 0; plane < 2; ++plane)
        out[plane * area] = sharpened(means + plane * area, wide, high, at.x, at.y);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
