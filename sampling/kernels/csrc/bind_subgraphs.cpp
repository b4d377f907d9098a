// Kernels that cut a set of nodes out of a graph.
#include "bind_graph.h"
#include "subgraphs.h"

using namespace gnn;
using namespace nb::literals;

namespace {

// Keys (component, node) must be whole numbers of 63 bits.
void check_groups(const In<int64_t>& groups, size_t nodes, uint64_t num_nodes) {
  require(groups.shape(0) == nodes, "groups differ in length from nodes");
  const uint64_t limit = (uint64_t(1) << 63) / std::max<uint64_t>(num_nodes, 1);
  require(all_below(groups.data(), nodes, limit, 1), "a group is outside 0 … 2^63 / num_nodes");
}

template <class Node>
nb::object py_induced_subgraph(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                               std::optional<In<int64_t>> groups, int threads) {
  const auto graph = checked_graph(indptr, indices);
  check_nodes(nodes, indptr.shape(0));
  if (groups) check_groups(*groups, nodes.shape(0), graph.num_nodes);
  std::optional<InducedSubgraph<Node>> subgraph;
  {
    nb::gil_scoped_release unlocked;
    subgraph.emplace(graph, nodes.data(), groups ? groups->data() : nullptr, nodes.shape(0));
    subgraph->extract(threads);
  }
  return nb::make_tuple(to_numpy(subgraph->offsets), to_numpy(subgraph->local),
                        to_numpy(subgraph->edges));
}

}  // namespace

void gnn::bind_subgraphs(nb::module_& m) {
  BOTH_NODE_TYPES("induced_subgraph", py_induced_subgraph, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "nodes"_a.noconvert(), "groups"_a.none(),
                  "num_threads"_a);
}
