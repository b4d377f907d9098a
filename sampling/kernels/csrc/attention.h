// Attention over the edges of a block, several heads at once; compiled once per instruction set.
//
//   s_uv = logit of the edge, or LeakyReLU(a_u + b_v)        one for every head
//   α_uv = m_uv · exp(s_uv) / Σ_w exp(s_wv)                  m: an optional factor (dropout)
//   out_v = Σ_u α_uv x_u                                     every head on its own columns
//
// (Veličković et al.: Graph Attention Networks, 2018.) Sums are shifted by a running maximum, as in
// Milakov, Gimelshein: Online normalizer calculation for softmax, 2018; what is kept for the
// backward pass is the logarithm of the denominator, not α.
#pragma once
#include <cstdint>

#include "rows.h"

namespace gnn {

constexpr int64_t kMaxHeads = 256;

// Edges grouped by the node at one end, "own", and what their scores are made of. Arrays of scores
// have a row of `heads` values for every node or edge.
struct Attention {
  const int64_t* indptr;
  Indices indices;          // the node at the other end
  const int64_t* position;  // of an edge in the arrays over edges; null: its own place
  int64_t heads;
  const int32_t* head_of;  // the head of every column, and of 16 more
  const float* logits;     // of edges, or null: the next three
  const float* own_scores;
  const float* other_scores;
  float slope;           // of LeakyReLU below 0
  const float* factors;  // m, of edges, or null
};

// Not yet divided by the denominator: several parts of a row can still be put together.
struct AttentionSums {
  float* out;      // (rows, columns)
  float* largest;  // (rows, heads): the shift
  float* total;    // (rows, heads): the denominator
};

// Gradients of one end's own values. Null: not wanted.
struct AttentionGrads {
  Rows own, other;        // x and the gradient of out, in the order in which edges are grouped
  bool own_is_dst;        // whether `own` is the end that attends
  const float* log_total;  // (destinations, heads)
  const float* shared;     // (destinations, heads): out · its gradient
  float* rows;             // (own nodes, columns): Σ α · other
  float* scores;           // (own nodes, heads): Σ of the gradients of scores
  float* logits;           // (edges, heads): the gradients of scores
};

// Each works on rows begin … end of an adjacency, but for those of more than kSegment edges.
struct AttentionKernels {
  void (*attend)(const Rows& x, const Attention&, const AttentionSums&, int64_t begin, int64_t end);
  void (*backward)(const Attention&, const AttentionGrads&, int64_t begin, int64_t end);
  // out[r, h] = a[r] · b[r] over the columns of head h, for rows begin … end.
  void (*dots)(const Rows& a, const Rows& b, int64_t heads, int64_t begin, int64_t end, float* out);
};

GNN_DECLARE_KERNELS(AttentionKernels, attention_kernels)

}  // namespace gnn
