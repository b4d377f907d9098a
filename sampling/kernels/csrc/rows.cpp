// Gathering and aggregating rows of features. A row of output is reduced in registers, a panel of
// columns at a time, in the order of its edges: the result does not depend on threads or on the
// instruction set. What is read next is prefetched, since the reads are random.
#include "lanes.h"

namespace gnn {
namespace GNN_ISA {
namespace {

// Edges summed before they join the total of their row: keeps the rounding error of long rows
// down, and the rows of wide tables in the cache from one panel to the next.
constexpr int64_t kChunk = 256;

template <class T>
void gather_rows(const Rows& x, const int64_t* rows, int64_t begin, int64_t end, float* out,
                 bool streamed) {
  const Table<T> table(x);
  const int64_t d = x.columns, ahead = rows_ahead(table.row_bytes());
  streamed = streamed && can_stream(out, d);
  for (int64_t i = begin; i < end; ++i) {
    if (i + ahead < end) table.prefetch(rows[i + ahead]);
    for (int64_t c = 0; c < d; c += kLanes) {
      float* to = out + i * d + c;
      table.template read<1>(table.row(rows[i]) + c, [&](int, Vec v) {
        if (x.scale) v *= load_floats(x.scale + c, d - c);
        if (streamed) stream(to, v); else store_floats(to, v, d - c);
      });
    }
  }
  if (streamed) finish_streams();
}

// The edges of a piece of the rows, as the inner loops see them.
template <class T, bool kWeighted>
struct Edges {
  Table<T> table;
  Indices indices;
  const float* edge_weight;
  const float* node_weight;
  int64_t last;  // one past the last edge of the piece, for the prefetch
  int64_t ahead;

  Edges(const Rows& x, const Aggregation& job, int64_t last)
      : table(x), indices(job.indices), edge_weight(job.edge_weight), node_weight(job.node_weight),
        last(last), ahead(rows_ahead(table.row_bytes())) {}

  float weight(int64_t e) const {
    const float w = edge_weight ? edge_weight[e] : 1.0f;
    return node_weight ? w * node_weight[indices[e]] : w;
  }
  GNN_INLINE void prefetch(int64_t e) const {
    if (e + ahead >= last) return;
    const int64_t r = indices[e + ahead];
    table.prefetch(r);
    if (kWeighted && node_weight) __builtin_prefetch(node_weight + r);
  }
  // use(i, message) for N vectors of columns from c on.
  template <int N, class Use>
  GNN_INLINE void messages(int64_t e, int64_t c, const Use& use) const {
    if (c == 0) prefetch(e);
    const auto* row = table.row(indices[e]) + c;
    if (kWeighted) {
      const float w = weight(e);
      table.template read<N>(row, [&](int i, Vec v) { use(i, w * v); });
    } else {
      table.template read<N>(row, use);
    }
  }
};

// Where the sum of a chunk of a row goes.
struct Total {
  float* out;
  int64_t columns;
  const float* scale;
  float factor;
  bool first, last;  // whether the chunk is the first, the last of its row
  bool streamed;

  void add(int64_t c, Vec v) const {
    const int64_t left = columns - c;
    if (!first) v = load_floats(out + c, left) + v;
    if (last) {
      v *= factor;
      if (scale) v *= load_floats(scale + c, left);
    }
    if (first && last && streamed) stream(out + c, v); else store_floats(out + c, v, left);
  }
};

template <int N, class E>
void sum_panel(const E& edges, int64_t begin, int64_t end, int64_t c, const Total& total) {
  Vec sum[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) sum[i] = Vec{};
  for (int64_t e = begin; e < end; ++e)
    edges.template messages<N>(e, c, [&](int i, Vec v) { sum[i] += v; });
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) total.add(c + i * kLanes, sum[i]);
}

template <class E>
void sum_row(const E& edges, int64_t begin, int64_t end, Total total) {
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    const int64_t stop = chunk + kChunk < end ? chunk + kChunk : end;
    total.first = chunk == begin;
    total.last = stop == end;
    each_panel<8>(total.columns, [&](int64_t c, auto n) {
      sum_panel<decltype(n)::value>(edges, chunk, stop, c, total);
    });
  }
}

// The largest message in every column, and the first edge that sent it; a NaN is larger than all.
template <int N, class E>
void max_panel(const E& edges, int64_t begin, int64_t end, int64_t c, const float* scale,
               int64_t columns, float* out, int64_t* arg) {
  Vec best[N];
  IntVec winner[N] = {};
  edges.template messages<N>(begin, c, [&](int i, Vec v) { best[i] = v; });
  for (int64_t e = begin + 1; e < end; ++e)
    edges.template messages<N>(e, c, [&](int i, Vec v) {
      const IntVec larger = (v > best[i]) | ((v != v) & (best[i] == best[i]));
      best[i] = larger ? v : best[i];
      winner[i] = larger ? IntVec{} + int32_t(e - begin) : winner[i];
    });
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < kLanes && c + i * kLanes + j < columns; ++j) {
      const int64_t column = c + i * kLanes + j;
      out[column] = best[i][j] * (scale ? scale[column] : 1.0f);
      arg[column] = begin + winner[i][j];
    }
}

template <class E>
void max_row(const E& edges, int64_t begin, int64_t end, const Rows& x, float* out, int64_t* arg) {
  each_panel<4>(x.columns, [&](int64_t c, auto n) {
    max_panel<decltype(n)::value>(edges, begin, end, c, x.scale, x.columns, out, arg);
  });
}

template <class T>
void max_rows(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  const Edges<T, true> edges(x, job, job.indptr[end]);
  const int64_t d = x.columns;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = job.indptr[row], last = job.indptr[row + 1];
    float* out = job.out + row * d;
    int64_t* arg = job.arg + row * d;
    if (first == last) {
      for (int64_t c = 0; c < d; ++c) out[c] = 0, arg[c] = -1;
    } else if (last - first <= kSegment) {
      max_row(edges, first, last, x, out, arg);
    }
  }
}

template <class T, bool kWeighted>
void sum_rows(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  const Edges<T, kWeighted> edges(x, job, job.indptr[end]);
  const int64_t d = x.columns;
  const bool streamed = job.stream && can_stream(job.out, d);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = job.indptr[row], last = job.indptr[row + 1], degree = last - first;
    float* out = job.out + row * d;
    const float factor = job.reduce == Reduce::kMean ? 1.0f / float(degree) : 1.0f;
    if (degree == 0) {
      for (int64_t c = 0; c < d; ++c) out[c] = 0;
    } else if (degree <= kSegment) {
      sum_row(edges, first, last, {out, d, x.scale, factor, false, false, streamed});
    }
  }
  if (streamed) finish_streams();
}

template <class T>
void aggregate_storage(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  if (job.reduce == Reduce::kMax) return max_rows<T>(x, job, begin, end);
  if (job.edge_weight || job.node_weight) return sum_rows<T, true>(x, job, begin, end);
  sum_rows<T, false>(x, job, begin, end);
}

void aggregate(const Rows& x, const Aggregation& job, int64_t begin, int64_t end) {
  switch (x.storage) {
    case Storage::kFloat32: return aggregate_storage<Float32>(x, job, begin, end);
    case Storage::kFloat16: return aggregate_storage<Float16>(x, job, begin, end);
    case Storage::kBfloat16: return aggregate_storage<Bfloat16>(x, job, begin, end);
    case Storage::kInt8: return aggregate_storage<Int8>(x, job, begin, end);
  }
}

void gather(const Rows& x, const int64_t* rows, int64_t begin, int64_t end, float* out,
            bool stream) {
  switch (x.storage) {
    case Storage::kFloat32: return gather_rows<Float32>(x, rows, begin, end, out, stream);
    case Storage::kFloat16: return gather_rows<Float16>(x, rows, begin, end, out, stream);
    case Storage::kBfloat16: return gather_rows<Bfloat16>(x, rows, begin, end, out, stream);
    case Storage::kInt8: return gather_rows<Int8>(x, rows, begin, end, out, stream);
  }
}

}  // namespace

extern const RowKernels row_kernels;
const RowKernels row_kernels = {gather, aggregate};

}  // namespace GNN_ISA
}  // namespace gnn
