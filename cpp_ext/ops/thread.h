// Which of a launch's threads this is: the only thing that the CUDA kernels and the CPU in their place do differently.
#pragma once

#include "common.h"

namespace dfx {

// Counted over all blocks; grids are rounded up, so it may lie beyond what there is to do.
struct Thread {
    i32 x, y, z;
};

inline namespace DFX_LEVEL {

// Adds 1 to a number that other threads add to as well, and returns what it was.
DFX_HD i32 count_up(i32* counter) {
#ifdef __CUDA_ARCH__
    return atomicAdd(counter, 1);
#else
    return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
#endif
}

}  // namespace DFX_LEVEL
}  // namespace dfx
