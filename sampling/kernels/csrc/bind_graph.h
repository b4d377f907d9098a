// An adjacency from Python, for kernels that check every read.
#pragma once
#include "bindings.h"
#include "checked_graph.h"

namespace gnn {

template <class Node>
CheckedGraph<Node> checked_graph(const In<int64_t>& indptr, const In<Node>& indices,
                                 bool sorted_rows = true) {
  check_indptr(indptr, indices);
  return {indptr.data(), indices.data(), indptr.shape(0) - 1, indices.shape(0), sorted_rows};
}

}  // namespace gnn
