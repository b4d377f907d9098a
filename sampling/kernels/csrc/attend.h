// Sharing attention out to threads. As in aggregate.h, rows of more than kSegment edges are worked
// segment by segment and put together in order, so that the number of threads changes no bit.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "aggregate.h"
#include "attention.h"

namespace gnn {

// The head of every column, and of more for reads of whole vectors.
inline std::vector<int32_t> heads_of_columns(int64_t columns, int64_t heads) {
  std::vector<int32_t> head(columns + 16, 0);
  for (int64_t c = 0; c < columns + 16; ++c) head[c] = int32_t(c / std::max<int64_t>(columns / heads, 1));
  return head;
}

// The edges of one segment, as the only row of an adjacency.
inline Attention part_of(const Attention& job, const Segment& segment) {
  Attention part = job;
  part.indptr = segment.bounds;
  if (job.own_scores) part.own_scores += segment.row * job.heads;
  return part;
}

// Divide by the denominator; `largest` becomes the logarithm of the whole denominator.
inline void divide_row(const Attention& job, const AttentionSums& sums, int64_t columns, int64_t row) {
  float *largest = sums.largest + row * job.heads, *total = sums.total + row * job.heads;
  for (int64_t h = 0; h < job.heads; ++h) {
    const bool some = total[h] != 0;  // otherwise nothing is attended to
    largest[h] = some ? largest[h] + std::log(total[h]) : 0.0f;
    total[h] = some ? 1.0f / total[h] : 0.0f;
  }
  float* out = sums.out + row * columns;
  for (int64_t c = 0; c < columns; ++c) out[c] *= total[job.head_of[c]];
}

// Add the sums of segment `from` of `parts` to row `row` of `sums`, under the larger of both shifts.
inline void add_segment(const Attention& job, const AttentionSums& sums, const AttentionSums& parts,
                        int64_t columns, int64_t row, int64_t from, bool first) {
  float *largest = sums.largest + row * job.heads, *total = sums.total + row * job.heads;
  std::vector<float> keep(job.heads), add(job.heads);
  for (int64_t h = 0; h < job.heads; ++h) {
    const float theirs = parts.largest[from * job.heads + h];
    const float top = first ? theirs : std::max(largest[h], theirs);
    keep[h] = first || largest[h] == top ? float(!first) : std::exp(largest[h] - top);
    add[h] = theirs == top ? 1.0f : std::exp(theirs - top);
    total[h] = (first ? 0.0f : total[h] * keep[h]) + parts.total[from * job.heads + h] * add[h];
    largest[h] = top;
  }
  for (int64_t c = 0; c < columns; ++c) {
    float& out = sums.out[row * columns + c];
    const int32_t h = job.head_of[c];
    out = (first ? 0.0f : out * keep[h]) + parts.out[from * columns + c] * add[h];
  }
}

inline void attend_long_rows(const Rows& x, const Attention& job, const AttentionSums& sums,
                             const std::vector<Segment>& segments, int threads) {
  const auto& kernels = best_attention_kernels();
  const size_t size = segments.size();
  Buffer<float> out(size * x.columns), largest(size * job.heads), total(size * job.heads);
  const AttentionSums parts{out.data(), largest.data(), total.data()};
  parallel_pieces(int64_t(size), 1, threads, [&](int64_t s, int64_t) {
    const AttentionSums part{parts.out + s * x.columns, parts.largest + s * job.heads,
                             parts.total + s * job.heads};
    kernels.attend(x, part_of(job, segments[s]), part, 0, 1);
  });
  for (size_t s = 0; s < size; ++s) {
    const int64_t row = segments[s].row;
    add_segment(job, sums, parts, x.columns, row, int64_t(s), s == 0 || segments[s - 1].row != row);
    if (s + 1 == size || segments[s + 1].row != row) divide_row(job, sums, x.columns, row);
  }
}

inline void attend(const Rows& x, const Attention& job, const AttentionSums& sums, int64_t rows,
                   int threads) {
  parallel_rows(job.indptr, rows, threads, [&](int64_t begin, int64_t end) {
    best_attention_kernels().attend(x, job, sums, begin, end);
    for (int64_t row = begin; row < end; ++row)
      if (job.indptr[row + 1] - job.indptr[row] <= kSegment) divide_row(job, sums, x.columns, row);
  });
  const auto segments = segments_of(job.indptr, rows);
  if (!segments.empty()) attend_long_rows(x, job, sums, segments, threads);
}

// Where the gradients of one segment go: partial rows where there are sums.
inline AttentionGrads part_of(const AttentionGrads& grads, const Attention& job, const Segment& segment,
                              float* rows, float* scores) {
  AttentionGrads part = grads;
  part.own.data = static_cast<const float*>(grads.own.data) + segment.row * grads.own.columns;
  part.own.count -= segment.row;
  if (grads.own_is_dst) {
    part.log_total += segment.row * job.heads;
    part.shared += segment.row * job.heads;
  }
  part.rows = grads.rows ? rows : nullptr;
  part.scores = grads.scores ? scores : nullptr;
  return part;
}

// to[i] = from[i], or more of it.
inline void add_values(float* to, const float* from, int64_t size, bool first) {
  for (int64_t i = 0; i < size; ++i) to[i] = first ? from[i] : to[i] + from[i];
}

inline void differentiate_long_rows(const Attention& job, const AttentionGrads& grads,
                                    const std::vector<Segment>& segments, int threads) {
  const int64_t size = int64_t(segments.size()), columns = grads.own.columns, heads = job.heads;
  Buffer<float> rows(grads.rows ? size * columns : 0), scores(grads.scores ? size * heads : 0);
  parallel_pieces(size, 1, threads, [&](int64_t s, int64_t) {
    const auto part = part_of(grads, job, segments[s], rows.data() + s * columns, scores.data() + s * heads);
    best_attention_kernels().backward(part_of(job, segments[s]), part, 0, 1);
  });
  for (int64_t s = 0; s < size; ++s) {
    const int64_t row = segments[s].row;
    const bool first = s == 0 || segments[s - 1].row != row;
    if (grads.rows) add_values(grads.rows + row * columns, rows.data() + s * columns, columns, first);
    if (grads.scores) add_values(grads.scores + row * heads, scores.data() + s * heads, heads, first);
  }
}

// Gradients of the values at the end that edges are grouped by.
inline void differentiate(const Attention& job, const AttentionGrads& grads, int64_t rows, int threads) {
  parallel_rows(job.indptr, rows, threads, [&](int64_t begin, int64_t end) {
    best_attention_kernels().backward(job, grads, begin, end);
  });
  const auto segments = segments_of(job.indptr, rows);
  if (!segments.empty()) differentiate_long_rows(job, grads, segments, threads);
}

}  // namespace gnn
