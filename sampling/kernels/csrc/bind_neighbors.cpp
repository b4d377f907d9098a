// Kernels that sample neighbors and relabel them.
#include "bindings.h"
#include "bind_rows.h"
#include "csc.h"
#include "fused.h"
#include "sampler.h"

using namespace gnn;
using namespace nb::literals;

namespace {

// Rows and neighbors are checked as they are read; the span and the seeds here.
template <class Node>
Csc<Node> checked(const In<int64_t>& indptr, const In<Node>& indices,
                        const In<int64_t>& nodes) {
  check_indptr(indptr, indices);
  check_nodes(nodes, indptr.shape(0));
  return {indptr.data(), indices.data(), int64_t(indptr.shape(0)) - 1, int64_t(indices.shape(0))};
}

template <class Node>
nb::object py_sample_neighbors(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                               int64_t fanout, uint64_t seed, uint64_t layer, int threads) {
  const auto graph = checked(indptr, indices, nodes);
  const int64_t size = nodes.shape(0);
  Buffer<int64_t> offsets(size + 1), edges;
  {
    nb::gil_scoped_release unlocked;
    std::vector<Picks> picks;
    offsets[0] = 0;
    auto consume = [&](int64_t begin, int64_t end, Picks& drawn) {
      for (int64_t i = begin; i < end; ++i) offsets[i + 1] += offsets[i];
      edges.reserve(offsets[end], offsets[begin]);
      std::copy_n(drawn.edges.data(), drawn.size, edges.data() + offsets[begin]);
    };
    draw_frontier(graph, nodes.data(), size, fanout, layer_key(seed, layer), true,
                  offsets.data() + 1, threads, picks, consume);
  }
  const size_t drawn = size_t(offsets[size]);
  return nb::make_tuple(to_numpy(offsets), to_numpy(edges, {drawn}));
}

template <class Node>
nb::object py_relabel(Workspace& workspace, In<int64_t> seeds, In<Node> neighbors) {
  Buffer<int32_t> local(neighbors.shape(0));
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    workspace.start(seeds.data(), seeds.shape(0), 64);
    workspace.make_room(neighbors.shape(0));
    workspace.relabel(neighbors.data(), neighbors.shape(0), local.data());
    nodes = workspace.take_nodes();
  }
  return nb::make_tuple(to_numpy(nodes, {size_t(workspace.num_nodes)}), to_numpy(local));
}

template <class Node>
nb::object py_sample_blocks(Workspace& workspace, In<int64_t> indptr, In<Node> indices,
                            In<int64_t> seeds, std::vector<int64_t> fanouts, uint64_t seed,
                            int threads, bool with_edge_ids, uint64_t first_layer) {
  const auto graph = checked(indptr, indices, seeds);
  const int layers = int(fanouts.size());
  std::vector<Hop> hops(layers);
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    workspace.start(seeds.data(), seeds.shape(0), bits_for(indptr.shape(0)));
    for (int layer = layers - 1; layer >= 0; --layer)
      hops[layer] = sample_hop(workspace, graph, fanouts[layer], seed, first_layer + layer, threads,
                               with_edge_ids);
    nodes = workspace.take_nodes();
  }
  nb::list out;
  for (auto& hop : hops) {
    const size_t size = size_t(hop.num_edges);
    nb::object edges = with_edge_ids ? nb::cast(to_numpy(hop.edges, {size})) : nb::none();
    out.append(nb::make_tuple(to_numpy(hop.offsets), to_numpy(hop.local, {size}), hop.num_src, edges));
  }
  return nb::make_tuple(to_numpy(nodes, {size_t(workspace.num_nodes)}), out);
}

template <class Node>
nb::object py_sample_aggregate(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                               int64_t fanout, uint64_t seed, uint64_t layer, Any2 x,
                               std::optional<In<float>> scale,
                               std::optional<In<float>> node_weight, const std::string& reduce,
                               int threads) {
  const auto graph = checked(indptr, indices, nodes);
  require(int64_t(x.shape(0)) == graph.num_nodes, "x has not one row per node");
  require(!node_weight || node_weight->shape(0) == x.shape(0), "node_weight has not one entry per node");
  const int64_t size = nodes.shape(0);
  const FusedHop<Node> hop{graph, fanout, layer_key(seed, layer), as_rows(x, scale),
                           node_weight ? node_weight->data() : nullptr, parse_reduce(reduce)};
  require(hop.reduce != Reduce::kMax, "reduce must be sum or mean");
  Buffer<int64_t> offsets(size + 1);
  Buffer<float> out(size * hop.x.columns);
  {
    nb::gil_scoped_release unlocked;
    offsets[0] = 0;
    sample_aggregate(hop, nodes.data(), size, offsets.data() + 1, out.data(), threads);
    for (int64_t i = 0; i < size; ++i) offsets[i + 1] += offsets[i];
  }
  return nb::make_tuple(to_numpy(offsets), to_numpy(out, {size_t(size), size_t(hop.x.columns)}));
}

}  // namespace

void gnn::bind_neighbors(nb::module_& m) {
  nb::class_<Workspace>(m, "Workspace", "Scratch memory of one sampling thread.").def(nb::init<>());
  BOTH_NODE_TYPES("sample_neighbors", py_sample_neighbors, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "nodes"_a.noconvert(), "fanout"_a, "seed"_a, "layer"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("relabel", py_relabel, "workspace"_a, "seeds"_a.noconvert(),
                  "neighbors"_a.noconvert());
  BOTH_NODE_TYPES("sample_blocks", py_sample_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "seeds"_a.noconvert(), "fanouts"_a, "seed"_a,
                  "num_threads"_a, "with_edge_ids"_a, "first_layer"_a = 0);
  BOTH_NODE_TYPES("sample_aggregate", py_sample_aggregate, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "nodes"_a.noconvert(), "fanout"_a, "seed"_a, "layer"_a,
                  "x"_a.noconvert(), "scale"_a.none(), "node_weight"_a.none(), "reduce"_a,
                  "num_threads"_a);
}
