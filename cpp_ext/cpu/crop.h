// The loops of crop: copy the region that the crop sees (reduced where it is seen very small), edges replicated, then
// average a box of it for each pixel. Both chroma planes go together, interleaved: one address serves both.
#pragma once

#include "boxes.h"
#include "rows.h"

namespace dfx {
inline namespace DFX_LEVEL {

constexpr i32 kAhead = 2;    // rows of blocks that are asked for before their turn
constexpr i32 kPiece = 256;  // blocks: what is asked for at once, so that it comes while others are worked on

inline i64 region_area(const Region& region) { return static_cast<i64>(region.width) * region.height; }

// Samples [first, first + count) of a row of a plane.
template <class S> inline void copy_samples(const Plane& plane, i32 row, i32 first, i32 count, i32 depth, i16* out) {
    const S* from = row_of<S>(plane, row) + first;
    const i32 shift = kLevelBits - depth;
    DFX_INDEPENDENT
    for (i32 x = 0; x < count; ++x) out[x] = static_cast<i16>(value(from[x], depth) << shift);
}

// Adds up samples [first, first + count) of rows top, top + step, ... before `bottom`; returns how many rows there
// were: 16 at most, so that sums of 12 bits fit.
template <class S>
inline i32 sum_rows(const Plane& plane, i32 top, i32 bottom, i32 step, i32 first, i32 count, i32 depth, u16* sums) {
    const S* highest = row_of<S>(plane, top) + first;
    DFX_INDEPENDENT
    for (i32 x = 0; x < count; ++x) sums[x] = static_cast<u16>(value(highest[x], depth));
    i32 rows = 1;
    for (i32 y = top + step; y < bottom; y += step, ++rows) {
        const S* from = row_of<S>(plane, y) + first;
        DFX_INDEPENDENT
        for (i32 x = 0; x < count; ++x) sums[x] = static_cast<u16>(sums[x] + value(from[x], depth));
    }
    return rows;
}

// Every WIDE sums become one average.
template <int WIDE> inline void average_narrow(const u16* sums, i32 blocks, float scale, i16* out) {
    DFX_INDEPENDENT
    for (i32 block = 0; block < blocks; ++block) {
        i32 sum = 0;
        for (int x = 0; x < WIDE; ++x) sum += sums[block * WIDE + x];
        out[block] = block_mean(sum, scale);
    }
}

inline i16 average_wide(const u16* sums, i32 wide, i32 step, i32 rows, i32 depth) {
    i32 sum = 0, samples = 0;
    for (i32 x = 0; x < wide; x += step, samples += rows) sum += sums[x];
    return block_mean(sum, block_scale(samples, depth));
}

// Blocks [first, first + count) of a row of blocks, each of kx * ky samples, or of what of them the plane has.
template <class S>
inline void reduce_samples(const Plane& plane, const Region& region, i32 row, i32 first, i32 count, i32 depth,
                           u16* sums, i16* out) {
    const i32 kx = region.kx, ky = region.ky, begin = first * kx;
    const i32 width = least(count * kx, plane.width - begin);
    const i32 bottom = least((row + 1) * ky, plane.height);
    const i32 rows = sum_rows<S>(plane, row * ky, bottom, block_step(ky), begin, width, depth, sums);
    const i32 whole = width / kx;
    i32 done = whole;
    switch (kx) {
        case 1: average_narrow<1>(sums, whole, block_scale(rows, depth), out); break;
        case 2: average_narrow<2>(sums, whole, block_scale(2 * rows, depth), out); break;
        case 3: average_narrow<3>(sums, whole, block_scale(3 * rows, depth), out); break;
        case 4: average_narrow<4>(sums, whole, block_scale(4 * rows, depth), out); break;
        default: done = 0;
    }
    for (i32 block = done; block < count; ++block)
        out[block] = average_wide(sums + block * kx, least(kx, width - block * kx), block_step(kx), rows, depth);
}

// Blocks [first, first + count) of a row of blocks.
template <class S>
inline void fetch_blocks(const Plane& plane, const Region& region, i32 row, i32 first, i32 count, i32 depth, u16* sums,
                         i16* out) {
    if (region.kx == 1 && region.ky == 1) return copy_samples<S>(plane, row, first, count, depth, out);
    reduce_samples<S>(plane, region, row, first, count, depth, sums, out);
}

// Asks for blocks [first, first + count) of a row of blocks. Large pictures that have just been decoded are seldom in the
// cache, and the processor foresees no row from the one before it.
template <class S> DFX_INLINED void foresee(const Plane& plane, const Region& region, i32 row, i32 first, i32 count) {
    const i64 bytes = static_cast<i64>(count) * region.kx * static_cast<i64>(sizeof(S));
    const i32 bottom = least((row + 1) * region.ky, plane.height);
    for (i32 y = row * region.ky; y < bottom; y += block_step(region.ky)) {
        const S* from = row_of<S>(plane, y) + first * region.kx;
        for (i64 line = 0; line < bytes; line += kCacheLine) DFX_PREFETCH(reinterpret_cast<const u8*>(from) + line);
    }
}

// A row of a region, [region.width]: what of it lies in the plane, and the edges repeated.
template <class S>
inline void fetch_row(const Plane& plane, const Region& region, i32 row, i32 depth, u16* sums, i16* out) {
    const i32 columns = (plane.width + region.kx - 1) / region.kx, rows = (plane.height + region.ky - 1) / region.ky;
    const i32 first = clamp(region.left, 0, columns - 1);
    const i32 count = clamp(region.left + region.width, first + 1, columns) - first;
    const i32 before = clamp(first - region.left, 0, region.width - count);
    const i32 from = clamp(region.top + row, 0, rows - 1);
    for (i32 done = 0; done < count; done += kPiece) {
        const i32 piece = least(kPiece, count - done);
        foresee<S>(plane, region, from + kAhead, first + done, piece);
        fetch_blocks<S>(plane, region, from, first + done, piece, depth, sums, out + before + done);
    }
    for (i32 x = 0; x < before; ++x) out[x] = out[before];
    for (i32 x = before + count; x < region.width; ++x) out[x] = out[before + count - 1];
}

template <class S> inline void fetch_luma(const CropJob& job, u8* scratch, i16* out) {
    const Plane& plane = job.picture.planes[0];
    u16* sums = take<u16>(scratch, plane.width);
    for (i32 row = 0; row < job.luma.height; ++row)
        fetch_row<S>(plane, job.luma, row, job.picture.depth, sums, out + static_cast<i64>(row) * job.luma.width);
}

template <class S> inline void fetch_chroma(const CropJob& job, u8* scratch, i16* out) {
    const i32 width = job.chroma.width, depth = job.picture.depth;
    u16* sums = take<u16>(scratch, job.picture.planes[1].width);
    i16 *u = take<i16>(scratch, width), *v = take<i16>(scratch, width);
    for (i32 row = 0; row < job.chroma.height; ++row, out += 2 * width) {
        fetch_row<S>(job.picture.planes[1], job.chroma, row, depth, sums, u);
        fetch_row<S>(job.picture.planes[2], job.chroma, row, depth, sums, v);
        DFX_INDEPENDENT
        for (i32 x = 0; x < width; ++x) {
            out[2 * x] = u[x];
            out[2 * x + 1] = v[x];
        }
    }
}

// Fills a group beyond the last pixel with its box, so that groups are whole.
inline void find_starts(const Region& region, i32 row, i32 size, const Starts& starts) {
    const double at_x = row_offset(region.x, row), at_y = row_offset(region.y, row);
    DFX_INDEPENDENT
    for (i32 column = 0; column < size; ++column) {
        const i32 x = box_start(region.x, at_x, column), y = box_start(region.y, at_y, column);
        starts.offsets[column] = (y >> kPhaseBits) * region.width + (x >> kPhaseBits);
        starts.wx[column] = (x & (kPhases - 1)) * kTaps;
        starts.wy[column] = (y & (kPhases - 1)) * kTaps;
    }
    for (i32 column = size; column % kGroup; ++column) {
        starts.offsets[column] = starts.offsets[size - 1];
        starts.wx[column] = starts.wx[size - 1];
        starts.wy[column] = starts.wy[size - 1];
    }
}

template <class S> inline void crop_of(const CropJob& job, u8* scratch) {
    const i64 size = job.size, row_size = round_up(size, kGroup);
    const Starts starts = {take<i32>(scratch, row_size), take<i32>(scratch, row_size), take<i32>(scratch, row_size)};
    i16 *y = take<i16>(scratch, row_size), *u = take<i16>(scratch, row_size), *v = take<i16>(scratch, row_size);
    i16* luma = take<i16>(scratch, region_area(job.luma));
    i16* chroma = take<i16>(scratch, 2 * region_area(job.chroma));
    fetch_luma<S>(job, scratch, luma);
    fetch_chroma<S>(job, scratch, chroma);
    for (i32 row = 0; row < size; ++row) {
        find_starts(job.luma, row, job.size, starts);
        for (i32 i = 0; i < size; i += kGroup) average_luma(job.luma, luma, starts, i, y);
        find_starts(job.chroma, row, job.size, starts);
        for (i32 i = 0; i < size; i += kGroup) average_chroma(job.chroma, chroma, starts, i, u, v);
        u8* out = job.out + row * size;
        colour_run(job.colour, y, u, v, size, out, out + size * size, out + 2 * size * size);
    }
}

inline void crop(const CropJob& job, u8* scratch) {
    if (job.picture.depth == 8) return crop_of<u8>(job, scratch);
    crop_of<u16>(job, scratch);
}

inline void fill_weights(i32 side, i16* table) {
    DFX_INDEPENDENT
    for (i32 phase = 0; phase < kPhases; ++phase) box_weights(phase, side, table + phase * kTaps);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
