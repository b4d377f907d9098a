// Kernels that draw mini-batches by weight, with replacement, by type, by layer and before a time.
#include "alias.h"
#include "bindings.h"
#include "choose.h"
#include "csc.h"
#include "rules.h"
#include "temporal.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class T>
const T* edge_data(const std::optional<In<T>>& array, size_t num_edges) {
  if (!array) return nullptr;
  require(array->shape(0) == num_edges, "an edge array differs in length from indices");
  return array->data();
}

template <class Node>
Adjacency<Node> adjacency(const In<int64_t>& indptr, const In<Node>& indices) {
  check_indptr(indptr, indices);
  return {indptr.data(), indices.data(), int64_t(indptr.shape(0)) - 1, int64_t(indices.shape(0))};
}

// (offsets, places, number of sources, edges) of each hop, as NumPy arrays.
nb::list to_list(std::vector<Hop>& hops) {
  nb::list out;
  for (auto& hop : hops) {
    const size_t size = size_t(hop.num_edges);
    out.append(nb::make_tuple(to_numpy(hop.offsets), to_numpy(hop.local, {size}), hop.num_src,
                              to_numpy(hop.edges, {size})));
  }
  return out;
}

// All hops of a batch that starts at `entries`; rule_of(layer, its key) is the rule of a layer.
template <class Node, class RuleOf>
std::vector<Hop> choose_hops(ChoiceWorkspace& space, const Adjacency<Node>& graph,
                             const int64_t* entries, int64_t size, int entry_bits, int layers,
                             uint64_t seed, int threads, const RuleOf& rule_of) {
  std::vector<Hop> hops(layers);
  space.places.start(entries, size, entry_bits);
  for (int layer = layers - 1; layer >= 0; --layer) {
    const uint64_t key = layer_key(seed, layer);
    hops[layer] = choose_hop(space, graph, rule_of(layer, key), key, threads);
  }
  return hops;
}

// The whole of a kernel whose frontier entries are plain nodes: (nodes, hops).
template <class Node, class RuleOf>
nb::object choose_batch(ChoiceWorkspace& space, const Adjacency<Node>& graph,
                        const In<int64_t>& seeds, size_t layers, uint64_t seed, int threads,
                        const RuleOf& rule_of) {
  check_nodes(seeds, graph.num_nodes + 1);
  std::vector<Hop> hops;
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    hops = choose_hops(space, graph, seeds.data(), seeds.shape(0), bits_for(graph.num_nodes),
                       int(layers), seed, threads, rule_of);
    nodes = Buffer<int64_t>(space.places.num_nodes);
    std::copy_n(space.places.nodes.data(), space.places.num_nodes, nodes.data());
  }
  return nb::make_tuple(to_numpy(nodes), to_list(hops));
}

Out<uint64_t> py_alias_table(In<int64_t> indptr, In<float> weight, int threads) {
  check_indptr(indptr, weight);
  Buffer<uint64_t> table;
  bool good = true;
  {
    nb::gil_scoped_release unlocked;
    for (const float *w = weight.data(), *end = w + weight.shape(0); w < end; ++w)
      good &= *w >= 0 && *w < kNever;
    if (good) table = alias_table(indptr.data(), indptr.shape(0) - 1, weight.data(), threads);
  }
  require(good, "a weight is negative or not finite");
  return to_numpy(table, {weight.shape(0)});
}

template <class Node>
nb::object py_weighted_blocks(ChoiceWorkspace& space, In<int64_t> indptr, In<Node> indices,
                              In<float> weight, In<uint64_t> table, In<int64_t> seeds,
                              std::vector<int64_t> fanouts, uint64_t seed, int threads) {
  const auto graph = adjacency(indptr, indices);
  require(weight.shape(0) == indices.shape(0) && table.shape(0) == indices.shape(0),
          "an edge array differs in length from indices");
  auto rule_of = [&](int layer, uint64_t) {
    return ByWeight{weight.data(), table.data(), fanouts[layer]};
  };
  return choose_batch(space, graph, seeds, fanouts.size(), seed, threads, rule_of);
}

template <class Node>
nb::object py_replacement_blocks(ChoiceWorkspace& space, In<int64_t> indptr, In<Node> indices,
                                 std::optional<In<uint64_t>> table, In<int64_t> seeds,
                                 std::vector<int64_t> fanouts, uint64_t seed, int threads) {
  const auto graph = adjacency(indptr, indices);
  const uint64_t* aliases = edge_data(table, indices.shape(0));
  for (int64_t fanout : fanouts) require(fanout >= 0, "a fanout is negative");
  auto rule_of = [&](int layer, uint64_t) {
    return WithReplacement{aliases, fanouts[layer]};
  };
  return choose_batch(space, graph, seeds, fanouts.size(), seed, threads, rule_of);
}

template <class Node>
nb::object py_typed_blocks(ChoiceWorkspace& space, In<int64_t> indptr, In<Node> indices,
                           std::optional<In<int16_t>> edge_type, In<int64_t> seeds,
                           In2<int64_t> fanouts, uint64_t seed, int threads) {
  const auto graph = adjacency(indptr, indices);
  const int16_t* types = edge_data(edge_type, indices.shape(0));
  const int64_t num_types = fanouts.shape(1);
  auto rule_of = [&](int layer, uint64_t) {
    return ByType{types, fanouts.data() + layer * num_types, num_types};
  };
  return choose_batch(space, graph, seeds, fanouts.shape(0), seed, threads, rule_of);
}

template <class Node>
nb::object py_labor_blocks(ChoiceWorkspace& space, In<int64_t> indptr, In<Node> indices,
                           In<int64_t> seeds, std::vector<int64_t> fanouts, uint64_t seed,
                           int threads) {
  const auto graph = adjacency(indptr, indices);
  auto rule_of = [&](int layer, uint64_t key) {
    return ByLayer<Node>{indices.data(), key, fanouts[layer]};
  };
  return choose_batch(space, graph, seeds, fanouts.size(), seed, threads, rule_of);
}

// The distinct times of the seeds as eras, ascending.
std::vector<Era> eras_of(const In<int64_t>& times, std::optional<int64_t> window) {
  constexpr int64_t kBeginning = std::numeric_limits<int64_t>::min();
  std::vector<int64_t> distinct(times.data(), times.data() + times.shape(0));
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<Era> eras;
  for (int64_t time : distinct)
    eras.push_back({!window || time < kBeginning + *window ? kBeginning : time - *window, time});
  return eras;
}

template <class Node>
nb::object py_temporal_blocks(ChoiceWorkspace& space, In<int64_t> indptr, In<Node> indices,
                              std::optional<In<int16_t>> edge_type, In<int64_t> edge_time,
                              In<int64_t> seeds, In<int64_t> times, std::vector<int64_t> fanouts,
                              bool recent, std::optional<int64_t> window, uint64_t seed,
                              int threads) {
  auto graph = adjacency(indptr, indices);
  const int16_t* types = edge_data(edge_type, indices.shape(0));
  require(edge_time.shape(0) == indices.shape(0), "an edge array differs in length from indices");
  require(times.shape(0) == seeds.shape(0), "times differ in number from seeds");
  require(!window || *window > 0, "the window is not positive");
  check_nodes(seeds, graph.num_nodes + 1);
  std::vector<Hop> hops;
  Buffer<int64_t> nodes, node_times;
  {
    nb::gil_scoped_release unlocked;
    const std::vector<Era> eras = eras_of(times, window);
    graph.node_bits = bits_for(graph.num_nodes);
    const int entry_bits = graph.node_bits + bits_for(eras.size());
    if (entry_bits > 63) throw std::length_error("too many nodes and times: use fewer seeds");
    Buffer<int64_t> entries(seeds.shape(0));
    for (size_t i = 0; i < entries.size(); ++i) {
      auto earlier = [](const Era& era, int64_t time) { return era.before < time; };
      const auto era = std::lower_bound(eras.begin(), eras.end(), times.data()[i], earlier);
      entries[i] = (era - eras.begin()) << graph.node_bits | seeds.data()[i];
    }
    auto rule_of = [&](int layer, uint64_t) {
      return BeforeTime{types,  edge_time.data(),  eras.data(), fanouts[layer],
                        recent, window.has_value()};
    };
    hops = choose_hops(space, graph, entries.data(), entries.size(), entry_bits,
                       int(fanouts.size()), seed, threads, rule_of);
    const int64_t size = space.places.num_nodes;
    nodes = Buffer<int64_t>(size);
    node_times = Buffer<int64_t>(size);
    for (int64_t i = 0; i < size; ++i) {
      nodes[i] = graph.node(space.places.nodes[i]);
      node_times[i] = eras[graph.tag(space.places.nodes[i])].before;
    }
  }
  return nb::make_tuple(to_numpy(nodes), to_numpy(node_times), to_list(hops));
}

}  // namespace

void gnn::bind_choose(nb::module_& m) {
  nb::class_<ChoiceWorkspace>(m, "ChoiceWorkspace", "Scratch memory of one sampling thread.")
      .def(nb::init<>());
  m.def("alias_table", &py_alias_table, "indptr"_a.noconvert(), "weight"_a.noconvert(),
        "num_threads"_a);
  BOTH_NODE_TYPES("weighted_blocks", py_weighted_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "weight"_a.noconvert(), "table"_a.noconvert(),
                  "seeds"_a.noconvert(), "fanouts"_a, "seed"_a, "num_threads"_a);
  BOTH_NODE_TYPES("replacement_blocks", py_replacement_blocks, "workspace"_a,
                  "indptr"_a.noconvert(), "indices"_a.noconvert(), "table"_a.noconvert().none(),
                  "seeds"_a.noconvert(), "fanouts"_a, "seed"_a, "num_threads"_a);
  BOTH_NODE_TYPES("typed_blocks", py_typed_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "edge_type"_a.noconvert().none(),
                  "seeds"_a.noconvert(), "fanouts"_a.noconvert(), "seed"_a, "num_threads"_a);
  BOTH_NODE_TYPES("labor_blocks", py_labor_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "seeds"_a.noconvert(), "fanouts"_a, "seed"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("temporal_blocks", py_temporal_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "edge_type"_a.noconvert().none(),
                  "edge_time"_a.noconvert(), "seeds"_a.noconvert(), "times"_a.noconvert(),
                  "fanouts"_a, "recent"_a, "window"_a.none(), "seed"_a, "num_threads"_a);
}
