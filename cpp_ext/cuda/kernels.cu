// The CUDA kernels: compiled by NVRTC, with --fmad=false, so that their results are the CPU's to the bit.
#include "../ops/rgb.h"
#include "../ops/select.h"

namespace {

__device__ dfx::Thread here() {
    return {static_cast<dfx::i32>(blockIdx.x * blockDim.x + threadIdx.x),
            static_cast<dfx::i32>(blockIdx.y * blockDim.y + threadIdx.y), static_cast<dfx::i32>(blockIdx.z)};
}

}  // namespace

extern "C" {

__global__ void letterbox_bytes(const dfx::LetterboxLaunch launch) { dfx::letterbox_thread<dfx::Byte>(launch, here()); }
__global__ void letterbox_halves(const dfx::LetterboxLaunch launch) { dfx::letterbox_thread<dfx::Half>(launch, here()); }
__global__ void crop_bytes(const dfx::CropLaunch launch) { dfx::crop_thread<dfx::Byte>(launch, here()); }
__global__ void crop_halves(const dfx::CropLaunch launch) { dfx::crop_thread<dfx::Half>(launch, here()); }
__global__ void select_faces(const dfx::SelectLaunch launch) { dfx::select_thread(launch, here()); }

}  // extern "C"
