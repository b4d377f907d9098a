// Kernels that match nodes for coarsening.
#include <cmath>

#include "bind_graph.h"
#include "matching.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
Out<int64_t> py_heavy_edge_matching(In<int64_t> indptr, In<Node> indices,
                                    std::optional<In<float>> weight, uint64_t seed, int threads) {
  const auto graph = checked_graph(indptr, indices);
  const float* weights = data_or_null(weight, indices.shape(0));
  Buffer<int64_t> out(graph.num_nodes);
  {
    nb::gil_scoped_release unlocked;
    if (weights)
      for (uint64_t i = 0; i < graph.num_edges; ++i)
        require(std::isfinite(weights[i]), "a weight is not finite");
    HeavyEdgeMatching<Node> matching(graph, weights, seed);
    number_clusters(matching.run(threads), out.data());
  }
  return to_numpy(out);
}

}  // namespace

void gnn::bind_matching(nb::module_& m) {
  BOTH_NODE_TYPES("heavy_edge_matching", py_heavy_edge_matching, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "weight"_a.noconvert().none(), "seed"_a,
                  "num_threads"_a);
}
