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

// Entries of a table, which must be few enough for memory to be asked for.
inline int64_t table_size(int64_t rows, int64_t columns) {
  const int64_t most = int64_t(1) << 48;
  require(rows >= 0 && columns >= 0 && rows <= most / std::max<int64_t>(columns, 1),
          "a count is outside what memory can hold");
  return rows * columns;
}

}  // namespace gnn
