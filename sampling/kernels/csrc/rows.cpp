// Gathering and aggregating rows of features. A row of output is summed in registers, a panel of
// columns at a time, in the order of its edges: the result does not depend on threads or on the
// instruction set. What is read next is prefetched, since the reads are random.
#include "rows.h"

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

namespace gnn {
namespace GNN_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kPanel = 8;           // vectors in a panel: accumulators that stay in registers
constexpr int64_t kChunk = 1024;    // edges summed before they join the total of a hub
constexpr int64_t kAheadBytes = 4096;

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t WordVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t ShortVec __attribute__((vector_size(kLanes * 2)));
typedef int8_t ByteVec __attribute__((vector_size(kLanes)));

template <class V>
inline V load(const void* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

struct Float32 {
  using Value = float;
  static float one(float v) { return v; }
  static Vec vec(const float* p) { return load<Vec>(p); }
};

struct Bfloat16 {
  using Value = uint16_t;
  static float one(uint16_t v) {
    uint32_t bits = uint32_t(v) << 16;
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
  }
  static Vec vec(const uint16_t* p) {
    WordVec bits = __builtin_convertvector(load<ShortVec>(p), WordVec) << 16;
    return load<Vec>(&bits);
  }
};

struct Int8 {
  using Value = int8_t;
  static float one(int8_t v) { return v; }
  static Vec vec(const int8_t* p) {
    return __builtin_convertvector(__builtin_convertvector(load<ByteVec>(p), IntVec), Vec);
  }
};

struct Float16 {
  using Value = uint16_t;
  static float one(uint16_t h) {
    uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3FF;
    uint32_t bits;
    if (exponent == 31) {
      bits = sign | 0x7F800000 | fraction << 13;
    } else if (exponent) {
      bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {  // subnormal: fraction times 2^-24
      float f = float(fraction) * 5.9604644775390625e-08f;
      __builtin_memcpy(&bits, &f, 4);
      bits |= sign;
    }
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
  }
  static Vec vec(const uint16_t* p) {
#if defined(__AVX512F__)
    return Vec(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
    return Vec(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    Vec v;
    for (int i = 0; i < kLanes; ++i) v[i] = one(p[i]);
    return v;
#endif
  }
};

inline void prefetch_row(const char* row, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(row + b);
}

inline int64_t rows_ahead(int64_t row_bytes) {
  int64_t rows = kAheadBytes / (row_bytes ? row_bytes : 1);
  return rows < 4 ? 4 : rows > 32 ? 32 : rows;
}

template <class T>
void gather_rows(const Rows& x, const int64_t* rows, int64_t begin, int64_t end, float* out) {
  using Value = typename T::Value;
  const Value* data = static_cast<const Value*>(x.data);
  const int64_t d = x.columns, bytes = d * int64_t(sizeof(Value)), ahead = rows_ahead(bytes);
  for (int64_t i = begin; i < end; ++i) {
    if (i + ahead < end)
      prefetch_row(reinterpret_cast<const char*>(data + rows[i + ahead] * d), bytes);
    const Value* row = data + rows[i] * d;
    float* to = out + i * d;
    int64_t c = 0;
    for (; c + kLanes <= d; c += kLanes) {
      Vec v = T::vec(row + c);
      if (x.scale) v *= load<Vec>(x.scale + c);
      __builtin_memcpy(to + c, &v, sizeof(Vec));
    }
    for (; c < d; ++c) to[c] = T::one(row[c]) * (x.scale ? x.scale[c] : 1.0f);
  }
}

// The edges begin … end of one destination, as the inner loops see them.
template <class T, class Node>
struct Edges {
  const typename T::Value* data;
  int64_t columns;
  const Node* indices;
  const float* weight;
  int64_t last;  // one past the last edge of the whole piece, for the prefetch
  int64_t ahead, bytes;

  const typename T::Value* row(int64_t e) const { return data + int64_t(indices[e]) * columns; }
  void prefetch(int64_t e) const {
    if (e + ahead < last) prefetch_row(reinterpret_cast<const char*>(row(e + ahead)), bytes);
  }
};

// Sum of N vectors of columns from column c on.
template <int N, class T, class Node>
inline void sum_panel(const Edges<T, Node>& edges, int64_t begin, int64_t end, int64_t c,
                      bool prefetch, Vec* total) {
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    const int64_t stop = chunk + kChunk < end ? chunk + kChunk : end;
    Vec sum[N] = {};
    for (int64_t e = chunk; e < stop; ++e) {
      if (prefetch) edges.prefetch(e);
      const auto* row = edges.row(e) + c;
      if (edges.weight) {
        const float w = edges.weight[e];
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) sum[i] += w * T::vec(row + i * kLanes);
      } else {
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) sum[i] += T::vec(row + i * kLanes);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) total[i] += sum[i];
  }
}

template <class T, class Node>
inline float sum_column(const Edges<T, Node>& edges, int64_t begin, int64_t end, int64_t c) {
  float total = 0;
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    const int64_t stop = chunk + kChunk < end ? chunk + kChunk : end;
    float sum = 0;
    for (int64_t e = chunk; e < stop; ++e)
      sum += (edges.weight ? edges.weight[e] : 1.0f) * T::one(edges.row(e)[c]);
    total += sum;
  }
  return total;
}

template <int N, class T, class Node>
inline void sum_and_store(const Edges<T, Node>& edges, int64_t begin, int64_t end, int64_t c,
                          float factor, const float* scale, float* out) {
  Vec total[N] = {};
  sum_panel<N>(edges, begin, end, c, c == 0, total);
  for (int i = 0; i < N; ++i) {
    Vec v = total[i] * factor;
    if (scale) v *= load<Vec>(scale + c + i * kLanes);
    __builtin_memcpy(out + c + i * kLanes, &v, sizeof(Vec));
  }
}

template <class T, class Node>
void sum_row(const Edges<T, Node>& edges, int64_t begin, int64_t end, float factor,
             const float* scale, float* out) {
  const int64_t d = edges.columns;
  int64_t c = 0;
  for (; c + kPanel * kLanes <= d; c += kPanel * kLanes)
    sum_and_store<kPanel>(edges, begin, end, c, factor, scale, out);
  for (; c + 4 * kLanes <= d; c += 4 * kLanes)
    sum_and_store<4>(edges, begin, end, c, factor, scale, out);
  for (; c + kLanes <= d; c += kLanes)
    sum_and_store<1>(edges, begin, end, c, factor, scale, out);
  if (c == 0)
    for (int64_t e = begin; e < end; ++e) edges.prefetch(e);
  for (; c < d; ++c) out[c] = sum_column(edges, begin, end, c) * factor * (scale ? scale[c] : 1.0f);
}

// The largest message in every column, and the first edge that sent it.
template <class T, class Node>
void max_row(const Edges<T, Node>& edges, int64_t begin, int64_t end, const float* scale,
             float* out, int64_t* arg) {
  const int64_t d = edges.columns;
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes) {
    Vec best = T::vec(edges.row(begin) + c);
    if (edges.weight) best *= edges.weight[begin];
    IntVec winner = {};
    for (int64_t e = begin + 1; e < end; ++e) {
      if (c == 0) edges.prefetch(e);
      Vec v = T::vec(edges.row(e) + c);
      if (edges.weight) v *= edges.weight[e];
      IntVec larger = v > best;
      best = larger ? v : best;
      winner = larger ? IntVec{} + int32_t(e - begin) : winner;
    }
    if (scale) best *= load<Vec>(scale + c);
    __builtin_memcpy(out + c, &best, sizeof(Vec));
    for (int i = 0; i < kLanes; ++i) arg[c + i] = begin + winner[i];
  }
  for (; c < d; ++c) {
    float best = 0;
    int64_t winner = -1;
    for (int64_t e = begin; e < end; ++e) {
      float v = T::one(edges.row(e)[c]) * (edges.weight ? edges.weight[e] : 1.0f);
      if (winner < 0 || v > best) best = v, winner = e;
    }
    out[c] = best * (scale ? scale[c] : 1.0f);
    arg[c] = winner;
  }
}

template <class T, class Node>
void aggregate_rows(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  const int64_t d = x.columns, bytes = d * int64_t(sizeof(typename T::Value));
  Edges<T, Node> edges{static_cast<const typename T::Value*>(x.data),
                       d,
                       static_cast<const Node*>(job.indices),
                       job.weight,
                       job.indptr[end],
                       rows_ahead(bytes),
                       bytes};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = job.indptr[row], last = job.indptr[row + 1];
    float* out = job.out + row * d;
    if (first == last) {
      for (int64_t c = 0; c < d; ++c) out[c] = 0;
      if (job.reduce == Reduce::kMax)
        for (int64_t c = 0; c < d; ++c) job.arg[row * d + c] = -1;
    } else if (job.reduce == Reduce::kMax) {
      max_row(edges, first, last, x.scale, out, job.arg + row * d);
    } else {
      float factor = job.reduce == Reduce::kMean ? 1.0f / float(last - first) : 1.0f;
      sum_row(edges, first, last, factor, x.scale, out);
    }
  }
}

void gather(const Rows& x, const int64_t* rows, int64_t begin, int64_t end, float* out) {
  switch (x.storage) {
    case Storage::kFloat32: return gather_rows<Float32>(x, rows, begin, end, out);
    case Storage::kFloat16: return gather_rows<Float16>(x, rows, begin, end, out);
    case Storage::kBfloat16: return gather_rows<Bfloat16>(x, rows, begin, end, out);
    case Storage::kInt8: return gather_rows<Int8>(x, rows, begin, end, out);
  }
}

template <class T>
void aggregate_storage(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  if (job.wide) return aggregate_rows<T, int64_t>(x, job, begin, end);
  aggregate_rows<T, int32_t>(x, job, begin, end);
}

void aggregate(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  switch (x.storage) {
    case Storage::kFloat32: return aggregate_storage<Float32>(x, job, begin, end);
    case Storage::kFloat16: return aggregate_storage<Float16>(x, job, begin, end);
    case Storage::kBfloat16: return aggregate_storage<Bfloat16>(x, job, begin, end);
    case Storage::kInt8: return aggregate_storage<Int8>(x, job, begin, end);
  }
}

}  // namespace

extern const RowKernels row_kernels;
const RowKernels row_kernels = {gather, aggregate};

}  // namespace GNN_ISA
}  // namespace gnn
