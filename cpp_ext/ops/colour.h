// YUV to RGB by ITU-R BT.601, whatever the stream's tag says: the colour contract of every backend.
#pragma once

#include "common.h"

namespace dfx {

constexpr i32 kCoefficientBits = 13;

// Coefficients with 13 fractional bits; `black` is the luma of black, in filtered samples (7 fractional bits).
struct Colour {
    i32 black, y, rv, gu, gv, bu;
};

inline namespace DFX_LEVEL {

DFX_HD i32 coefficient(double x) {
    const double scaled = x * (1 << kCoefficientBits);
    return static_cast<i32>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

// Limited range spans 219 steps of luma and 224 of chroma at every depth; full range spans 2^depth - 1, which is not
// quite 255 * 2^(depth - 8).
DFX_HD Colour bt601(i32 depth, bool full_range) {
    constexpr double kr = 0.299, kb = 0.114, kg = 1 - kr - kb;
    const double span = ((1 << depth) - 1) / static_cast<double>(1 << (depth - 8));
    const double y = 255 / (full_range ? span : 219.0);
    const double c = 255 / (full_range ? span : 224.0);
    return {full_range ? 0 : 16 << kFraction,
            coefficient(y),
            coefficient(2 * (1 - kr) * c),
            coefficient(-2 * kb * (1 - kb) / kg * c),
            coefficient(-2 * kr * (1 - kr) / kg * c),
            coefficient(2 * (1 - kb) * c)};
}

DFX_HD u8 to_byte(i32 x) {
    return static_cast<u8>(clamp(round_shift(x, kCoefficientBits + kFraction), 0, 255));
}

// Filtered samples of one pixel -> its three bytes.
DFX_HD void to_rgb(const Colour& colour, i32 y, i32 u, i32 v, u8& red, u8& green, u8& blue) {
    const i32 luma = colour.y * (y - colour.black);
    const i32 cb = u - (128 << kFraction);
    const i32 cr = v - (128 << kFraction);
    red = to_byte(luma + colour.rv * cr);
    green = to_byte(luma + colour.gu * cb + colour.gv * cr);
    blue = to_byte(luma + colour.bu * cb);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
