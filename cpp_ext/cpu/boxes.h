// Averages over the boxes of a row of crop pixels, four pixels at a time: the innermost loop of crop.
#pragma once

#include "jobs.h"
#include "vectors.h"

namespace dfx {

// Pixels that are done together; rows are padded to a multiple of it.
constexpr i32 kGroup = 4;

// Where the boxes of a row of crop pixels begin: offsets into the region's samples, and rows of its tables of weights.
struct Starts {
    i32 *offsets, *wx, *wy;
};

inline namespace DFX_LEVEL {

#ifdef __SSE2__

inline __m128i load_8_bytes(const i16* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
inline __m128i load_16_bytes(const i16* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

inline __m128i round_weights(__m128i sums) {
    return _mm_srai_epi32(_mm_add_epi32(sums, _mm_set1_epi32(kWeightOne / 2)), kWeightBits);
}

// Four rows of up to 8 samples a register, weighted: the first 4 sums, or the last 4.
struct Rows {
    __m128i a, b, c, d, w01, w23;

    Rows(__m128i first, __m128i second, __m128i third, __m128i fourth, const i16* weights)
        : a(first), b(second), c(third), d(fourth) {
        const __m128i all = load_8_bytes(weights);
        w01 = _mm_shuffle_epi32(all, 0x00);
        w23 = _mm_shuffle_epi32(all, 0x55);
    }
    __m128i low() const {
        return round_weights(_mm_add_epi32(_mm_madd_epi16(_mm_unpacklo_epi16(a, b), w01),
                                           _mm_madd_epi16(_mm_unpacklo_epi16(c, d), w23)));
    }
    __m128i high() const {
        return round_weights(_mm_add_epi32(_mm_madd_epi16(_mm_unpackhi_epi16(a, b), w01),
                                           _mm_madd_epi16(_mm_unpackhi_epi16(c, d), w23)));
    }
};

inline __m128i luma_columns(const Region& region, const i16* samples, const Starts& starts, i32 i) {
    const i16* from = samples + starts.offsets[i];
    const i64 stride = region.width;
    return Rows(load_8_bytes(from), load_8_bytes(from + stride), load_8_bytes(from + 2 * stride),
                load_8_bytes(from + 3 * stride), region.wy + starts.wy[i])
        .low();
}

// Two pixels: the sums over the first two and the last two columns of each.
inline __m128i luma_halves(const Region& region, const i16* samples, const Starts& starts, i32 i) {
    const __m128i columns = _mm_packs_epi32(luma_columns(region, samples, starts, i),
                                            luma_columns(region, samples, starts, i + 1));
    const __m128i weights = _mm_unpacklo_epi64(load_8_bytes(region.wx + starts.wx[i]),
                                               load_8_bytes(region.wx + starts.wx[i + 1]));
    return _mm_madd_epi16(columns, weights);
}

inline void average_luma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* y) {
    const __m128 left = _mm_castsi128_ps(luma_halves(region, samples, starts, i));
    const __m128 right = _mm_castsi128_ps(luma_halves(region, samples, starts, i + 2));
    const __m128i sums = _mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(left, right, 0x88)),
                                       _mm_castps_si128(_mm_shuffle_ps(left, right, 0xdd)));
    const __m128i rounded = round_weights(sums);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), _mm_packs_epi32(rounded, rounded));
}

// One pixel: the sums over the first two columns of u and v, then over the last two.
inline __m128i chroma_halves(const Region& region, const i16* samples, const Starts& starts, i32 i) {
    const i16* from = samples + 2 * static_cast<i64>(starts.offsets[i]);
    const i64 stride = 2 * region.width;
    const Rows rows(load_16_bytes(from), load_16_bytes(from + stride), load_16_bytes(from + 2 * stride),
                    load_16_bytes(from + 3 * stride), region.wy + starts.wy[i]);
    const __m128i uvuv = _mm_packs_epi32(rows.low(), rows.high());
    const __m128i uuvv = _mm_shufflehi_epi16(_mm_shufflelo_epi16(uvuv, 0xd8), 0xd8);
    return _mm_madd_epi16(uuvv, _mm_shuffle_epi32(load_8_bytes(region.wx + starts.wx[i]), 0x50));
}

// Two pixels: u, v, u, v.
inline __m128i chroma_sums(const Region& region, const i16* samples, const Starts& starts, i32 i) {
    const __m128i a = chroma_halves(region, samples, starts, i);
    const __m128i b = chroma_halves(region, samples, starts, i + 1);
    return round_weights(_mm_add_epi32(_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b)));
}

inline void average_chroma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* u, i16* v) {
    const __m128i uvuv = _mm_packs_epi32(chroma_sums(region, samples, starts, i),
                                         chroma_sums(region, samples, starts, i + 2));
    const __m128i uuvv = _mm_shufflehi_epi16(_mm_shufflelo_epi16(uvuv, 0xd8), 0xd8);
    const __m128i split = _mm_shuffle_epi32(uuvv, 0xd8);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(u + i), split);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(v + i), _mm_unpackhi_epi64(split, split));
}

#else

inline i16 average(const Region& region, const i16* samples, const Starts& starts, i32 i, i32 channels, i32 channel) {
    return static_cast<i16>(box_average(samples + channels * static_cast<i64>(starts.offsets[i]),
                                        channels * static_cast<i64>(region.width), channels, channel,
                                        region.wx + starts.wx[i], region.wy + starts.wy[i]));
}

inline void average_luma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* y) {
    for (i32 k = i; k < i + kGroup; ++k) y[k] = average(region, samples, starts, k, 1, 0);
}

inline void average_chroma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* u, i16* v) {
    for (i32 k = i; k < i + kGroup; ++k) {
        u[k] = average(region, samples, starts, k, 2, 0);
        v[k] = average(region, samples, starts, k, 2, 1);
    }
}

#endif

}  // namespace DFX_LEVEL
}  // namespace dfx
