// Uniform random walks along in-neighbors, with restarts.
//
// A step is two dependent reads, the offsets of the node and one of its columns, and both miss the
// caches on a large graph. A thread therefore moves a ring of walkers in step, and prefetches for
// every walker what its next read needs, so that the misses of the whole ring overlap (as in
// ThunderRW; Sun et al., VLDB 2021). Draws are keyed by (seed, number of the walk, start, step).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "checked_graph.h"
#include "node_table.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kRing = 64;  // walkers that a thread moves in step
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
