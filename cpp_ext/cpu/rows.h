// Rows of samples: read from planes, and turned to RGB.
#pragma once

#include "jobs.h"
#include "vectors.h"

namespace dfx {
inline namespace DFX_LEVEL {

template <class S> inline const S* row_of(const Plane& plane, i32 row) {
    return reinterpret_cast<const S*>(plane.data + row * plane.stride);
}

// A sample as a number; what a broken stream leaves above the depth is cut off.
inline i32 value(u8 sample, i32) { return sample; }
inline i32 value(u16 sample, i32 depth) { return least<i32>(sample, (1 << depth) - 1); }

// Filtered samples to three rows of bytes.
inline void colour_run(const Colour& colour, const i16* y, const i16* u, const i16* v, i64 count, u8* r, u8* g, u8* b) {
    DFX_INDEPENDENT
    for (i64 i = 0; i < count; ++i) to_rgb(colour, y[i], u[i], v[i], r[i], g[i], b[i]);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
