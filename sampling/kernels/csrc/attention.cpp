// Attention, forward and backward: edges are scored a chunk at a time into a buffer that stays in
// the cache, then their rows are summed in registers, a panel of columns at a time. Nothing of the
// size edges × columns exists, and results do not depend on threads or on the instruction set.
#include "attention.h"

#include "lanes.h"

namespace gnn {
namespace GNN_ISA {
namespace {

constexpr int64_t kScores = 1024;  // edges × heads in a chunk
constexpr int64_t kPadding = 16;

typedef float Wide __attribute__((vector_size(64)));  // sixteen lanes on every instruction set
typedef int32_t WideInt __attribute__((vector_size(64)));
constexpr WideInt kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// e^x for x up to about 0, to 2 units in the last place (a polynomial on ±ln 2 / 2 after Cephes).
inline Vec exp_of(Vec x) {
  constexpr float kRound = 12582912.0f;  // adding it rounds to an integer
  const Vec in_range = x < -87.0f ? Vec{} - 87.0f : x;
  const Vec n = (in_range * 1.44269504f + kRound) - kRound;
  const Vec r = (in_range - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec power = (__builtin_convertvector(n, IntVec) + 127) << 23;
  return x < -87.0f ? Vec{} : p * load<Vec>(&power);
}

// Scores of a chunk of edges: values[k * heads + h].
struct Chunk {
  float values[kScores + kPadding];
  float factors[kScores + kPadding];
  int64_t begin, size;
  int64_t heads;

  int64_t count() const { return size * heads; }
  void exponentials() {
    for (int64_t i = 0; i < count(); i += kLanes) {
      const Vec v = exp_of(load<Vec>(values + i));
      __builtin_memcpy(values + i, &v, sizeof(Vec));
    }
  }
};

inline int64_t chunk_edges(int64_t heads) { return kScores / heads < 256 ? kScores / heads : 256; }

inline int64_t place_of(const Attention& job, int64_t e) { return job.position ? job.position[e] : e; }

inline float leaky(float v, float slope) { return v > 0 ? v : v * slope; }

// The scores of the edges begin … begin + size of row `own`, before any exponential.
template <class T>
void score(const Attention& job, const Table<T>& table, int64_t own, int64_t last_edge, Chunk& chunk) {
  const int64_t heads = job.heads, ahead = rows_ahead(table.row_bytes());
  for (int64_t k = 0; k < chunk.size; ++k) {
    const int64_t e = chunk.begin + k;
    if (e + ahead < last_edge) {
      const int64_t later = job.indices[e + ahead];
      table.prefetch(later);
      if (!job.logits) __builtin_prefetch(job.other_scores + later * heads);
      else if (job.position) __builtin_prefetch(job.logits + place_of(job, e + ahead) * heads);
    }
    float* to = chunk.values + k * heads;
    if (job.logits) {
      const float* from = job.logits + place_of(job, e) * heads;
      for (int64_t h = 0; h < heads; ++h) to[h] = from[h];
    } else {
      const float *a = job.own_scores + own * heads, *b = job.other_scores + job.indices[e] * heads;
      for (int64_t h = 0; h < heads; ++h) to[h] = leaky(a[h] + b[h], job.slope);
    }
  }
}

// values · m, where there is such a factor.
inline void apply_factors(const Attention& job, const Chunk& chunk, float* values) {
  if (!job.factors) return;
  for (int64_t k = 0; k < chunk.size; ++k) {
    const float* from = job.factors + place_of(job, chunk.begin + k) * chunk.heads;
    for (int64_t h = 0; h < chunk.heads; ++h) values[k * chunk.heads + h] *= from[h];
  }
}

// out += Σ_k weights[k, head of the column] · row k, for N vectors of columns from c on.
template <int N, class T>
void add_panel(const Attention& job, const Table<T>& table, const Chunk& chunk, const float* weights,
               int64_t c, float* out) {
  Vec sum[N];
  IntVec lane[N];
  const float* first[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    const bool inside = c + i * kLanes < table.columns;
    const int32_t* head = job.head_of + (inside ? c + i * kLanes : c);
    sum[i] = Vec{};
    lane[i] = load<IntVec>(head) - head[0];
    first[i] = weights + head[0];
  }
  for (int64_t k = 0; k < chunk.size; ++k) {
    const int64_t at = k * chunk.heads;
    table.template read<N>(table.row(job.indices[chunk.begin + k]) + c, [&](int i, Vec v) {
      sum[i] += __builtin_shuffle(load<Vec>(first[i] + at), lane[i]) * v;
    });
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    float* to = out + c + i * kLanes;
    const int64_t left = table.columns - c - i * kLanes;
    store_floats(to, load_floats(to, left) + sum[i], left);
  }
}

template <class T>
void add_rows(const Attention& job, const Table<T>& table, const Chunk& chunk, const float* weights,
              float* out) {
  each_panel<8>(table.columns, [&](int64_t c, auto n) {
    add_panel<decltype(n)::value>(job, table, chunk, weights, c, out);
  });
}

// Raise the shift of every head to the largest score of the chunk; what was summed so far follows.
inline void raise_shift(const Chunk& chunk, const Attention& job, int64_t columns, float* out,
                        float* largest, float* total) {
  float shrink[kMaxHeads + kPadding];
  bool any = false;
  for (int64_t h = 0; h < chunk.heads; ++h) {
    float top = largest[h];
    for (int64_t i = h; i < chunk.count(); i += chunk.heads)
      top = chunk.values[i] > top ? chunk.values[i] : top;
    shrink[h] = largest[h] == top ? 0.0f : largest[h] - top;
    any |= largest[h] != top && total[h] != 0;
    largest[h] = top;
  }
  if (!any) return;
  for (int64_t h = 0; h < chunk.heads; h += kLanes) {
    const Vec v = exp_of(load<Vec>(shrink + h));
    __builtin_memcpy(shrink + h, &v, sizeof(Vec));
  }
  for (int64_t h = 0; h < chunk.heads; ++h) total[h] *= shrink[h];
  for (int64_t c = 0; c < columns; ++c) out[c] *= shrink[job.head_of[c]];
}

template <class T>
void attend_row(const Attention& job, const Table<T>& table, int64_t row, int64_t last_edge,
                Chunk& chunk, const AttentionSums& sums) {
  const int64_t heads = job.heads, first = job.indptr[row], last = job.indptr[row + 1];
  float* out = sums.out + row * table.columns;
  float *largest = sums.largest + row * heads, *total = sums.total + row * heads;
  for (int64_t c = 0; c < table.columns; ++c) out[c] = 0;
  for (int64_t h = 0; h < heads; ++h) largest[h] = -__builtin_inff(), total[h] = 0;
  for (chunk.begin = first; chunk.begin < last; chunk.begin += chunk_edges(heads)) {
    chunk.size = last - chunk.begin < chunk_edges(heads) ? last - chunk.begin : chunk_edges(heads);
    score(job, table, row, last_edge, chunk);
    raise_shift(chunk, job, table.columns, out, largest, total);
    for (int64_t k = 0, i = 0; k < chunk.size; ++k)
      for (int64_t h = 0; h < heads; ++h, ++i)
        chunk.values[i] -= largest[h] == -__builtin_inff() ? 0.0f : largest[h];
    chunk.exponentials();
    for (int64_t k = 0, i = 0; k < chunk.size; ++k)
      for (int64_t h = 0; h < heads; ++h, ++i) total[h] += chunk.values[i];
    apply_factors(job, chunk, chunk.values);
    add_rows(job, table, chunk, chunk.values, out);
  }
}

template <class T>
void attend_rows(const Rows& x, const Attention& job, const AttentionSums& sums, int64_t begin,
                 int64_t end) {
  const Table<T> table(x);
  Chunk chunk;
  chunk.heads = job.heads;
  for (float& v : chunk.values) v = 0;  // the padding is computed with
  for (int64_t row = begin; row < end; ++row)
    if (job.indptr[row + 1] - job.indptr[row] <= kSegment)
      attend_row(job, table, row, job.indptr[end], chunk, sums);
}

void attend(const Rows& x, const Attention& job, const AttentionSums& sums, int64_t begin,
            int64_t end) {
  switch (x.storage) {
    case Storage::kFloat32: return attend_rows<Float32>(x, job, sums, begin, end);
    case Storage::kFloat16: return attend_rows<Float16>(x, job, sums, begin, end);
    case Storage::kBfloat16: return attend_rows<Bfloat16>(x, job, sums, begin, end);
    case Storage::kInt8: return;  // the binding does not pass it on
  }
}

// The sixteen sums added up, in one order.
inline float total_of(Wide v) {
  float lanes[16];
  __builtin_memcpy(lanes, &v, sizeof(v));
  for (int step = 8; step; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return lanes[0];
}

// out[h] = a · b over the columns of head h. Both rows may be read up to `end`.
struct HeadDots {
  int64_t heads, width;  // columns of a head

  void operator()(const Table<Float32>& ta, const float* a, const Table<Float32>& tb, const float* b,
                  float* out) const {
    for (int64_t h = 0; h < heads; ++h) {
      Wide sum = {};
      for (int64_t c = h * width; c < (h + 1) * width; c += 16) {
        const int32_t left = (h + 1) * width - c < 16 ? int32_t((h + 1) * width - c) : 16;
        const Wide product = sixteen(a + c, ta.end, left) * sixteen(b + c, tb.end, left);
        sum += left == 16 ? product : kLaneNumbers < left ? product : Wide{};
      }
      out[h] = total_of(sum);
    }
  }

 private:
  static Wide sixteen(const float* p, const float* end, int32_t left) {
    if (__builtin_expect(end - p >= 16, 1)) return load<Wide>(p);
    float lanes[16] = {};
    for (int32_t i = 0; i < left; ++i) lanes[i] = p[i];
    return load<Wide>(lanes);
  }
};

void dots(const Rows& a, const Rows& b, int64_t heads, int64_t begin, int64_t end, float* out) {
  const Table<Float32> ta(a), tb(b);
  const HeadDots dot{heads, a.columns / heads};
  for (int64_t r = begin; r < end; ++r) dot(ta, ta.row(r), tb, tb.row(r), out + r * heads);
}

// Gradients of scores, α · (m · (own · other) − shared), into chunk.factors; chunk.values holds α.
void score_gradients(const Attention& job, const AttentionGrads& grads, int64_t row,
                     const Table<Float32>& own, const Table<Float32>& other, Chunk& chunk) {
  const int64_t heads = job.heads;
  const HeadDots dot{heads, own.columns / heads};
  for (int64_t k = 0; k < chunk.size; ++k)
    dot(own, own.row(row), other, other.row(job.indices[chunk.begin + k]), chunk.factors + k * heads);
  apply_factors(job, chunk, chunk.factors);
  for (int64_t k = 0; k < chunk.size; ++k) {
    const int64_t there = job.indices[chunk.begin + k], dst = grads.own_is_dst ? row : there;
    for (int64_t h = 0; h < heads; ++h) {
      float& gradient = chunk.factors[k * heads + h];
      gradient = chunk.values[k * heads + h] * (gradient - grads.shared[dst * heads + h]);
      if (!job.logits && job.own_scores[row * heads + h] + job.other_scores[there * heads + h] <= 0)
        gradient *= job.slope;
    }
  }
}

// α without m, into chunk.values.
void coefficients(const Attention& job, const AttentionGrads& grads, int64_t row, int64_t last_edge,
                  const Table<Float32>& other, Chunk& chunk) {
  const int64_t heads = job.heads;
  score(job, other, row, last_edge, chunk);
  for (int64_t k = 0; k < chunk.size; ++k) {
    const int64_t dst = grads.own_is_dst ? row : job.indices[chunk.begin + k];
    for (int64_t h = 0; h < heads; ++h)
      chunk.values[k * heads + h] -= grads.log_total[dst * heads + h];
  }
  chunk.exponentials();
}

void backward_row(const Attention& job, const AttentionGrads& grads, int64_t row, int64_t last_edge,
                  const Table<Float32>& own, const Table<Float32>& other, Chunk& chunk) {
  const int64_t heads = job.heads, last = job.indptr[row + 1];
  float* rows = grads.rows ? grads.rows + row * own.columns : nullptr;
  float* scores = grads.scores ? grads.scores + row * heads : nullptr;
  for (int64_t c = 0; rows && c < own.columns; ++c) rows[c] = 0;
  for (int64_t h = 0; scores && h < heads; ++h) scores[h] = 0;
  for (chunk.begin = job.indptr[row]; chunk.begin < last; chunk.begin += chunk_edges(heads)) {
    chunk.size = last - chunk.begin < chunk_edges(heads) ? last - chunk.begin : chunk_edges(heads);
    coefficients(job, grads, row, last_edge, other, chunk);
    if (scores || grads.logits) score_gradients(job, grads, row, own, other, chunk);
    for (int64_t k = 0, i = 0; k < chunk.size; ++k) {
      float* edge = grads.logits ? grads.logits + place_of(job, chunk.begin + k) * heads : nullptr;
      for (int64_t h = 0; h < heads; ++h, ++i) {
        if (edge) edge[h] = chunk.factors[i];
        if (scores) scores[h] += chunk.factors[i];
      }
    }
    if (!rows) continue;
    apply_factors(job, chunk, chunk.values);
    add_rows(job, other, chunk, chunk.values, rows);
  }
}

void backward(const Attention& job, const AttentionGrads& grads, int64_t begin, int64_t end) {
  const Table<Float32> own(grads.own), other(grads.other);
  Chunk chunk;
  chunk.heads = job.heads;
  for (float& v : chunk.values) v = 0;  // the padding is computed with
  for (int64_t row = begin; row < end; ++row)
    if (job.indptr[row + 1] - job.indptr[row] <= kSegment)
      backward_row(job, grads, row, job.indptr[end], own, other, chunk);
}

}  // namespace

extern const AttentionKernels attention_kernels;
const AttentionKernels attention_kernels = {attend, backward, dots};

}  // namespace GNN_ISA
}  // namespace gnn
