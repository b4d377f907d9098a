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
    return std::upper_bound(until, until + size, place) - until;
  }
  bool possible(int64_t i) const { return !until || until[i] > (i ? until[i - 1] : 0); }
};

template <class Node>
class NegativeSampling {
 public:
  NegativeSampling(const CheckedGraph<Node>& graph, const Candidates& candidates, bool exclude,
                   int64_t tries)
      : graph_(graph), candidates_(candidates), exclude_(exclude), tries_(tries) {}

  // Negative number j of an edge from src with this key; -1 when src has an edge to every candidate.
  int64_t draw(int64_t src, uint64_t key, int64_t j) const {
    int64_t last = 0;
    for (int64_t attempt = 0; attempt < tries_; ++attempt) {
      last = candidates_.draw(key, j * tries_ + attempt);
      if (good(src, last)) return candidates_.start + last;
    }
    for (int64_t step = 1; step <= candidates_.size; ++step) {
      const int64_t i = (last + step) % candidates_.size;
      if (candidates_.possible(i) && good(src, i)) return candidates_.start + i;
    }
    return -1;
  }

 private:
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

}  // namespace gnn
