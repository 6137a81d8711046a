// From a detector's output on a GPU to the few candidates that the host sorts and suppresses: one anchor a thread.
#pragma once

#include "anchors.h"
#include "thread.h"

namespace dfx {

struct Candidate {
    i32 anchor;
    float score;
    Face face;
};

struct SelectLaunch {
    const float *scores, *boxes, *landmarks;  // [pictures, anchor_count], [..., 4], [..., 10]
    const Anchor* anchors;                    // [anchor_count]
    i32* counts;                              // [pictures], zero before; goes on counting beyond the capacity
    Candidate* found;                         // [capacity, pictures]: the filled part lies together, whatever its size
    double variances[2];
    float threshold;
    i32 anchor_count, pictures, capacity;
};

// The host's compiler and NVRTC must lay them out alike.
static_assert(sizeof(Anchor) == 24 && sizeof(Candidate) == 64 && sizeof(SelectLaunch) == 80, "another layout");

inline namespace DFX_LEVEL {

DFX_HD void select_thread(const SelectLaunch& launch, const Thread& at) {
    if (at.x >= launch.anchor_count || at.y >= launch.pictures) return;
    const i64 i = static_cast<i64>(at.y) * launch.anchor_count + at.x;
    if (!(launch.scores[i] > launch.threshold)) return;
    Candidate candidate = {at.x, launch.scores[i], {}};
    if (!decode_finite(launch.anchors[at.x], launch.boxes + 4 * i, launch.landmarks + 2 * kLandmarks * i,
                       launch.variances, candidate.face))
        return;
    const i32 slot = count_up(launch.counts + at.y);
    if (slot < launch.capacity) launch.found[static_cast<i64>(slot) * launch.pictures + at.y] = candidate;
}

}  // namespace DFX_LEVEL
}  // namespace dfx
