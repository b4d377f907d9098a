// Negative sampling: for an edge src → dst, other destinations that src has no edge to.
//
// Candidates are drawn and refused while there is an edge. After a bounded number of refusals the
// candidates after the last one are tried in order, so a source with few non-neighbors costs a
// scan and not forever.
#pragma once
#include <algorithm>
#include <cstdint>

#include "checked_graph.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr uint64_t kNegativeSalt = 0x6E656761746976ULL;  // shares no draws with other samplers

// Which nodes are candidates: start … start + size - 1, uniformly, or in proportion to the steps of
// the running sum `until`, (size,).
struct Candidates {
  int64_t start, size;
  const int64_t* until;

  int64_t draw(uint64_t key, uint64_t j) const {
    if (!until) return int64_t(Stream(key)(2 * j, size));
    const int64_t place = int64_t(Stream(key)(2 * j, until[size - 1]));
    // A running sum that falls may send the search past its end.
    return std::min<int64_t>(std::upper_bound(until, until + size, place) - until, size - 1);
  }
  bool possible(int64_t i) const { return !until || until[i] > (i ? until[i - 1] : 0); }
};

template <class Node>
class NegativeSampling {
 public:
  NegativeSampling(const CheckedGraph<Node>& graph, const Candidates& candidates, bool exclude,
                   int64_t tries)
      : graph_(graph), candidates_(candidates), exclude_(exclude), tries_(tries) {}

  // The first candidate for negative j of an edge with this key, and a request for its row.
  int64_t first(uint64_t key, int64_t j) const {
    const int64_t candidate = candidates_.draw(key, j * tries_);
    __builtin_prefetch(graph_.indptr + candidates_.start + candidate);
    return candidate;
  }
  // A request for the middle of that row, where a bisection begins.
  void prefetch(int64_t candidate) const {
    const int64_t node = candidates_.start + candidate;
    __builtin_prefetch(graph_.indices + (graph_.indptr[node] + graph_.degree(node) / 2));
  }
  // Negative j of an edge from src; -1 when src has an edge to every candidate.
  int64_t draw(int64_t src, uint64_t key, int64_t j, int64_t candidate) const {
    for (int64_t attempt = 1; !good(src, candidate); ++attempt) {
      if (attempt == tries_) return next_good(src, candidate);
      candidate = candidates_.draw(key, j * tries_ + attempt);
    }
    return candidates_.start + candidate;
  }

 private:
  int64_t next_good(int64_t src, int64_t last) const {
    for (int64_t step = 1; step <= candidates_.size; ++step) {
      const int64_t i = (last + step) % candidates_.size;
      if (candidates_.possible(i) && good(src, i)) return candidates_.start + i;
    }
    return -1;
  }
  bool good(int64_t src, int64_t i) const {
    const int64_t node = candidates_.start + i;
    return !exclude_ || (node != src && !graph_.has_edge(src, node));
  }

  const CheckedGraph<Node>& graph_;
  const Candidates& candidates_;
  bool exclude_;
  int64_t tries_;
};

inline uint64_t negative_key(uint64_t seed, uint64_t src, uint64_t dst) {
  return stream_key(layer_key(seed ^ kNegativeSalt, src), dst);
}

// `count` negatives for each of a few edges, in step: draws, then rows, then searches, so that the
// misses of all of them overlap.
template <class Node>
void draw_together(const NegativeSampling<Node>& sampling, const int64_t* src, const int64_t* dst,
                   int64_t edges, int64_t count, uint64_t seed, int64_t* out) {
  for (int64_t k = 0; k < edges * count; ++k)
    out[k] = sampling.first(negative_key(seed, src[k / count], dst[k / count]), k % count);
  for (int64_t k = 0; k < edges * count; ++k) sampling.prefetch(out[k]);
  for (int64_t k = 0; k < edges * count; ++k) {
    const uint64_t key = negative_key(seed, src[k / count], dst[k / count]);
    out[k] = sampling.draw(src[k / count], key, k % count, out[k]);
  }
}

}  // namespace gnn
