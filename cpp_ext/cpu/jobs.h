// What the CPU loops are given. Plain values: they pass between code compiled for different instruction sets.
#pragma once

#include "../ops/colour.h"
#include "../ops/footprint.h"
#include "../ops/resample.h"

namespace dfx {

// Samples as the decoder left them: u8 where the picture's depth is 8, else u16. `stride` is in bytes.
struct Plane {
    const u8* data;
    i64 stride;
    i32 width, height;
};

// Planes y, u and v; a chroma sample covers sx * sy luma samples.
struct Picture {
    Plane planes[3];
    i32 sx, sy, depth;
    bool full_range;
};

// `inner` is the size of the scaled picture at the top left of the canvas, the rest of which is black.
struct LetterboxJob {
    Picture picture;
    Taps across[2], down[2];  // luma, chroma
    Colour colour;
    i32 inner_width, inner_height, width, height;
    u8* out;  // [3, height, width]
};

// Output rows are made in strips as high as a vector has 16-bit lanes.
constexpr i32 kStrip = 16;

// What one crop reads of luma, or of both chroma planes: a region of the plane reduced by (kx, ky), in samples of the
// reduced plane; it may hang over the edges, which are replicated.
struct Region {
    i32 kx, ky;
    i32 left, top, width, height;
    Line x, y;
    const i16 *wx, *wy;  // [kPhases, kTaps], and kTaps more that may be read, but mean nothing
};

struct CropJob {
    Picture picture;
    Region luma, chroma;
    Colour colour;
    i32 size;
    u8* out;  // [3, size, size]
};

// The loops, compiled for one instruction set. They allocate nothing: scratch memory, in bytes, is the caller's.
struct Kernels {
    const char* level;
    void (*letterbox_strip)(const LetterboxJob& job, i32 strip, u8* scratch);
    void (*crop)(const CropJob& job, u8* scratch);
    void (*fill_weights)(i32 side, i16* table);  // for every phase, of a box with that side in phases
};


extern const Kernels kPortableKernels;
#ifdef DFX_HAVE_X86
extern const Kernels kAvx2Kernels, kAvx512Kernels;
#endif

}  // namespace dfx
