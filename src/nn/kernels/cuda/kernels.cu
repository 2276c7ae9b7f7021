// Kernels for NVIDIA GPUs: the steps between the matrix multiplications of a decoder. All numbers are single precision.
//
// `attend` and `merge` follow the online softmax of FlashAttention (Dao et al., 2022) with the positions split over
// blocks, so that one query keeps the whole GPU busy (FlashDecoding, Dao et al., 2023).

#include <cuda_fp16.h>
#include <stdint.h>

// One sequence of a batch. Its cache holds `length` positions before these rows; keys and values are
// [kv_heads, capacity, head_dim]. Its queries are [heads, rows, head_dim], from row `first` of the batch on.
struct Part {
    float *keys;
    float *values;
    int first;
    int rows;
    int length;
    int capacity;
};

// As many as `PARTS` in attention.rs.
struct Parts {
    Part part[16];
    int count;
};

struct Heads {
    int heads;
    int kv_heads;
    int head_dim;
    // Pairs of numbers that are turned, and whether the two stand side by side.
    int pairs;
    int interleaved;
    float eps;
    float scale;
    // Positions that a row sees at most; 0 is all.
    int window;
    // Scores are squeezed into (-softcap, softcap); 0 leaves them.
    float softcap;
};

__device__ const Part &part_of(const Parts &parts, int row) {
    int index = 0;
    while (index + 1 < parts.count && row >= parts.part[index + 1].first) {
        index++;
    }
    return parts.part[index];
}

__device__ float sum_of_warp(float value) {
    for (int step = 16; step > 0; step /= 2) {
        value += __shfl_xor_sync(0xffffffff, value, step);
    }
    return value;
}

__device__ float most_of_warp(float value) {
    for (int step = 16; step > 0; step /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, step));
    }
    return value;
}

// Over a block of up to 32 warps; `scratch` holds 33 numbers.
template <float (*OF_WARP)(float)>
__device__ float of_block(float value, float neutral, float *scratch) {
    value = OF_WARP(value);
    if (threadIdx.x % 32 == 0) {
        scratch[threadIdx.x / 32] = value;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        value = OF_WARP(threadIdx.x < (blockDim.x + 31) / 32 ? scratch[threadIdx.x] : neutral);
        if (threadIdx.x == 0) {
            scratch[32] = value;
        }
    }
    __syncthreads();
    value = scratch[32];
    __syncthreads();
    return value;
}

__device__ int first_seen(const Heads &h, int position) {
    return h.window > 0 && position + 1 > h.window ? position + 1 - h.window : 0;
}

__device__ float capped(const Heads &h, float score) {
    return h.softcap > 0.0f ? h.softcap * tanhf(score / h.softcap) : score;
}

// Norms and turns the heads of a projection's rows, [rows, (heads + 2 kv_heads) head_dim]; queries go to `queries`,
// keys and values into the caches. Grid: rows, heads + 2 kv_heads; one warp each. Shared: head_dim numbers.
extern "C" __global__ void finish_heads(const float *qkv, const float *cosines, const float *sines, const float *q_norm,
                                        const float *k_norm, float *queries, Parts parts, Heads h) {
    extern __shared__ float head[];
    const int row = parts.part[0].first + blockIdx.x, which = blockIdx.y, lane = threadIdx.x;
    const Part &part = part_of(parts, row);
    const int within = row - part.first;
    const float *in = qkv + ((size_t)row * (h.heads + 2 * h.kv_heads) + which) * h.head_dim;
    const bool query = which < h.heads, value = which >= h.heads + h.kv_heads;
    float squares = 0.0f;
    for (int d = lane; d < h.head_dim; d += 32) {
        head[d] = in[d];
        squares += in[d] * in[d];
    }
    __syncwarp();
    const float *norm = query ? q_norm : k_norm;
    if (norm && !value) {
        const float factor = rsqrtf(sum_of_warp(squares) / h.head_dim + h.eps);
        for (int d = lane; d < h.head_dim; d += 32) {
            head[d] *= factor * norm[d];
        }
        __syncwarp();
    }
    if (!value) {
        for (int pair = lane; pair < h.pairs; pair += 32) {
            const int a = h.interleaved ? 2 * pair : pair, b = h.interleaved ? a + 1 : pair + h.pairs;
            const float cosine = cosines[(size_t)row * h.pairs + pair], sine = sines[(size_t)row * h.pairs + pair];
            const float x = head[a], y = head[b];
            head[a] = x * cosine - y * sine;
            head[b] = x * sine + y * cosine;
        }
        __syncwarp();
    }
    float *out;
    if (query) {
        out = queries + ((size_t)part.first * h.heads + (size_t)which * part.rows + within) * h.head_dim;
    } else {
        const int kv_head = (which - h.heads) % h.kv_heads;
        out = (value ? part.values : part.keys) + ((size_t)kv_head * part.capacity + part.length + within) * h.head_dim;
    }
    const float scale = query ? h.scale : 1.0f;
    for (int d = lane; d < h.head_dim; d += 32) {
        out[d] = head[d] * scale;
    }
}

// What one row of a group of query heads takes from `span` positions: sums of values, and for the merging the highest
// score and the sum of weights. Grid: spans, kv_heads, rows; four warps. Shared: group (head_dim + span) numbers.
extern "C" __global__ void attend(const float *queries, float *sums, float2 *weights, Parts parts, Heads h, int span) {
    extern __shared__ float shared[];
    const int row = parts.part[0].first + blockIdx.z, kv_head = blockIdx.y, thread = threadIdx.x;
    const Part &part = part_of(parts, row);
    const int within = row - part.first, position = part.length + within;
    const int group = h.heads / h.kv_heads, dim = h.head_dim;
    const int seen = first_seen(h, position);
    const int from = seen + blockIdx.x * span, count = min(position + 1 - from, span);
    const size_t place = ((size_t)blockIdx.z * h.heads + (size_t)kv_head * group) * gridDim.x + blockIdx.x;
    if (count <= 0) {
        for (int g = thread; g < group; g += blockDim.x) {
            weights[place + (size_t)g * gridDim.x] = make_float2(-INFINITY, 0.0f);
        }
        return;
    }
    float *query = shared, *scores = shared + group * dim;
    for (int i = thread; i < group * dim; i += blockDim.x) {
        const int head = kv_head * group + i / dim;
        query[i] = queries[((size_t)part.first * h.heads + (size_t)head * part.rows + within) * dim + i % dim];
    }
    __syncthreads();
    const int warp = thread / 32, lane = thread % 32, warps = blockDim.x / 32;
    const float *keys = part.keys + ((size_t)kv_head * part.capacity + from) * dim;
    const float *values = part.values + ((size_t)kv_head * part.capacity + from) * dim;
    for (int p = warp; p < count; p += warps) {
        for (int g = 0; g < group; g++) {
            float product = 0.0f;
            for (int d = lane; d < dim; d += 32) {
                product += keys[(size_t)p * dim + d] * query[g * dim + d];
            }
            product = sum_of_warp(product);
            if (lane == 0) {
                scores[g * span + p] = capped(h, product);
            }
        }
    }
    __syncthreads();
    for (int g = warp; g < group; g += warps) {
        float highest = -INFINITY;
        for (int p = lane; p < count; p += 32) {
            highest = fmaxf(highest, scores[g * span + p]);
        }
        highest = most_of_warp(highest);
        float sum = 0.0f;
        for (int p = lane; p < count; p += 32) {
            const float weight = __expf(scores[g * span + p] - highest);
            scores[g * span + p] = weight;
            sum += weight;
        }
        sum = sum_of_warp(sum);
        if (lane == 0) {
            weights[place + (size_t)g * gridDim.x] = make_float2(highest, sum);
        }
    }
    __syncthreads();
    for (int i = thread; i < group * dim; i += blockDim.x) {
        const int g = i / dim, d = i % dim;
        float sum = 0.0f;
        for (int p = 0; p < count; p++) {
            sum += scores[g * span + p] * values[(size_t)p * dim + d];
        }
        sums[(place + (size_t)g * gridDim.x) * dim + d] = sum;
    }
}

// Joins what the spans of `attend` found: [rows, heads head_dim]. Grid: heads, rows; a thread for each number of a head.
extern "C" __global__ void merge(const float *sums, const float2 *weights, float *out, int spans, int heads, int dim) {
    const size_t place = ((size_t)blockIdx.y * heads + blockIdx.x) * spans;
    float highest = -INFINITY;
    for (int s = 0; s < spans; s++) {
        highest = fmaxf(highest, weights[place + s].x);
    }
    for (int d = threadIdx.x; d < dim; d += blockDim.x) {
        float total = 0.0f, sum = 0.0f;
        for (int s = 0; s < spans; s++) {
            const float2 weight = weights[place + s];
            if (weight.y > 0.0f) {
                const float share = __expf(weight.x - highest);
                total += share * weight.y;
                sum += share * sums[(place + s) * dim + d];
            }
        }
        out[((size_t)blockIdx.y * heads + blockIdx.x) * dim + d] = sum / total;
    }
}

// Softmax of scores, [heads, rows, columns], in place; column c is position `from + c`, row r is position
// `position + r`, and what a row does not see becomes 0. Grid: rows, heads; any block. Shared: none.
extern "C" __global__ void softmax_seen(float *scores, int columns, int from, int position, Heads h) {
    __shared__ float scratch[33];
    float *row = scores + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * columns;
    const int own = position + blockIdx.x;
    const int first = max(first_seen(h, own) - from, 0), end = min(own + 1 - from, columns);
    float highest = -INFINITY;
    for (int c = first + threadIdx.x; c < end; c += blockDim.x) {
        row[c] = capped(h, row[c]);
        highest = fmaxf(highest, row[c]);
    }
    highest = of_block<most_of_warp>(highest, -INFINITY, scratch);
    float sum = 0.0f;
    for (int c = first + threadIdx.x; c < end; c += blockDim.x) {
        row[c] = __expf(row[c] - highest);
        sum += row[c];
    }
    const float factor = 1.0f / of_block<sum_of_warp>(sum, 0.0f, scratch);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        row[c] = c >= first && c < end ? row[c] * factor : 0.0f;
    }
}

// activation(gate) * up of rows that hold the gate in their first half and the other factor in their second.
extern "C" __global__ void gate(const float *gate_up, float *out, int half, int gelu, size_t count) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) {
        return;
    }
    const float *row = gate_up + i / half * 2 * half;
    const float g = row[i % half], up = row[half + i % half];
    // (1 + tanh z) / 2 is the logistic function of 2 z.
    const float z = gelu ? 1.5957692f * (g + 0.044715f * g * g * g) : g;
    out[i] = g / (1.0f + __expf(-z)) * up;
}

// Half precision of numbers times a factor.
extern "C" __global__ void to_half(const float *in, __half *out, float factor, size_t count) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        out[i] = __float2half(in[i] * factor);
    }
}

// x + y, and its root-mean-square norm. Grid: rows; any block. Shared: none.
extern "C" __global__ void add_norm(const float *x, const float *y, const float *weight, float *sum, float *normed,
                                    int columns, float eps) {
    __shared__ float scratch[33];
    const size_t start = (size_t)blockIdx.x * columns;
    float squares = 0.0f;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        const float value = x[start + c] + y[start + c];
        sum[start + c] = value;
        squares += value * value;
    }
    const float factor = rsqrtf(of_block<sum_of_warp>(squares, 0.0f, scratch) / columns + eps);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        normed[start + c] = sum[start + c] * factor * weight[c];
    }
}

// Of rows of logits: the highest, the sum of exponentials of the distances to it, how many are no numbers, and the `count`
// highest of them (ids and logits), the highest first, the lowest id first among equals: [rows, 3 + 2 count] numbers.
// Grid: rows; 1024 threads. Shared: none.
extern "C" __global__ void leaders(const float *logits, float *out, int columns, int count) {
    __shared__ float scratch[33];
    __shared__ float value_of[32];
    __shared__ int id_of[32];
    const float *row = logits + (size_t)blockIdx.x * columns;
    float *told = out + (size_t)blockIdx.x * (3 + 2 * count);
    const int thread = threadIdx.x;
    // This thread's best, those before it in the order already told left out.
    float last = INFINITY;
    int last_id = -1;
    float highest = -INFINITY, wrong = 0.0f;
    for (int c = thread; c < columns; c += blockDim.x) {
        const float value = row[c];
        wrong += value != value || value == INFINITY ? 1.0f : 0.0f;
        highest = fmaxf(highest, value);
    }
    wrong = of_block<sum_of_warp>(wrong, 0.0f, scratch);
    highest = of_block<most_of_warp>(highest, -INFINITY, scratch);
    float sum = 0.0f;
    float mine = -INFINITY;
    int mine_id = 0x7fffffff;
    for (int c = thread; c < columns; c += blockDim.x) {
        const float value = row[c];
        sum += __expf(value - highest);
        if (value > mine || (value == mine && c < mine_id)) {
            mine = value;
            mine_id = c;
        }
    }
    sum = of_block<sum_of_warp>(sum, 0.0f, scratch);
    if (thread == 0) {
        told[0] = highest;
        told[1] = sum;
        told[2] = wrong;
    }
    for (int k = 0; k < count; k++) {
        float value = mine;
        int id = mine_id;
        for (int step = 16; step > 0; step /= 2) {
            const float other = __shfl_xor_sync(0xffffffff, value, step);
            const int other_id = __shfl_xor_sync(0xffffffff, id, step);
            if (other > value || (other == value && other_id < id)) {
                value = other;
                id = other_id;
            }
        }
        if (thread % 32 == 0) {
            value_of[thread / 32] = value;
            id_of[thread / 32] = id;
        }
        __syncthreads();
        if (thread < 32) {
            value = value_of[thread];
            id = id_of[thread];
            for (int step = 16; step > 0; step /= 2) {
                const float other = __shfl_xor_sync(0xffffffff, value, step);
                const int other_id = __shfl_xor_sync(0xffffffff, id, step);
                if (other > value || (other == value && other_id < id)) {
                    value = other;
                    id = other_id;
                }
            }
            if (thread == 0) {
                value_of[0] = value;
                id_of[0] = id;
                told[3 + 2 * k] = __int_as_float(id);
                told[4 + 2 * k] = value;
            }
        }
        __syncthreads();
        last = value_of[0];
        last_id = id_of[0];
        // Whose it was looks for the next.
        if (mine_id == last_id) {
            mine = -INFINITY;
            mine_id = 0x7fffffff;
            for (int c = thread; c < columns; c += blockDim.x) {
                const float next = row[c];
                const bool after = next < last || (next == last && c > last_id);
                if (after && (next > mine || (next == mine && c < mine_id))) {
                    mine = next;
                    mine_id = c;
                }
            }
        }
        __syncthreads();
    }
}
