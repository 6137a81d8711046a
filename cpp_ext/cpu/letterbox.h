// The loops of letterbox: in strips of 16 output rows, first down the planes (which leaves little), then across what is
// left, transposed so that the 16 rows fill a vector whatever the factor, and only then to RGB.
#pragma once

#include "rows.h"

namespace dfx {
inline namespace DFX_LEVEL {

// One filtered row from COUNT rows of a plane.
template <class S, int COUNT>
inline void blend_few(const Plane& plane, i32 first, const i16* weights, i32 depth, i16* out) {
    const S* rows[COUNT];
    for (int k = 0; k < COUNT; ++k) rows[k] = row_of<S>(plane, first + k);
    const i32 shift = kWeightBits + depth - kLevelBits;
    DFX_INDEPENDENT
    for (i32 x = 0; x < plane.width; ++x) {
        i32 sum = 0;
        for (int k = 0; k < COUNT; ++k) sum += weights[k] * value(rows[k][x], depth);
        out[x] = static_cast<i16>(round_shift(sum, shift));
    }
}

// The same for any number of rows, by chunks whose sums stay in the nearest cache.
template <class S>
inline void blend_many(const Plane& plane, i32 first, i32 count, const i16* weights, i32 depth, i16* out) {
    constexpr i32 kChunk = 512;
    const i32 shift = kWeightBits + depth - kLevelBits;
    i32 sums[kChunk];
    for (i32 x0 = 0; x0 < plane.width; x0 += kChunk) {
        const i32 width = least(kChunk, plane.width - x0);
        for (i32 x = 0; x < width; ++x) sums[x] = 0;
        for (i32 k = 0; k < count; ++k) {
            const S* row = row_of<S>(plane, first + k) + x0;
            for (i32 x = 0; x < width; ++x) sums[x] += weights[k] * value(row[x], depth);
        }
        for (i32 x = 0; x < width; ++x) out[x0 + x] = static_cast<i16>(round_shift(sums[x], shift));
    }
}

template <class S>
inline void blend_rows(const Plane& plane, i32 first, i32 count, const i16* weights, i32 depth, i16* out) {
    switch (count) {
        case 1: return blend_few<S, 1>(plane, first, weights, depth, out);
        case 2: return blend_few<S, 2>(plane, first, weights, depth, out);
        case 3: return blend_few<S, 3>(plane, first, weights, depth, out);
        case 4: return blend_few<S, 4>(plane, first, weights, depth, out);
        default: return blend_many<S>(plane, first, count, weights, depth, out);
    }
}

// [16, width] -> [width, 16]; rows are `stride` long, a multiple of 8.
inline void transpose_strip(const i16* rows, i64 stride, i32 width, i16* columns) {
    for (i32 x = 0; x < width; x += 8)
        for (i32 half = 0; half < kStrip; half += 8)
            transpose_block(rows + half * stride + x, stride, columns + x * kStrip + half, kStrip);
}

// The other axis: COUNT columns of 16 to one.
template <int COUNT> inline void blend_columns(const i16* columns, const Taps& taps, i32 outputs, i16* out) {
    for (i32 j = 0; j < outputs; ++j) {
        const i16* from = columns + taps.first[j] * kStrip;
        const i16* weights = taps.weights + static_cast<i64>(j) * COUNT;
        DFX_INDEPENDENT
        for (i32 r = 0; r < kStrip; ++r) {
            i32 sum = 0;
            for (int k = 0; k < COUNT; ++k) sum += weights[k] * from[k * kStrip + r];
            out[j * kStrip + r] = static_cast<i16>(round_shift(sum, kWeightBits));
        }
    }
}

inline void blend_many_columns(const i16* columns, const Taps& taps, i32 outputs, i16* out) {
    for (i32 j = 0; j < outputs; ++j) {
        const i16* from = columns + taps.first[j] * kStrip;
        const i16* weights = taps.weights + static_cast<i64>(j) * taps.count;
        i32 sums[kStrip] = {};
        for (i32 k = 0; k < taps.count; ++k)
            for (i32 r = 0; r < kStrip; ++r) sums[r] += weights[k] * from[k * kStrip + r];
        for (i32 r = 0; r < kStrip; ++r) out[j * kStrip + r] = static_cast<i16>(round_shift(sums[r], kWeightBits));
    }
}

inline void blend_across(const i16* columns, const Taps& taps, i32 outputs, i16* out) {
    switch (taps.count) {
        case 1: return blend_columns<1>(columns, taps, outputs, out);
        case 2: return blend_columns<2>(columns, taps, outputs, out);
        case 3: return blend_columns<3>(columns, taps, outputs, out);
        case 4: return blend_columns<4>(columns, taps, outputs, out);
        default: return blend_many_columns(columns, taps, outputs, out);
    }
}

// One plane's part of a strip: [inner_width, 16] filtered samples.
template <class S> inline void resample_strip(const LetterboxJob& job, i32 plane, i32 strip, u8* scratch, i16* out) {
    const Plane& from = job.picture.planes[plane];
    const Taps& down = job.down[plane > 0];
    const i64 stride = round_up(from.width, 8);
    i16* rows = take<i16>(scratch, kStrip * stride);
    i16* columns = take<i16>(scratch, kStrip * stride);
    const i32 first = strip * kStrip;
    const i32 count = least(kStrip, job.inner_height - first);
    for (i32 r = 0; r < count; ++r)
        blend_rows<S>(from, down.first[first + r], down.count, down.weights + (first + r) * down.count,
                      job.picture.depth, rows + r * stride);
    transpose_strip(rows, stride, from.width, columns);
    blend_across(columns, job.across[plane > 0], job.inner_width, out);
}

// Blackens what of a strip is no picture: the rows below it, and the columns up to the next multiple of 16.
inline void blacken(const LetterboxJob& job, i32 strip, u8* columns) {
    const i32 rows = clamp(job.inner_height - strip * kStrip, 0, kStrip);
    const i64 last = round_up(job.inner_width, kStrip);
    for (i64 x = 0; x < last; ++x)
        for (i32 r = x < job.inner_width ? rows : 0; r < kStrip; ++r) columns[x * kStrip + r] = 0;
}

// [inner_width, 16] bytes of one channel to the canvas, with black to the right.
inline void store_strip(const LetterboxJob& job, i32 strip, const u8* columns, u8* canvas) {
    const i32 rows = least(kStrip, job.height - strip * kStrip);
    u8* out = canvas + static_cast<i64>(strip * kStrip) * job.width;
    const i32 whole = rows == kStrip ? least(job.inner_width, job.width / kStrip * kStrip) : 0;
    i32 x = 0;
    for (; x < whole; x += kStrip) transpose_block(columns + x * kStrip, kStrip, out + x, job.width);
    for (; x < job.width; x += kStrip) {
        u8 block[kStrip * kStrip] = {};
        if (x < job.inner_width) transpose_block(columns + x * kStrip, kStrip, block, kStrip);
        const i32 width = least(kStrip, job.width - x);
        for (i32 r = 0; r < rows; ++r)
            __builtin_memcpy(out + r * static_cast<i64>(job.width) + x, block + r * kStrip, width);
    }
}

template <class S> inline void letterbox_strip_of(const LetterboxJob& job, i32 strip, u8* scratch) {
    const i64 area = round_up(job.inner_width, kStrip) * kStrip;
    i16 *planes[3];
    u8* channels[3];
    for (i16*& plane : planes) plane = take<i16>(scratch, area);
    for (u8*& channel : channels) channel = take<u8>(scratch, area);
    if (strip * kStrip < job.inner_height) {
        for (i32 plane = 0; plane < 3; ++plane) resample_strip<S>(job, plane, strip, scratch, planes[plane]);
        colour_run(job.colour, planes[0], planes[1], planes[2], static_cast<i64>(job.inner_width) * kStrip,
                   channels[0], channels[1], channels[2]);
    }
    for (i32 channel = 0; channel < 3; ++channel) {
        blacken(job, strip, channels[channel]);
        store_strip(job, strip, channels[channel], job.out + channel * static_cast<i64>(job.height) * job.width);
    }
}

inline void letterbox_strip(const LetterboxJob& job, i32 strip, u8* scratch) {
    if (job.picture.depth == 8) return letterbox_strip_of<u8>(job, strip, scratch);
    letterbox_strip_of<u16>(job, strip, scratch);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
