// Holds the CUDA kernels equal to plain loops, with every thread of a block emulated on the CPU.
#include "cuda.hpp"
#include "kernels.inc"
#include <cstdio>
#include <cstdlib>
#include <random>

static std::mt19937 source(7);
static int failures = 0;

static std::vector<float> numbers(size_t count, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> all(count);
    for (auto &number : all) number = normal(source);
    return all;
}

static void same(const char *what, const std::vector<float> &found, const std::vector<double> &expected, double within) {
    for (size_t i = 0; i < expected.size(); i++)
        if (!(std::abs(found[i] - expected[i]) <= within * (1.0 + std::abs(expected[i])))) {
            std::printf("%s: number %zu is %g, not %g\n", what, i, found[i], expected[i]);
            failures++;
            return;
        }
}

// Rounded rows are scale times code, within a step of it, and say their sums.
static void rounded_like(const char *what, const std::vector<uint8_t> &rounded, const std::vector<float> &rows, int columns, int filled) {
    for (size_t row = 0; row * columns < rows.size(); row++)
        for (int block = 0; block < filled / 32; block++) {
            const uint8_t *place = rounded.data() + (row * filled / 32 + block) * 36;
            const __half2 head = *reinterpret_cast<const __half2 *>(place);
            double sum = 0.0, most = 0.0;
            for (int i = 0; i < 32; i++) {
                const int c = block * 32 + i;
                const float value = c < columns ? rows[row * columns + c] : 0.0f;
                sum += (double)(float)head.x * (int8_t)place[4 + i];
                most = std::max(most, (double)std::abs(value));
                const double back = (double)(float)head.x * (int8_t)place[4 + i];
                if (!(std::abs(back - value) <= most / 127.0 + std::abs(value) * 2e-3 + 1e-6) && std::abs(back - value) > std::abs((float)head.x)) {
                    std::printf("%s: rounded number %d of row %zu is %g, not %g\n", what, c, row, back, value);
                    failures++;
                    return;
                }
            }
            if (!(std::abs((float)head.y - sum) <= 2e-3 * (1.0 + std::abs(sum)))) {
                std::printf("%s: block %d of row %zu says a sum of %g, not %g\n", what, block, row, (float)head.y, sum);
                failures++;
                return;
            }
        }
}

static int filled_up(int columns) { return (columns + 511) / 512 * 512; }

static void rows() {
    for (int columns : {32, 576, 1000}) {
        const int count = 2, filled = filled_up(columns);
        const auto x = numbers(count * columns, 10.0f);
        std::vector<uint8_t> rounded(count * filled / 32 * 36, 0xAA);
        launch({(unsigned)filled / 256, count, 1}, 256, [&] { round_rows(x.data(), rounded.data(), columns, filled); });
        rounded_like("round_rows", rounded, x, columns, filled);
    }
}

static void halves() {
    const auto x = numbers(300, 100.0f);
    std::vector<__half> out(x.size());
    launch({2, 1, 1}, 256, [&] { to_half(x.data(), out.data(), 0.0625f, x.size()); });
    std::vector<float> found(out.begin(), out.end());
    same("to_half", found, [&] { std::vector<double> all; for (float number : x) all.push_back(number / 16.0); return all; }(), 1e-3);
}

static void norms() {
    for (int columns : {32, 96, 576, 700, 1536})
        for (bool round : {true, false}) {
            const int rows = 3, filled = filled_up(columns);
            const auto x = numbers(rows * columns), y = numbers(rows * columns), weight = numbers(columns);
            std::vector<float> sum(x.size(), NAN), normed(x.size(), NAN);
            std::vector<uint8_t> rounded(rows * filled / 32 * 36, 0xAA);
            launch({rows, 1, 1}, 512, [&] {
                add_norm(x.data(), y.data(), weight.data(), sum.data(), normed.data(), round ? rounded.data() : nullptr, columns, filled, 1e-5f);
            });
            std::vector<double> sums, expected;
            for (int row = 0; row < rows; row++) {
                double squares = 0.0;
                for (int c = 0; c < columns; c++) {
                    sums.push_back((double)x[row * columns + c] + y[row * columns + c]);
                    squares += sums.back() * sums.back();
                }
                const double factor = 1.0 / std::sqrt(squares / columns + 1e-5);
                for (int c = 0; c < columns; c++) expected.push_back(sums[row * columns + c] * factor * weight[c]);
            }
            same("add_norm: sum", sum, sums, 1e-6);
            same("add_norm: norm", normed, expected, 1e-5);
            if (round) rounded_like("add_norm", rounded, normed, columns, filled);
        }
}

static void gates() {
    for (int half : {32, 100, 1536})
        for (int gelu : {0, 1})
            for (bool round : {true, false}) {
                const int rows = 2, filled = filled_up(half);
                const auto x = numbers(rows * 2 * half, 2.0f);
                std::vector<float> out(rows * half, NAN);
                std::vector<uint8_t> rounded(rows * filled / 32 * 36, 0xAA);
                launch({(unsigned)filled / 256, rows, 1}, 256, [&] { gate(x.data(), out.data(), round ? rounded.data() : nullptr, half, filled, gelu); });
                std::vector<double> expected;
                for (int row = 0; row < rows; row++)
                    for (int c = 0; c < half; c++) {
                        const double g = x[row * 2 * half + c], up = x[row * 2 * half + half + c];
                        const double z = 0.7978845608 * (g + 0.044715 * g * g * g);
                        expected.push_back((gelu ? 0.5 * g * (1.0 + std::tanh(z)) : g / (1.0 + std::exp(-g))) * up);
                    }
                same("gate", out, expected, 1e-5);
                if (round) rounded_like("gate", rounded, out, half, filled);
            }
}

struct Shape {
    int heads, kv_heads, head_dim, pairs, interleaved, window;
    float softcap;
    bool norm, bias;
};

static void attention(const Shape &shape) {
    // Three sequences: lengths before the step, and rows in it.
    const int lengths[] = {0, 37, 90}, rows_of[] = {1, 2, 1}, capacity = 128, layers = 2, layer = 1;
    const int dim = shape.head_dim, heads = shape.heads, kv = shape.kv_heads, rows = 4, width = (heads + 2 * kv) * dim;
    std::vector<std::vector<float>> caches;
    std::vector<Part> parts;
    for (int i = 0, first = 0; i < 3; first += rows_of[i++]) {
        caches.push_back(numbers((size_t)2 * layers * kv * capacity * dim));
        parts.push_back({caches.back().data(), first, rows_of[i], lengths[i], capacity});
    }
    auto before = caches;
    const auto qkv = numbers(rows * width), bias = numbers(width), q_norm = numbers(dim), k_norm = numbers(dim);
    const auto cosines = numbers(rows * shape.pairs), sines = numbers(rows * shape.pairs);
    const Heads h{layer, heads, kv, dim, shape.pairs, shape.interleaved, 1e-6f, 0.3f, shape.window, shape.softcap};
    std::vector<float> queries(rows * heads * dim, NAN), out(rows * heads * dim, NAN);
    launch({(unsigned)rows, (unsigned)(heads + 2 * kv), 1}, 32, [&] {
        finish_heads(qkv.data(), shape.bias ? bias.data() : nullptr, cosines.data(), sines.data(), shape.norm ? q_norm.data() : nullptr,
                     shape.norm ? k_norm.data() : nullptr, queries.data(), parts.data(), 3, h);
    });
    const int span = 32, filled = filled_up(heads * dim);
    const unsigned spans = 4;
    std::vector<float> sums(rows * heads * spans * dim, NAN);
    std::vector<float2> weights(rows * heads * spans, {NAN, NAN});
    std::vector<uint8_t> rounded(rows * filled / 32 * 36, 0xAA);
    const bool round = dim % 32 == 0;
    launch({spans, (unsigned)kv, (unsigned)rows}, 256, [&] { attend(queries.data(), sums.data(), weights.data(), parts.data(), 3, h, span); });
    launch({(unsigned)heads, (unsigned)rows, 1}, 128, [&] { merge(sums.data(), weights.data(), out.data(), round ? rounded.data() : nullptr, spans, dim, filled); });

    // The same in plain loops and double precision.
    auto finished = [&](int row, int which) {
        std::vector<double> head(dim);
        double squares = 0.0;
        for (int d = 0; d < dim; d++) {
            head[d] = qkv[row * width + which * dim + d] + (shape.bias ? bias[which * dim + d] : 0.0f);
            squares += head[d] * head[d];
        }
        if (which >= heads + kv) return head;
        if (shape.norm)
            for (int d = 0; d < dim; d++) head[d] *= (which < heads ? q_norm : k_norm)[d] / std::sqrt(squares / dim + 1e-6);
        for (int pair = 0; pair < shape.pairs; pair++) {
            const int a = shape.interleaved ? 2 * pair : pair, b = shape.interleaved ? a + 1 : pair + shape.pairs;
            const double x = head[a], y = head[b], c = cosines[row * shape.pairs + pair], s = sines[row * shape.pairs + pair];
            head[a] = x * c - y * s;
            head[b] = x * s + y * c;
        }
        return head;
    };
    std::vector<double> expected(rows * heads * dim, 0.0);
    for (int i = 0, first = 0; i < 3; first += rows_of[i++])
        for (int within = 0; within < rows_of[i]; within++)
            for (int head = 0; head < heads; head++) {
                const int row = first + within, position = lengths[i] + within, kv_head = head / (heads / kv);
                const int from = shape.window > 0 ? std::max(0, position + 1 - shape.window) : 0;
                const auto query = finished(row, head);
                std::vector<double> scores;
                std::vector<std::vector<double>> values;
                for (int p = from; p <= position; p++) {
                    std::vector<double> key(dim), value(dim);
                    for (int d = 0; d < dim; d++) {
                        key[d] = before[i][(((size_t)2 * layer * kv + kv_head) * capacity + p) * dim + d];
                        value[d] = before[i][((((size_t)2 * layer + 1) * kv + kv_head) * capacity + p) * dim + d];
                    }
                    if (p >= lengths[i]) {
                        key = finished(first + p - lengths[i], heads + kv_head);
                        value = finished(first + p - lengths[i], heads + kv + kv_head);
                    }
                    double score = 0.0;
                    for (int d = 0; d < dim; d++) score += 0.3 * query[d] * key[d];
                    scores.push_back(shape.softcap > 0 ? shape.softcap * std::tanh(score / shape.softcap) : score);
                    values.push_back(value);
                }
                double most = -INFINITY, total = 0.0;
                for (double score : scores) most = std::max(most, score);
                for (double &score : scores) total += score = std::exp(score - most);
                for (size_t p = 0; p < scores.size(); p++)
                    for (int d = 0; d < dim; d++) expected[(row * heads + head) * dim + d] += scores[p] / total * values[p][d];
            }
    same("attention", out, expected, 2e-4);
    if (round) rounded_like("attention", rounded, out, heads * dim, filled);
}

static void softmaxes() {
    for (int window : {0, 5}) {
        const int heads = 2, rows = 7, position = 11, from = window ? position + 1 - window : 0, columns = position + rows - from;
        auto scores = numbers(heads * rows * columns, 3.0f);
        const auto before = scores;
        const Heads h{0, heads, 1, 32, 16, 0, 1e-6f, 1.0f, window, window ? 2.0f : 0.0f};
        launch({(unsigned)rows, (unsigned)heads, 1}, 256, [&] { softmax_seen(scores.data(), columns, from, position, h); });
        std::vector<double> expected;
        for (int head = 0; head < heads; head++)
            for (int row = 0; row < rows; row++) {
                std::vector<double> all(columns, 0.0);
                double total = 0.0;
                for (int c = 0; c < columns; c++) {
                    const int p = from + c, own = position + row;
                    if (p > own || (window && p + window <= own)) continue;
                    const double score = before[(head * rows + row) * columns + c];
                    total += all[c] = std::exp(window ? 2.0 * std::tanh(score / 2.0) : score);
                }
                for (double value : all) expected.push_back(value / total);
            }
        same("softmax_seen", scores, expected, 1e-5);
    }
}

static void best_tokens() {
    for (int columns : {5, 1024, 3000}) {
        auto logits = numbers(columns, 4.0f);
        logits[columns / 2] = logits[1];
        const int count = std::min(columns, 6);
        std::vector<float> told(3 + 2 * count, NAN);
        launch({1, 1, 1}, 1024, [&] { leaders(logits.data(), told.data(), columns, count); });
        std::vector<int> order(columns);
        for (int i = 0; i < columns; i++) order[i] = i;
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
        double sum = 0.0;
        for (float logit : logits) sum += std::exp((double)logit - logits[order[0]]);
        std::vector<double> expected = {logits[order[0]], sum, 0.0};
        same("leaders", told, expected, 1e-5);
        for (int k = 0; k < count; k++) {
            int id;
            std::memcpy(&id, &told[3 + 2 * k], 4);
            if (id != order[k] || told[4 + 2 * k] != logits[id]) {
                std::printf("leaders: token %d is %d, not %d\n", k, id, order[k]);
                failures++;
            }
        }
        logits[columns - 1] = NAN;
        launch({1, 1, 1}, 1024, [&] { leaders(logits.data(), told.data(), columns, count); });
        if (told[2] != 1.0f) std::printf("leaders: %g of one number that is none\n", told[2]), failures++;
    }
}

int main() {
    rows();
    halves();
    norms();
    gates();
    softmaxes();
    best_tokens();
    attention({4, 2, 32, 16, 0, 0, 0.0f, false, true});
    attention({6, 1, 64, 32, 0, 0, 0.0f, true, false});
    attention({3, 3, 96, 24, 0, 20, 0.0f, false, false});
    attention({2, 1, 256, 128, 0, 0, 3.0f, true, false});
    attention({4, 4, 16, 8, 1, 50, 0.0f, false, true});
    std::puts(failures ? "the CUDA kernels are wrong" : "the CUDA kernels agree with plain loops");
    return failures ? 1 : 0;
}
