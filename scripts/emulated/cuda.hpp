// As much of CUDA as src/nn/kernels/cuda/kernels.cu needs, on the CPU: every thread of a block is a thread, blocks run one after
// the other.
#pragma once
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

struct dim3_ {
    unsigned x, y, z;
};
struct float2 {
    float x, y;
};
using __half = _Float16;
struct __half2 {
    __half x, y;
};

inline thread_local dim3_ threadIdx, blockIdx;
inline dim3_ blockDim, gridDim;
inline std::unique_ptr<std::barrier<>> of_all;
inline std::vector<std::unique_ptr<std::barrier<>>> of_warps;
inline std::vector<std::uint32_t> exchanged;

inline void __syncthreads() { of_all->arrive_and_wait(); }
inline void __syncwarp() { of_warps[threadIdx.x / 32]->arrive_and_wait(); }

template <typename T> T __shfl_xor_sync(unsigned, T value, int step) {
    static_assert(sizeof(T) == 4);
    std::memcpy(&exchanged[threadIdx.x], &value, 4);
    __syncwarp();
    T other;
    std::memcpy(&other, &exchanged[threadIdx.x ^ step], 4);
    __syncwarp();
    return other;
}

inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline __half __float2half(float x) { return (__half)x; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float __int_as_float(int x) {
    float y;
    std::memcpy(&y, &x, 4);
    return y;
}
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
using std::fabs;

// What kernels call shared memory whose size the launch says.
inline float head[1 << 15], shared[1 << 15], shares[1 << 15], kept[1 << 15];

template <typename Kernel> void launch(dim3_ grid, unsigned threads, Kernel kernel) {
    gridDim = grid;
    blockDim = {threads, 1, 1};
    exchanged.assign(threads, 0);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                of_all = std::make_unique<std::barrier<>>(threads);
                of_warps.clear();
                for (unsigned warp = 0; warp < threads / 32; warp++) of_warps.push_back(std::make_unique<std::barrier<>>(32));
                // What was never written must not look like a result.
                for (float *memory : {head, shared, shares, kept}) std::fill(memory, memory + (1 << 15), NAN);
                std::vector<std::thread> all;
                for (unsigned thread = 0; thread < threads; thread++)
                    all.emplace_back([=] {
                        threadIdx = {thread, 0, 0};
                        blockIdx = {x, y, z};
                        kernel();
                        of_all->arrive_and_drop();
                        of_warps[thread / 32]->arrive_and_drop();
                    });
                for (auto &thread : all) thread.join();
            }
}
