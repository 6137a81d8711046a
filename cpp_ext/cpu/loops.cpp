// The loops for one instruction set: compiled once for each, with DFX_LEVEL and DFX_KERNELS naming the result.
// No function of the standard library may be used here or in what is included: see DFX_LEVEL in ops/common.h.
#include "crop.h"
#include "letterbox.h"

#define DFX_QUOTE(name) #name
#define DFX_STRING(name) DFX_QUOTE(name)

namespace dfx {

const Kernels DFX_KERNELS = {DFX_STRING(DFX_LEVEL), letterbox_strip, crop, fill_weights};

}  // namespace dfx
