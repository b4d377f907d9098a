// Rules of choice: by weight, with replacement, by edge type, by layer (LABOR).
#pragma once
#include <algorithm>
#include <cstdint>

#include "alias.h"
#include "choose.h"
#include "race.h"
#include "subset.h"

namespace gnn {

inline int64_t bounded(int64_t fanout, int64_t degree) {
  return fanout < 0 ? degree : std::min(fanout, degree);
}

template <class T>
void prefetch_run(const T* first, int64_t size, int64_t lines) {
  constexpr int64_t kPerLine = 64 / sizeof(T);
  for (int64_t i = 0; i < std::min(size, lines * kPerLine); i += kPerLine)
    prefetch(first + i);
}

// The word of draw j of a stream.
inline uint64_t word_of(uint64_t key, int64_t j) { return mix(key + kGolden * uint64_t(j + 1)); }

// The entries of an alias table that the first draws from a row read.
inline void prefetch_picks(const uint64_t* table, const Row& row, int64_t draws) {
  constexpr int64_t kMost = 32;
  for (int64_t j = 0; j < std::min(draws, kMost); ++j) {
    const auto product = (unsigned __int128)word_of(row.key, j) * uint64_t(row.degree);
    prefetch(table + row.start + uint64_t(product >> 64));
  }
}

// Without replacement, in proportion to the weights: the law of `fanout` successive draws.
//
// Short rows, and those of which much is taken, are raced for. Elsewhere the draws are made one by
// one and what was drawn already is refused; after many refusals (most of the weight is drawn) the
// race goes on among the rest, which is the same law, for what comes next depends only on the set
// that was drawn.
struct ByWeight {
  static constexpr int64_t kRaceDegree = kRunners, kRaceShare = 4, kPatience = 2, kAhead = 32;

  const float* weight;
  const uint64_t* table;
  int64_t fanout;

  bool raced(int64_t degree) const {
    return degree <= kRaceDegree || fanout < 0 || fanout >= degree / kRaceShare;
  }
  // The race writes a position before it knows whether it counts.
  int64_t most(const Row& row) const { return raced(row.degree) ? row.degree : fanout + 1; }
  void narrow(Row*, int64_t) const {}
  void look_ahead(const Row& row) const {
    if (raced(row.degree)) return prefetch_run(weight + row.start, row.degree, 5);
    prefetch_picks(table, row, fanout);
  }
  int64_t choose(const Row& row, int64_t* out, Scratch& scratch) const {
    if (raced(row.degree)) return race(row, 0, out, scratch);
    scratch.marks.reserve(row.degree);
    int64_t taken = 0;
    for (int64_t j = 0; j < kPatience * fanout + kAhead && taken < fanout; ++j) {
      const uint64_t x = alias_pick(table + row.start, row.degree, word_of(row.key, j));
      if (x >= uint64_t(row.degree)) break;  // no weight in this row
      if (scratch.marks.insert(x)) out[taken++] = int64_t(x);
    }
    scratch.marks.erase(out, taken);
    return taken < fanout ? race(row, taken, out, scratch) : taken;
  }

 private:
  // Complete out[0 … taken) to `fanout` positions.
  int64_t race(const Row& row, int64_t taken, int64_t* out, Scratch& scratch) const {
    scratch.times.resize(std::max<size_t>(scratch.times.size(), row.degree + kRunners));
    double* times = scratch.times.data();
    arrival_times(weight + row.start, row.degree, branch_key(row.key, 0), times);
    for (int64_t i = 0; i < taken; ++i) times[out[i]] = kNever;
    const int64_t wanted = bounded(fanout, row.degree) - taken;
    const auto first = row.degree <= kRunners ? first_of_run : first_arrivals;
    return taken + first(times, row.degree, wanted, out + taken, scratch.order);
  }
};

// With replacement: `fanout` draws, uniform or, given a table, in proportion to the weights.
struct WithReplacement {
  const uint64_t* table;  // null for uniform draws
  int64_t fanout;

  int64_t most(const Row& row) const { return row.degree ? fanout : 0; }
  void narrow(Row*, int64_t) const {}
  void look_ahead(const Row& row) const {
    if (table && row.degree) prefetch_picks(table, row, fanout);
  }
  int64_t choose(const Row& row, int64_t* out, Scratch&) const {
    Stream draw(row.key);
    for (int64_t j = 0; j < most(row); ++j) {
      const uint64_t x = table ? alias_pick(table + row.start, row.degree, word_of(row.key, j))
                               : draw(j, row.degree);
      if (x >= uint64_t(row.degree)) return 0;  // no weight in this row
      out[j] = int64_t(x);
    }
    return most(row);
  }
};

// Uniform without replacement among the edges of each type, with a fanout per type. Types are
// sub-ranges of a row.
struct ByType {
  const int16_t* edge_type;  // null when all edges have type 0
  const int64_t* fanouts;
  int64_t num_types;

  int64_t most(const Row& row) const { return row.degree; }
  void narrow(Row*, int64_t) const {}
  void look_ahead(const Row& row) const {
    if (edge_type) prefetch_run(edge_type + row.start, row.degree, 4);
  }
  int64_t choose(const Row& row, int64_t* out, Scratch& scratch) const {
    int64_t taken = 0;
    for (int64_t begin = 0, end; begin < row.degree; begin = end) {
      const int64_t type = edge_type ? edge_type[row.start + begin] : 0;
      end = type_end(row, begin, type);
      const int64_t fanout = type >= 0 && type < num_types ? fanouts[type] : 0;
      const uint64_t key = branch_key(row.key, uint64_t(type));
      const int64_t count = subset(end - begin, fanout, key, out + taken, scratch.marks);
      for (int64_t j = 0; j < count; ++j) out[taken + j] += begin;
      taken += count;
    }
    return taken;
  }

 private:
  int64_t type_end(const Row& row, int64_t begin, int64_t type) const {
    if (!edge_type) return row.degree;
    const int16_t* types = edge_type + row.start;
    return std::upper_bound(types + begin + 1, types + row.degree, type) - types;
  }
};

constexpr int64_t kHashRun = 64;

template <class Node>
GNN_HASH_CLONES inline void hash_nodes(const Node* nodes, int64_t size, uint64_t key,
                                       uint64_t* words) {
  for (int64_t i = 0; i < size; ++i) words[i] = mix(key + kGolden * uint64_t(nodes[i]));
}

// Layer-neighbor sampling, LABOR-0: a neighbor u is kept where its variate of this layer, the same
// for every row, is below fanout / degree.
template <class Node>
struct ByLayer {
  const Node* indices;
  uint64_t layer_key;
  int64_t fanout;

  int64_t most(const Row& row) const { return row.degree; }
  void narrow(Row*, int64_t) const {}
  void look_ahead(const Row& row) const { prefetch_run(indices + row.start, row.degree, 8); }
  int64_t choose(const Row& row, int64_t* out, Scratch&) const {
    if (fanout < 0 || row.degree <= fanout) return whole_row(row.degree, out);
    const auto limit = uint64_t(((unsigned __int128)uint64_t(fanout) << 64) / uint64_t(row.degree));
    uint64_t words[kHashRun];
    int64_t taken = 0;
    for (int64_t begin = 0; begin < row.degree; begin += kHashRun) {
      const int64_t size = std::min(kHashRun, row.degree - begin);
      hash_nodes(indices + row.start + begin, size, layer_key, words);
      for (int64_t i = 0; i < size; ++i) {
        out[taken] = begin + i;
        taken += words[i] < limit;
      }
    }
    return taken;
  }
};

}  // namespace gnn
