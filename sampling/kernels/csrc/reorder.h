// Communities by size-constrained label propagation (Raghavan, Albert, Kumara 2007; Meyerhenke,
// Sanders, Schulz, SEA 2014). A unit, a node or a whole cluster of a finer level, takes the label
// that most of its in-neighbors outside it have. Units of a block choose from the same labels, in
// parallel, and move in order, so that the number of threads decides nothing.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "memory.h"
#include "parallel.h"

namespace gnn {

// Nodes in units: unit i holds members[starts[i]] … members[starts[i + 1] - 1].
template <class Node>
struct Units {
  const int64_t* members;
  const int64_t* starts;
  const Node* unit_of;
  int64_t count;

  int64_t size(int64_t unit) const { return starts[unit + 1] - starts[unit]; }
};

// How often every label occurs around a unit.
template <class Node>
struct Tally {
  Buffer<int32_t> count;
  std::vector<Node> touched;

  explicit Tally(int64_t labels) : count(labels) { std::fill_n(count.data(), labels, 0); }
  void add(Node label) {
    if (count[label]++ == 0) touched.push_back(label);
  }
  void clear() {
    for (Node label : touched) count[label] = 0;
    touched.clear();
  }
};

template <class Node>
struct Propagation {
  const int64_t* indptr;
  const Node* indices;
  Units<Node> units;
  int64_t max_size;
  Node* labels;            // of every node
  Buffer<int64_t> sizes;   // nodes that have a label

  // The label that a unit wants: the most frequent that has room, ties to its own, then the least.
  Node wish(int64_t unit, Tally<Node>& tally) const {
    constexpr int64_t kAhead = 16;
    const Node own = labels[units.members[units.starts[unit]]];
    for (int64_t m = units.starts[unit]; m < units.starts[unit + 1]; ++m) {
      const int64_t v = units.members[m], end = indptr[v + 1];
      for (int64_t e = indptr[v]; e < end; ++e) {
        if (e + kAhead < end) __builtin_prefetch(labels + indices[e + kAhead]);
        const Node label = labels[indices[e]];
        if (label != own || units.unit_of[indices[e]] != unit) tally.add(label);
      }
    }
    const int64_t size = units.size(unit);
    Node best = own;
    int64_t most = tally.count[own];
    for (Node label : tally.touched) {
      const int64_t count = tally.count[label];
      if (label == own || sizes[label] + size > max_size) continue;
      if (count > most || (count == most && best != own && label < best)) best = label, most = count;
    }
    tally.clear();
    return best;
  }

  bool move(int64_t unit, Node to) {
    const int64_t size = units.size(unit);
    const Node own = labels[units.members[units.starts[unit]]];
    if (to == own || sizes[to] + size > max_size) return false;
    sizes[own] -= size;
    sizes[to] += size;
    for (int64_t m = units.starts[unit]; m < units.starts[unit + 1]; ++m)
      labels[units.members[m]] = to;
    return true;
  }

  // One pass over all units; returns how many moved.
  int64_t pass(int64_t num_nodes, int64_t block, int threads) {
    std::vector<Tally<Node>> tallies;
    for (int t = 0; t < threads; ++t) tallies.emplace_back(num_nodes);
    Buffer<Node> wishes(block);
    int64_t moved = 0;
    for (int64_t first = 0; first < units.count; first += block) {
      const int64_t last = std::min(units.count, first + block);
      std::atomic<int64_t> next{first};
      run_threads(int(std::clamp<int64_t>((last - first) / 256, 1, threads)), [&](int t) {
        for (int64_t i; (i = next.fetch_add(256)) < last;)
          for (int64_t unit = i; unit < std::min(last, i + 256); ++unit)
            wishes[unit - first] = wish(unit, tallies[t]);
      });
      for (int64_t unit = first; unit < last; ++unit) moved += move(unit, wishes[unit - first]);
    }
    return moved;
  }
};

}  // namespace gnn
