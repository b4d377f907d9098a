// Kernels that cluster nodes.
#include "bind_graph.h"
#include "clusters.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
Out<int64_t> py_propagate_labels(In<int64_t> indptr, In<Node> indices, In<int64_t> weights,
                                 In<int64_t> labels, In<int64_t> order, int64_t num_labels,
                                 int64_t least, int64_t capacity, uint64_t seed) {
  const auto graph = checked_graph(indptr, indices);
  check_nodes(order, indptr.shape(0));
  require(weights.shape(0) == graph.num_nodes && labels.shape(0) == graph.num_nodes,
          "weights or labels differ in length from the graph");
  require(num_labels > 0, "there are no labels");
  table_size(num_labels, 1);
  for (size_t v = 0; v < graph.num_nodes; ++v)
    require(labels.data()[v] >= -1 && labels.data()[v] < num_labels, "a label is outside");
  Buffer<int64_t> out(graph.num_nodes);
  {
    nb::gil_scoped_release unlocked;
    std::copy_n(labels.data(), graph.num_nodes, out.data());
    LabelPropagation<Node> labeling(graph, weights.data(), out.data(), num_labels, least,
                                   capacity, seed);
    for (size_t i = 0; i < order.shape(0); ++i) labeling.visit(order.data()[i]);
  }
  return to_numpy(out);
}

}  // namespace

void gnn::bind_clusters(nb::module_& m) {
  BOTH_NODE_TYPES("propagate_labels", py_propagate_labels, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "weights"_a.noconvert(), "labels"_a.noconvert(),
                  "order"_a.noconvert(), "num_labels"_a, "least"_a, "capacity"_a, "seed"_a);
}
