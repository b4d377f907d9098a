// Random walks of second order: node2vec's (Grover and Leskovec, KDD 2016).
//
// Steps are drawn by rejection, as in KnightKing (Yang et al., SOSP 2019): a uniform neighbor is
// kept with a probability in proportion to its bias. After kAttempts refusals the biases of the
// whole row are summed up instead; both ways have the same law, so their mixture has it too.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "walks.h"

namespace gnn {

constexpr uint64_t kAttempts = 32;  // refusals before a row's biases are summed up

// node2vec's biases as whole numbers, the largest being 2^32: for going back to the node before,
// for staying near it, and for going further away.
struct Biases {
  uint64_t back, near, far;

  // The bias of stepping to `next` when the walk came from `before`, which is -1 at the start.
  template <class Node>
  uint64_t of(const CheckedGraph<Node>& graph, int64_t before, int64_t next) const {
    if (next == before) return back;
    return graph.has_edge(next, before) ? near : far;
  }
  // Whether a coin keeps `next`: the edge is looked for only when the answer hangs on it.
  template <class Node>
  bool keeps(const CheckedGraph<Node>& graph, int64_t before, int64_t next, uint64_t coin) const {
    if (before < 0) return true;
    if (next != before && coin < std::min(near, far)) return true;
    if (next != before && coin >= std::max(near, far)) return false;
    return coin < of(graph, before, next);
  }
  // A step drawn from the biases of the whole row.
  template <class Node>
  int64_t exact(const CheckedGraph<Node>& graph, int64_t before, int64_t at, uint64_t key) const {
    const auto [begin, end] = graph.row(at);
    std::vector<uint64_t> until;
    for (int64_t edge = begin; edge < end; ++edge)
      until.push_back((until.empty() ? 0 : until.back()) + of(graph, before, graph.source(edge)));
    const uint64_t place = Stream(key)(2 * kAttempts, until.back());
    const auto found = std::upper_bound(until.begin(), until.end(), place);
    return graph.source(begin + (found - until.begin()));
  }
};

// One step of second order for every walker of a ring; those that were refused try again together.
template <class Node>
void step_by_rejection(const CheckedGraph<Node>& graph, const Walks& walks, const Biases& biases,
                       int64_t step, Ring ring) {
  for (uint64_t attempt = 0; ring.size; ++attempt) {
    for (int64_t r = 0; r < ring.size; ++r) {
      const int64_t i = ring.live[r], at = walks.row(i)[step];
      const uint64_t key = mix(step_word(walks.keys[i], step));
      ring.edge[r] = graph.edge(at, Stream(key)(2 * attempt, graph.degree(at)));
      __builtin_prefetch(graph.indices + ring.edge[r]);
    }
    int64_t refused = 0;
    for (int64_t r = 0; r < ring.size; ++r) {
      const int64_t i = ring.live[r], before = step ? walks.row(i)[step - 1] : -1;
      const uint64_t key = mix(step_word(walks.keys[i], step));
      int64_t next = graph.source(ring.edge[r]);
      if (!biases.keeps(graph, before, next, coin(key, attempt))) {
        if (attempt + 1 < kAttempts) {
          ring.live[refused++] = i;
          continue;
        }
        next = biases.exact(graph, before, walks.row(i)[step], key);
      }
      walks.row(i)[step + 1] = next;
      __builtin_prefetch(graph.indptr + next);
    }
    ring.size = refused;
  }
}

template <class Node>
void walk_ring_biased(const CheckedGraph<Node>& graph, const Walks& walks, const Biases& biases,
                      int64_t begin, int64_t end) {
  Ring ring;
  ring.start(graph, walks, begin, end);
  for (int64_t step = 0; step < walks.length; ++step) {
    int64_t moving = 0;
    for (int64_t r = 0; r < ring.size; ++r) {
      const int64_t i = ring.live[r];
      if (graph.degree(walks.row(i)[step]) > 0)
        ring.live[moving++] = i;
      else
        std::fill(walks.row(i) + step + 1, walks.row(i + 1), int64_t(-1));
    }
    ring.size = moving;
    step_by_rejection(graph, walks, biases, step, ring);
  }
}

}  // namespace gnn
