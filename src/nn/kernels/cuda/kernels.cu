// Kernels for NVIDIA GPUs: the steps between the matrix multiplications of a decoder. All numbers are single precision.
//
// `attend` and `merge` follow the online softmax of FlashAttention (Dao et al., 2022) with the positions split over
// blocks, so that one query keeps the whole GPU busy (FlashDecoding, Dao et al., 2023).

#include <cuda_fp16.h>
#include <stdint.h>

// One sequence of a batch. Its cache holds `length` positions before these rows: for each layer the keys of all heads, then
// the values of all heads, each head's [capacity, head_dim]. Its queries are [heads, rows, head_dim], from row `first` of the
// batch on. As `Step` in step.rs writes it.
struct Part {
    float *kept;
    int first;
    int rows;
    int length;
    int capacity;
};

struct Heads {
    int layer;
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

__device__ Part part_of(const Part *parts, int count, int row) {
    int index = 0;
    while (index + 1 < count && row >= parts[index + 1].first) {
        index++;
    }
    return parts[index];
}

// Where a head's keys or values begin.
__device__ float *kept_of(const Part &part, const Heads &h, bool values, int kv_head) {
    return part.kept + ((size_t)(2 * h.layer + values) * h.kv_heads + kv_head) * part.capacity * h.head_dim;
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

// A warp's 32 numbers as a block of candle's kernels for vectors: scale and sum in half precision, then eight bits each. The sum is
// that of the rounded numbers: weights that are stored without sign subtract it, and what rounding changed must cancel there.
__device__ void round_block(uint8_t *rounded, size_t block, float value) {
    const int lane = threadIdx.x % 32;
    const float scale = most_of_warp(fabsf(value)) / 127.0f;
    const float code = scale == 0.0f ? 0.0f : roundf(value / scale);
    const float sum = scale * sum_of_warp(code);
    uint8_t *place = rounded + block * 36;
    reinterpret_cast<int8_t *>(place)[4 + lane] = (int8_t)code;
    if (lane == 0) {
        *reinterpret_cast<__half2 *>(place) = make_half2(__float2half(scale), __float2half(sum));
    }
}

__device__ int first_seen(const Heads &h, int position) {
    return h.window > 0 && position + 1 > h.window ? position + 1 - h.window : 0;
}

__device__ float capped(const Heads &h, float score) {
    return h.softcap > 0.0f ? h.softcap * tanhf(score / h.softcap) : score;
}

// Norms and turns the heads of a projection's rows, [rows, (heads + 2 kv_heads) head_dim]; queries go to `queries`,
// keys and values into the caches. Grid: rows, heads + 2 kv_heads; one warp each. Shared: head_dim numbers.
extern "C" __global__ void finish_heads(const float *qkv, const float *bias, const float *cosines, const float *sines,
                                        const float *q_norm, const float *k_norm, float *queries, const Part *parts, int count, Heads h) {
    extern __shared__ float head[];
    const int row = parts[0].first + blockIdx.x, which = blockIdx.y, lane = threadIdx.x;
    const Part part = part_of(parts, count, row);
    const int within = row - part.first;
    const float *in = qkv + ((size_t)row * (h.heads + 2 * h.kv_heads) + which) * h.head_dim;
    const bool query = which < h.heads, value = which >= h.heads + h.kv_heads;
    float squares = 0.0f;
    for (int d = lane; d < h.head_dim; d += 32) {
        const float number = in[d] + (bias ? bias[which * h.head_dim + d] : 0.0f);
        head[d] = number;
        squares += number * number;
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
        out = kept_of(part, h, value, kv_head) + (size_t)(part.length + within) * h.head_dim;
    }
    const float scale = query ? h.scale : 1.0f;
    for (int d = lane; d < h.head_dim; d += 32) {
        out[d] = head[d] * scale;
    }
}

// Scores of a group's queries for `count` keys. Each warp takes four keys at a time, so that their reads overlap.
template <int GROUP>
__device__ void score_keys(const float *keys, const float *query, float *scores, const Heads &h, int count, int span) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32, dim = h.head_dim;
    for (int p = 4 * warp; p < count; p += 4 * warps) {
        float products[4][GROUP] = {};
        for (int d = lane; d < dim; d += 32) {
            float key[4];
            for (int i = 0; i < 4; i++) {
                key[i] = keys[(size_t)min(p + i, count - 1) * dim + d];
            }
            for (int g = 0; g < GROUP; g++) {
                const float number = query[g * dim + d];
                for (int i = 0; i < 4; i++) {
                    products[i][g] += key[i] * number;
                }
            }
        }
        for (int g = 0; g < GROUP; g++) {
            for (int i = 0; i < 4; i++) {
                products[i][g] = sum_of_warp(products[i][g]);
            }
            if (lane < 4 && p + lane < count) {
                const float product = lane == 0 ? products[0][g] : lane == 1 ? products[1][g] : lane == 2 ? products[2][g] : products[3][g];
                scores[g * span + p + lane] = capped(h, product);
            }
        }
    }
}

// Sums of values by a group's weights. Threads that a head has no numbers for take other positions; `partial` holds their sums,
// group * max(head_dim, threads) numbers.
template <int GROUP>
__device__ void sum_values(const float *values, const float *weights, float *partial, float *sums, size_t stride, int dim,
                           int count, int span) {
    const int sharers = max((int)blockDim.x / dim, 1), sharer = threadIdx.x / dim;
    const bool alone = sharers == 1;
    if (alone || sharer < sharers) {
        for (int d = alone ? threadIdx.x : threadIdx.x % dim; d < dim; d += alone ? blockDim.x : dim) {
            float sum[GROUP] = {};
#pragma unroll 8
            for (int p = alone ? 0 : sharer; p < count; p += sharers) {
                const float value = values[(size_t)p * dim + d];
                for (int g = 0; g < GROUP; g++) {
                    sum[g] += weights[g * span + p] * value;
                }
            }
            for (int g = 0; g < GROUP; g++) {
                partial[((alone ? 0 : sharer) * GROUP + g) * dim + d] = sum[g];
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < GROUP * dim; i += blockDim.x) {
        float sum = 0.0f;
        for (int other = 0; other < sharers; other++) {
            sum += partial[other * GROUP * dim + i];
        }
        sums[i / dim * stride + i % dim] = sum;
    }
}

template <int GROUP>
__device__ void attend_group(const float *keys, const float *values, const float *query, float *scores, float *partial,
                             float *sums, float2 *weights, size_t stride, const Heads &h, int count, int span) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    score_keys<GROUP>(keys, query, scores, h, count, span);
    __syncthreads();
    for (int g = warp; g < GROUP; g += warps) {
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
            weights[g * stride] = make_float2(highest, sum);
        }
    }
    __syncthreads();
    sum_values<GROUP>(values, scores, partial, sums, stride * h.head_dim, h.head_dim, count, span);
}

// What one row of a group of query heads takes from `span` positions: sums of values, and for the merging the highest
// score and the sum of weights. Grid: spans, kv_heads, rows; a block of whole warps. Shared: group times head_dim, span and the
// larger of head_dim and the threads, numbers.
extern "C" __global__ void attend(const float *queries, float *sums, float2 *weights, const Part *parts, int parts_count,
                                  Heads h, int span) {
    extern __shared__ float shared[];
    const int row = parts[0].first + blockIdx.z, kv_head = blockIdx.y, thread = threadIdx.x;
    const Part part = part_of(parts, parts_count, row);
    const int within = row - part.first, position = part.length + within;
    const int group = h.heads / h.kv_heads, dim = h.head_dim;
    const int seen = first_seen(h, position);
    const int from = seen + blockIdx.x * span, count = min(position + 1 - from, span);
    const size_t place = ((size_t)blockIdx.z * h.heads + (size_t)kv_head * group) * gridDim.x + blockIdx.x;
    sums += place * dim;
    weights += place;
    if (count <= 0) {
        for (int g = thread; g < group; g += blockDim.x) {
            weights[(size_t)g * gridDim.x] = make_float2(-INFINITY, 0.0f);
        }
        return;
    }
    float *query = shared, *scores = query + group * dim, *partial = scores + group * span;
    for (int i = thread; i < group * dim; i += blockDim.x) {
        const int head = kv_head * group + i / dim;
        query[i] = queries[((size_t)part.first * h.heads + (size_t)head * part.rows + within) * dim + i % dim];
    }
    __syncthreads();
    const float *keys = kept_of(part, h, false, kv_head) + (size_t)from * dim;
    const float *values = kept_of(part, h, true, kv_head) + (size_t)from * dim;
    switch (group) {
#define GROUP(N) \
    case N: \
        attend_group<N>(keys, values, query, scores, partial, sums, weights, gridDim.x, h, count, span); \
        break;
        GROUP(1) GROUP(2) GROUP(3) GROUP(4) GROUP(5) GROUP(6) GROUP(7) GROUP(8)
        GROUP(9) GROUP(10) GROUP(11) GROUP(12) GROUP(13) GROUP(14) GROUP(15) GROUP(16)
#undef GROUP
    }
}

// Joins what the spans of `attend` found: [rows, heads head_dim], and, where asked for, the same rounded, filled up with zeros to
// `filled` numbers a row. Grid: heads, rows; whole warps. Shared: spans numbers.
extern "C" __global__ void merge(const float *sums, const float2 *weights, float *out, uint8_t *rounded, int spans, int dim,
                                 int filled) {
    extern __shared__ float shares[];
    __shared__ float scratch[33];
    const int head = blockIdx.x, heads = gridDim.x, row = blockIdx.y;
    const size_t place = ((size_t)row * heads + head) * spans;
    float highest = -INFINITY;
    for (int s = threadIdx.x; s < spans; s += blockDim.x) {
        highest = fmaxf(highest, weights[place + s].x);
    }
    highest = of_block<most_of_warp>(highest, -INFINITY, scratch);
    float total = 0.0f;
    for (int s = threadIdx.x; s < spans; s += blockDim.x) {
        // Spans that a row does not reach have no weight, and their sums were not written.
        const float2 weight = weights[place + s];
        shares[s] = weight.y > 0.0f ? __expf(weight.x - highest) : 0.0f;
        total += shares[s] * weight.y;
    }
    total = of_block<sum_of_warp>(total, 0.0f, scratch);
    for (int d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 8
        for (int s = 0; s < spans; s++) {
            sum += shares[s] > 0.0f ? shares[s] * sums[(place + s) * dim + d] : 0.0f;
        }
        sum /= total;
        out[((size_t)row * heads + head) * dim + d] = sum;
        if (rounded) {
            round_block(rounded, ((size_t)row * filled + head * dim + d) / 32, sum);
        }
    }
    if (rounded && head + 1 == heads) {
        for (int d = heads * dim + threadIdx.x; d < filled; d += blockDim.x) {
            round_block(rounded, ((size_t)row * filled + d) / 32, 0.0f);
        }
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

// activation(gate) * up of rows that hold the gate in their first half and the other factor in their second; where asked for,
// rounded too, filled up with zeros to `filled` numbers a row. Grid: filled / 256, rows; 256 threads. Shared: none.
extern "C" __global__ void gate(const float *gate_up, float *out, uint8_t *rounded, int half, int filled, int gelu) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const size_t row = blockIdx.y;
    float value = 0.0f;
    if (c < half) {
        const float g = gate_up[row * 2 * half + c], up = gate_up[row * 2 * half + half + c];
        // (1 + tanh z) / 2 is the logistic function of 2 z.
        const float z = gelu ? 1.5957692f * (g + 0.044715f * g * g * g) : g;
        value = g / (1.0f + __expf(-z)) * up;
        out[row * half + c] = value;
    }
    if (rounded && c < filled) {
        round_block(rounded, (row * filled + c) / 32, value);
    }
}

// Rounded rows, filled up with zeros to `filled` numbers. Grid: filled / 256, rows; 256 threads. Shared: none.
extern "C" __global__ void round_rows(const float *x, uint8_t *rounded, int columns, int filled) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < filled) {
        const float value = c < columns ? x[(size_t)blockIdx.y * columns + c] : 0.0f;
        round_block(rounded, ((size_t)blockIdx.y * filled + c) / 32, value);
    }
}

// Half precision of numbers times a factor.
extern "C" __global__ void to_half(const float *in, __half *out, float factor, size_t count) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        out[i] = __float2half(in[i] * factor);
    }
}

// x + y, its root-mean-square norm, and, where asked for, that rounded, filled up with zeros to `filled` numbers a row.
// Grid: rows; whole warps. Shared: columns numbers.
extern "C" __global__ void add_norm(const float *x, const float *y, const float *weight, float *sum, float *normed,
                                    uint8_t *rounded, int columns, int filled, float eps) {
    extern __shared__ float kept[];
    __shared__ float scratch[33];
    const size_t start = (size_t)blockIdx.x * columns;
    float squares = 0.0f;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        const float value = x[start + c] + y[start + c];
        kept[c] = value;
        sum[start + c] = value;
        squares += value * value;
    }
    const float factor = rsqrtf(of_block<sum_of_warp>(squares, 0.0f, scratch) / columns + eps);
    for (int c = threadIdx.x; c < (rounded ? filled : columns); c += blockDim.x) {
        const float value = c < columns ? kept[c] * factor * weight[c] : 0.0f;
        if (c < columns) {
            normed[start + c] = value;
        }
        if (rounded) {
            round_block(rounded, ((size_t)blockIdx.x * filled + c) / 32, value);
        }
    }
}

// The highest of a warp's numbers and its id, the lowest id among equals, for all of its threads.
__device__ void best_of_warp(float &value, int &id) {
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, value, step);
        const int other_id = __shfl_xor_sync(0xffffffff, id, step);
        if (other > value || (other == value && other_id < id)) {
            value = other;
            id = other_id;
        }
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
        best_of_warp(value, id);
        if (thread % 32 == 0) {
            value_of[thread / 32] = value;
            id_of[thread / 32] = id;
        }
        __syncthreads();
        if (thread < 32) {
            value = value_of[thread];
            id = id_of[thread];
            best_of_warp(value, id);
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
