// Random walks along in-neighbors: uniform, with restarts, and of second order.
//
// A step is two dependent reads, the offsets of the node and one of its columns, and both miss the
// caches on a large graph. A thread therefore moves a ring of walkers in step, and prefetches for
// every walker what its next read needs, so that the misses of the whole ring overlap (as ThunderRW,
// Sun et al., VLDB 2021). Draws are keyed by (seed, number of the walk, start, step).
//
// Walks of second order are node2vec's (Grover and Leskovec, KDD 2016), drawn by rejection as in
// KnightKing (Yang et al., SOSP 2019): a uniform neighbor is kept with a probability in proportion
// to its bias. After kAttempts refusals the biases of the whole row are summed up instead; both
// ways have the same law, so their mixture has it too.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "checked_graph.h"
#include "node_table.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kRing = 64;      // walkers that a thread moves in step
constexpr uint64_t kAttempts = 32; // refusals before a row's biases are summed up
constexpr uint64_t kWalkSalt = 0x77616C6B73ULL;  // walks share no draws with neighbor sampling

inline uint64_t walk_key(uint64_t seed, uint64_t number, uint64_t start) {
  return stream_key(layer_key(seed ^ kWalkSalt, number), start);
}
// A walk's key at one step. Its upper half is the coin of the step, uniform on 0 … 2^32 - 1; the
// lower half is the draw of a neighbor, as in Stream(key)(2 * step, degree).
inline uint64_t step_word(uint64_t key, uint64_t step) { return mix(key + kGolden * (step + 1)); }
inline uint64_t coin(uint64_t key, uint64_t step) { return step_word(key, step) >> 32; }

// What a ring walks: row i of `nodes`, (size, length + 1), starts at starts[i] with keys[i]. Rows
// end in -1 from a dead end on.
struct Walks {
  const int64_t* starts;
  const uint64_t* keys;
  int64_t length;
  int64_t* nodes;

  int64_t* row(int64_t i) const { return nodes + i * (length + 1); }
};

// The walkers of a ring that have not come to a dead end.
struct Ring {
  int64_t live[kRing], edge[kRing];
  int64_t size = 0;

  template <class Node>
  void start(const CheckedGraph<Node>& graph, const Walks& walks, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      walks.row(i)[0] = walks.starts[i];
      __builtin_prefetch(graph.indptr + walks.starts[i]);
      live[size++] = i;
    }
  }
};

// Walk rows begin … end, at most kRing; each step returns to the start when its coin is below
// `restart`, of 2^32. Coins cannot be predicted, so nothing branches on them but a dead end: a
// walker that returns reads column 0 and forgets it.
template <class Node>
void walk_ring(const CheckedGraph<Node>& graph, const Walks& walks, uint64_t restart, int64_t begin,
               int64_t end) {
  Ring ring;
  bool back[kRing];
  ring.start(graph, walks, begin, end);
  for (int64_t step = 0; step < walks.length; ++step) {
    int64_t moving = 0;
    for (int64_t r = 0; r < ring.size; ++r) {
      const int64_t i = ring.live[r], at = walks.row(i)[step], degree = graph.degree(at);
      const uint64_t key = walks.keys[i];
      const bool returns = coin(key, step) < restart;
      int64_t edge = 0;
      if (degree > 0) {
        edge = graph.edge(at, Stream(key)(2 * step, degree));
        edge = returns ? 0 : edge;
        __builtin_prefetch(graph.indices + edge);
      } else if (!returns) {
        std::fill(walks.row(i) + step + 1, walks.row(i + 1), int64_t(-1));
        continue;
      }
      back[moving] = returns;
      ring.live[moving] = i;
      ring.edge[moving++] = edge;
    }
    ring.size = moving;
    for (int64_t r = 0; r < moving; ++r) {
      const int64_t i = ring.live[r];
      int64_t next = graph.num_edges ? graph.source(ring.edge[r]) : 0;
      next = back[r] ? walks.starts[i] : next;
      walks.row(i)[step + 1] = next;
      __builtin_prefetch(graph.indptr + next);
    }
  }
}

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
    std::vector<uint64_t> until(graph.degree(at));
    uint64_t total = 0;
    for (size_t j = 0; j < until.size(); ++j)
      until[j] = total += of(graph, before, graph.source(graph.edge(at, j)));
    const uint64_t place = Stream(key)(2 * kAttempts, total);
    const auto found = std::upper_bound(until.begin(), until.end(), place);
    return graph.source(graph.edge(at, found - until.begin()));
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

// Every `size` walk, in rings.
template <class Walk>
void walk_all(int64_t size, int threads, const Walk& walk_rows) {
  parallel_pieces(size, kRing * 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kRing) walk_rows(i, std::min(end, i + kRing));
  });
}

// How often each node was already there, further left.
inline void count_repeats(const int64_t* nodes, int64_t size, int64_t* before) {
  constexpr int64_t kAhead = 16;
  NodeTable table(size);
  std::vector<int64_t> seen;
  for (int64_t i = 0; i < size; ++i) {
    if (i + kAhead < size) table.prefetch(nodes[i + kAhead]);
    const size_t place = table.insert(nodes[i]);
    if (place == seen.size()) seen.push_back(0);
    before[i] = seen[place]++;
  }
}

}  // namespace gnn
