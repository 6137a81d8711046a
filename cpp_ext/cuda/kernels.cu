// The CUDA kernels: compiled by NVRTC, with --fmad=false, so that their results are the CPU's to the bit.
#include "../ops/picture.h"
#include "../ops/select.h"
#include "../ops/unmix.h"

using namespace dfx;

namespace {

__device__ Thread here() {
    return {static_cast<i32>(blockIdx.x * blockDim.x + threadIdx.x),
            static_cast<i32>(blockIdx.y * blockDim.y + threadIdx.y), static_cast<i32>(blockIdx.z)};
}

}  // namespace

extern "C" {

__global__ void letterbox_bytes(const LetterboxLaunch launch) { letterbox_thread<Byte>(launch, here()); }
__global__ void letterbox_halves(const LetterboxLaunch launch) { letterbox_thread<Half>(launch, here()); }
__global__ void crop_bytes(const CropLaunch launch) { crop_thread<Byte>(launch, here()); }
__global__ void crop_halves(const CropLaunch launch) { crop_thread<Half>(launch, here()); }
__global__ void select_faces(const SelectLaunch launch) { select_thread(launch, here()); }
__global__ void unmix_cells(const UnmixLaunch launch) { unmix_cell_thread(launch, here()); }
__global__ void unmix_chroma(const UnmixLaunch launch) { unmix_chroma_thread(launch, here()); }

}  // extern "C"
