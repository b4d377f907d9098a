// Kernels that sample neighbors and relabel them.
#include "bindings.h"
#include "csc.h"
#include "sampler.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
nb::object py_sample_neighbors(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                               int64_t fanout, uint64_t seed, uint64_t layer, int threads) {
  check_indptr(indptr, indices);
  check_nodes(nodes, indptr.shape(0));
  const int64_t size = nodes.shape(0);
  Buffer<int64_t> offsets(size + 1), edges;
  {
    nb::gil_scoped_release unlocked;
    std::vector<Picks> picks;
    offsets[0] = 0;
    Drawing<Node> drawing(indptr.data(), indices.data(), nodes.data(), size, fanout,
                          layer_key(seed, layer), true, offsets.data(), picks);
    draw_frontier(drawing, size, threads, [](int64_t, int64_t, Picks&) {});
    for (int64_t i = 0; i < size; ++i) offsets[i + 1] += offsets[i];
    edges = Buffer<int64_t>(offsets[size]);
    for (int64_t chunk = 0, place = 0; chunk < drawing.chunks(); place += picks[chunk++].size)
      std::copy_n(picks[chunk].edges.data(), picks[chunk].size, edges.data() + place);
  }
  return nb::make_tuple(to_numpy(offsets), to_numpy(edges));
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
    nodes = Buffer<int64_t>(workspace.num_nodes);
    std::copy_n(workspace.nodes.data(), workspace.num_nodes, nodes.data());
  }
  return nb::make_tuple(to_numpy(nodes), to_numpy(local));
}

template <class Node>
nb::object py_sample_blocks(Workspace& workspace, In<int64_t> indptr, In<Node> indices,
                            In<int64_t> seeds, std::vector<int64_t> fanouts, uint64_t seed,
                            int threads, bool with_edge_ids) {
  check_indptr(indptr, indices);
  check_nodes(seeds, indptr.shape(0));
  const int layers = int(fanouts.size());
  std::vector<Hop> hops(layers);
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    workspace.start(seeds.data(), seeds.shape(0), bits_for(indptr.shape(0)));
    for (int layer = layers - 1; layer >= 0; --layer)
      hops[layer] = sample_hop(workspace, indptr.data(), indices.data(), fanouts[layer], seed, layer,
                               threads, with_edge_ids);
    nodes = Buffer<int64_t>(workspace.num_nodes);
    std::copy_n(workspace.nodes.data(), workspace.num_nodes, nodes.data());
  }
  nb::list out;
  for (auto& hop : hops) {
    const size_t size = size_t(hop.num_edges);
    nb::object edges = with_edge_ids ? nb::cast(to_numpy(hop.edges, {size})) : nb::none();
    out.append(nb::make_tuple(to_numpy(hop.offsets), to_numpy(hop.local, {size}), hop.num_src, edges));
  }
  return nb::make_tuple(to_numpy(nodes), out);
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
                  "num_threads"_a, "with_edge_ids"_a);
}
