// Drawing neighbors and relabeling them: the inner loops, compiled once per instruction set (see
// CMakeLists.txt).
#pragma once
#include <cstdint>

#include "isa.h"
#include "random.h"

namespace gnn {

constexpr int64_t kLineSlots = 8;
constexpr int64_t kMostPicks = 64;  // larger fanouts are drawn by `pick_many` of sampler.h

// Uniform draws of one layer: up to `fanout` of every node's in-neighbors.
struct Draw {
  const int64_t* indptr;
  const void* indices;  // int32 or int64
  bool wide;            // int64
  int64_t num_nodes, num_edges;
  int64_t fanout;       // 0 … kMostPicks
  uint64_t layer_key;
};

// A set of nodes with their places, in lines of eight slots. A slot is a node (32 bits), the
// epoch that wrote it (8) and a place (24); a slot of another epoch is free, so that a new batch
// clears nothing.
struct Lines {
  uint64_t* slots;
  int bits;  // 2^bits lines
  uint64_t epoch;

  // The line where the search for a node begins.
  GNN_INLINE uint64_t home(int64_t node) const {
    return (uint64_t(node) * kGolden) >> (64 - bits);
  }
};

struct DrawKernels {
  // Neighbors of nodes[0 … size), one node after the other, and the positions of their edges when
  // `edges` is given; counts[i] is how many node i got. Both have room for size * fanout entries.
  // Returns the number of neighbors, or -1 when a row or a neighbor lies outside the graph.
  int64_t (*draw)(const Draw&, const int64_t* nodes, int64_t size, int64_t* counts,
                  void* neighbors, int64_t* edges);
  // The place of every neighbor; new ones are appended to known[count …]. Returns the new count.
  int64_t (*relabel)(const Lines&, const void* neighbors, bool wide, int64_t size, int64_t* known,
                     int64_t count, int32_t* local);
};

GNN_DECLARE_KERNELS(DrawKernels, draw_kernels)

}  // namespace gnn
