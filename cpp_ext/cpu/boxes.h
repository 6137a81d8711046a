// Averages over the boxes of a row of crop pixels, four pixels at a time: the innermost loop of crop.
#pragma once

#include "jobs.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace dfx {

// Pixels that are done together; rows are padded to a multiple of it.
constexpr i32 kGroup = 4;

// Where the boxes of a row of crop pixels begin: offsets into the region's samples, and into its tables of weights.
struct Starts {
    i32 *offsets, *wx, *wy;
};

inline namespace DFX_LEVEL {

#ifdef __AVX2__

// `box_average` as pairs of 16-bit products. A register holds two pixels, one in each half; nothing crosses the middle
// before the end.

// 16 bytes for each of two pixels. Where only 8 are meant, what follows them is read, and dropped by `Rows::low`.
inline __m256i load(const i16* first, const i16* second) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

inline __m256i round_weights(__m256i sums) {
    return _mm256_srai_epi32(_mm256_add_epi32(sums, _mm256_set1_epi32(kWeightOne / 2)), kWeightBits);
}

// Four rows of 8 samples, to be averaged with four weights: the first 4 columns, or the last 4.
struct Rows {
    __m256i a, b, c, d, wab, wcd;

    __m256i low() const { return average(_mm256_unpacklo_epi16(a, b), _mm256_unpacklo_epi16(c, d)); }
    __m256i high() const { return average(_mm256_unpackhi_epi16(a, b), _mm256_unpackhi_epi16(c, d)); }
    __m256i average(__m256i ab, __m256i cd) const {
        return round_weights(_mm256_add_epi32(_mm256_madd_epi16(ab, wab), _mm256_madd_epi16(cd, wcd)));
    }
};

// The rows under pixels i and i + 1, of `channels` interleaved ones.
inline Rows rows_under(const Region& region, const i16* samples, i32 channels, const Starts& starts, i32 i) {
    const i16* first = samples + channels * static_cast<i64>(starts.offsets[i]);
    const i16* second = samples + channels * static_cast<i64>(starts.offsets[i + 1]);
    const i64 stride = channels * static_cast<i64>(region.width);
    const __m256i weights = load(region.wy + starts.wy[i], region.wy + starts.wy[i + 1]);
    return {load(first, second),
            load(first + stride, second + stride),
            load(first + 2 * stride, second + 2 * stride),
            load(first + 3 * stride, second + 3 * stride),
            _mm256_shuffle_epi32(weights, 0x00),
            _mm256_shuffle_epi32(weights, 0x55)};
}

inline __m256i column_weights(const Region& region, const Starts& starts, i32 i) {
    return load(region.wx + starts.wx[i], region.wx + starts.wx[i + 1]);
}

inline void average_luma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* y) {
    const __m256i columns = _mm256_packs_epi32(rows_under(region, samples, 1, starts, i).low(),
                                               rows_under(region, samples, 1, starts, i + 2).low());
    const __m256i weights =
        _mm256_unpacklo_epi64(column_weights(region, starts, i), column_weights(region, starts, i + 2));
    const __m256i halves = _mm256_madd_epi16(columns, weights);  // pixels 0, 0, 2, 2 | 1, 1, 3, 3
    const __m256i sums = round_weights(_mm256_add_epi32(halves, _mm256_shuffle_epi32(halves, 0xb1)));
    const __m256i even_odd = _mm256_shuffle_epi32(sums, 0x08);
    const __m128i all = _mm_unpacklo_epi32(_mm256_castsi256_si128(even_odd), _mm256_extracti128_si256(even_odd, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), _mm_packs_epi32(all, all));
}

// Sums over the first two columns of u and of v, then over the last two, for pixels i and i + 1.
inline __m256i chroma_halves(const Region& region, const i16* samples, const Starts& starts, i32 i) {
    const Rows rows = rows_under(region, samples, 2, starts, i);
    const __m256i uvuv = _mm256_packs_epi32(rows.low(), rows.high());
    const __m256i uuvv = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(uvuv, 0xd8), 0xd8);
    return _mm256_madd_epi16(uuvv, _mm256_shuffle_epi32(column_weights(region, starts, i), 0x50));
}

inline void average_chroma(const Region& region, const i16* samples, const Starts& starts, i32 i, i16* u, i16* v) {
    const __m256i first = chroma_halves(region, samples, starts, i);
    const __m256i second = chroma_halves(region, samples, starts, i + 2);
    const __m256i sums = round_weights(
        _mm256_add_epi32(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second)));
    const __m256i uuvv = _mm256_shuffle_epi32(sums, 0xd8);  // pixels 0, 2, 0, 2 | 1, 3, 1, 3
    const __m128i even = _mm256_castsi256_si128(uuvv), odd = _mm256_extracti128_si256(uuvv, 1);
    const __m128i both = _mm_packs_epi32(_mm_unpacklo_epi32(even, odd), _mm_unpackhi_epi32(even, odd));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(u + i), both);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(v + i), _mm_unpackhi_epi64(both, both));
}

#else

// Samples of one of the interleaved channels under a box.
struct Interleaved {
    const i16* first;
    i64 stride;
    i32 channels;

    i32 operator()(i32 x, i32 y) const { return first[y * stride + x * channels]; }
};

inline i16 average(const Region& region, const i16* samples, const Starts& starts, i32 i, i32 channels, i32 channel) {
    const Interleaved under = {samples + channels * static_cast<i64>(starts.offsets[i]) + channel,
                               channels * static_cast<i64>(region.width), channels};
    return static_cast<i16>(box_average(under, region.wx + starts.wx[i], region.wy + starts.wy[i]));
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
