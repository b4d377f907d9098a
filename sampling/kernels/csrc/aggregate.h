// Sharing an aggregation out to threads. Rows of up to kSegment edges are reduced whole; longer
// ones segment by segment, whose partial results are then combined in order. Both are fixed by the
// graph alone, so one thread and many give the same bits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "rows.h"

namespace gnn {

// A part of a long row.
struct Segment {
  int64_t row, bounds[2];  // edges bounds[0] … bounds[1]
};

// The segments of all rows of more than kSegment edges, in order.
inline std::vector<Segment> segments_of(const int64_t* indptr, int64_t rows) {
  std::vector<Segment> segments;
  for (int64_t row = 0; row < rows; ++row)
    if (indptr[row + 1] - indptr[row] > kSegment)
      for (int64_t e = indptr[row]; e < indptr[row + 1]; e += kSegment)
        segments.push_back({row, {e, std::min(e + kSegment, indptr[row + 1])}});
  return segments;
}

// Partial results: a row of `columns` for every segment.
struct Partials {
  Buffer<float> values;
  Buffer<int64_t> args;
};

inline Partials reduce_segments(const RowKernels& kernels, const Rows& x, const Aggregation& job,
                                const std::vector<Segment>& segments, int threads) {
  const size_t size = segments.size() * size_t(x.columns);
  Partials out{Buffer<float>(size), Buffer<int64_t>(job.arg ? size : 0)};
  parallel_pieces(int64_t(segments.size()), 1, threads, [&](int64_t s, int64_t) {
    Aggregation part = job;
    part.indptr = segments[s].bounds;
    part.out = out.values.data() + s * x.columns;
    part.arg = job.arg ? out.args.data() + s * x.columns : nullptr;
    part.reduce = job.arg ? Reduce::kMax : Reduce::kSum;
    part.stream = false;
    kernels.aggregate(x, part, 0, 1);
  });
  return out;
}

// Fold segment s into its row; the first segment of a row starts it.
inline void combine_segment(const Aggregation& job, const Partials& partials, int64_t columns,
                            int64_t s, int64_t row, bool first) {
  const float* value = partials.values.data() + s * columns;
  float* out = job.out + row * columns;
  for (int64_t c = 0; c < columns; ++c) {
    if (!job.arg) {
      out[c] = first ? value[c] : out[c] + value[c];
    } else if (first || value[c] > out[c] || (value[c] != value[c] && out[c] == out[c])) {
      out[c] = value[c];
      job.arg[row * columns + c] = partials.args[s * columns + c];
    }
  }
}

inline void aggregate_long_rows(const RowKernels& kernels, const Rows& x, const Aggregation& job,
                                const std::vector<Segment>& segments, int threads) {
  const Partials partials = reduce_segments(kernels, x, job, segments, threads);
  for (size_t s = 0; s < segments.size(); ++s) {
    const int64_t row = segments[s].row;
    const bool first = s == 0 || segments[s - 1].row != row;
    combine_segment(job, partials, x.columns, int64_t(s), row, first);
    const bool last = s + 1 == segments.size() || segments[s + 1].row != row;
    if (!last || job.reduce != Reduce::kMean) continue;
    const float factor = 1.0f / float(job.indptr[row + 1] - job.indptr[row]);
    for (int64_t c = row * x.columns; c < (row + 1) * x.columns; ++c) job.out[c] *= factor;
  }
}

// All rows; check(begin, end) looks at a range of edges before they are followed.
template <class Check>
void aggregate_rows(const RowKernels& kernels, const Rows& x, const Aggregation& job, int64_t rows,
                    int threads, const Check& check) {
  parallel_rows(job.indptr, rows, threads, [&](int64_t begin, int64_t end) {
    check(job.indptr[begin], job.indptr[end]);
    kernels.aggregate(x, job, begin, end);
  });
  const auto segments = segments_of(job.indptr, rows);
  if (!segments.empty()) aggregate_long_rows(kernels, x, job, segments, threads);
}

}  // namespace gnn
