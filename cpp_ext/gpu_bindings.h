// The half of dfx._kernels that works on stored pictures, on a GPU or on the CPU in its place.
#pragma once

#include "arrays.h"

namespace dfx {

void bind_gpu(nb::module_& module);

}  // namespace dfx
