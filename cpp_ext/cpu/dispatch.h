// Chooses among the compilations of the loops by what the processor can do.
#pragma once

#include <string>
#include <vector>

#include "jobs.h"

namespace dfx {

// The compilations that this processor can run, the best first.
const std::vector<const Kernels*>& levels();

// The one in use: the best, unless `use_level` said otherwise.
const Kernels& kernels();

// Throws std::out_of_range when there is no such level.
void use_level(const std::string& name);

}  // namespace dfx
