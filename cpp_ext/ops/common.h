// What every header of shared arithmetic needs. No standard header is used, so that NVRTC can compile them too.
#pragma once

#ifdef __CUDACC__
#define DFX_HD __host__ __device__ inline
#else
#define DFX_HD inline
#endif

// Functions are compiled once for each instruction set, so they live in an inline namespace of its own: else the linker
// would be free to keep one copy of each, and run AVX2 instructions on a processor that lacks them. Values pass between
// the levels, so their types live outside it and have no functions.
#ifndef DFX_LEVEL
#define DFX_LEVEL portable
#endif

namespace dfx {

using u8 = unsigned char;
using u16 = unsigned short;
using i16 = short;
using i32 = int;
using i64 = long long;

// Filtered samples are levels of 8-bit video with 7 fractional bits: the most that a signed 16-bit lane holds.
constexpr i32 kFraction = 7;
constexpr i32 kLevelBits = 8 + kFraction;
// The weights of a filter sum to exactly 1 << kWeightBits, so that a flat picture stays flat.
constexpr i32 kWeightBits = 14;
constexpr i32 kWeightOne = 1 << kWeightBits;

inline namespace DFX_LEVEL {

template <class T> DFX_HD T least(T a, T b) { return b < a ? b : a; }
template <class T> DFX_HD T greatest(T a, T b) { return a < b ? b : a; }
template <class T> DFX_HD T clamp(T x, T low, T high) { return least(greatest(x, low), high); }

DFX_HD i64 floor_divide(i64 a, i64 b) { return a / b - (a % b < 0); }

// Divides by 2^bits, rounding halves up.
DFX_HD i32 round_shift(i32 x, i32 bits) { return (x + (bits > 0 ? 1 << (bits - 1) : 0)) >> bits; }

}  // namespace DFX_LEVEL
}  // namespace dfx
