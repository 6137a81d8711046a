// The few things that compilers do not vectorise by themselves. Everything here is exact, so the results do not depend
// on how it is done.
#pragma once

#include "../ops/common.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// Says of the next loop that its turns do not depend on each other, so that it needs no checks for aliases.
#if defined(__clang__)
#define DFX_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define DFX_INDEPENDENT _Pragma("GCC ivdep")
#else
#define DFX_INDEPENDENT
#endif

// Asks for a cache line ahead of its turn. GCC drops calls of a function that does nothing else, unless it is inlined
// before it looks.
#ifdef __GNUC__
#define DFX_PREFETCH(address) __builtin_prefetch(address)
#define DFX_INLINED __attribute__((always_inline)) inline
#else
#define DFX_PREFETCH(address) static_cast<void>(address)
#define DFX_INLINED inline
#endif

namespace dfx {
inline namespace DFX_LEVEL {

// Carves an array off the front of scratch memory, in whole cache lines.
constexpr i64 kCacheLine = 64;

inline i64 round_up(i64 x, i64 to) { return (x + to - 1) / to * to; }

template <class T> inline T* take(u8*& scratch, i64 count) {
    u8* const begin = scratch;
    scratch += round_up(count * static_cast<i64>(sizeof(T)), kCacheLine);
    return reinterpret_cast<T*>(begin);
}

#ifdef __SSE2__

template <class T> inline __m128i interleave_low(__m128i a, __m128i b) {
    return sizeof(T) == 1 ? _mm_unpacklo_epi8(a, b) : _mm_unpacklo_epi16(a, b);
}

template <class T> inline __m128i interleave_high(__m128i a, __m128i b) {
    return sizeof(T) == 1 ? _mm_unpackhi_epi8(a, b) : _mm_unpackhi_epi16(a, b);
}

// Transposes a square block that fills 16-byte registers: log2(N) perfect shuffles of its N rows.
template <class T> inline void transpose_block(const T* in, i64 in_stride, T* out, i64 out_stride) {
    constexpr int N = 16 / sizeof(T);
    __m128i rows[N], shuffled[N];
    for (int i = 0; i < N; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i * in_stride));
    for (int done = 1; done < N; done *= 2) {
        for (int i = 0; i < N / 2; ++i) {
            shuffled[2 * i] = interleave_low<T>(rows[i], rows[i + N / 2]);
            shuffled[2 * i + 1] = interleave_high<T>(rows[i], rows[i + N / 2]);
        }
        for (int i = 0; i < N; ++i) rows[i] = shuffled[i];
    }
    for (int i = 0; i < N; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * out_stride), rows[i]);
}

#else

template <class T> inline void transpose_block(const T* in, i64 in_stride, T* out, i64 out_stride) {
    constexpr int N = 16 / sizeof(T);
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) out[j * out_stride + i] = in[i * in_stride + j];
}

#endif

}  // namespace DFX_LEVEL
}  // namespace dfx
