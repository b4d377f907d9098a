// Kernels that walk at random.
#include "biased_walks.h"
#include "bind_graph.h"
#include "importance.h"
#include "walks.h"

using namespace gnn;
using namespace nb::literals;

namespace {

Buffer<int64_t> repeats(const In<int64_t>& nodes) {
  Buffer<int64_t> before(nodes.shape(0));
  count_repeats(nodes.data(), nodes.shape(0), before.data());
  return before;
}

// Walk(graph, walks, begin, end) for every start, in rings, into a matrix for NumPy.
template <class Node, class Walk>
Out<int64_t> walked(const CheckedGraph<Node>& graph, const In<int64_t>& starts, int64_t length,
                    uint64_t seed, int threads, const Walk& walk) {
  const int64_t size = starts.shape(0);
  check_nodes(starts, graph.num_nodes + 1);
  table_size(size, length);
  Buffer<int64_t> nodes(table_size(size, length + 1));
  {
    nb::gil_scoped_release unlocked;
    const Buffer<int64_t> number = repeats(starts);
    Buffer<uint64_t> keys(size);
    for (int64_t i = 0; i < size; ++i) keys[i] = walk_key(seed, number[i], starts.data()[i]);
    const Walks walks{starts.data(), keys.data(), length, nodes.data()};
    walk_all(size, threads, [&](int64_t begin, int64_t end) { walk(graph, walks, begin, end); });
  }
  return to_numpy(nodes, {size_t(size), size_t(length + 1)});
}

template <class Node>
Out<int64_t> py_random_walks(In<int64_t> indptr, In<Node> indices, In<int64_t> starts,
                             int64_t length, uint64_t restart, uint64_t seed, int threads) {
  return walked(checked_graph(indptr, indices), starts, length, seed, threads,
                [&](auto& graph, auto& walks, int64_t begin, int64_t end) {
                  walk_ring(graph, walks, restart, begin, end);
                });
}

template <class Node>
Out<int64_t> py_biased_walks(In<int64_t> indptr, In<Node> indices, In<int64_t> starts,
                             int64_t length, std::tuple<uint64_t, uint64_t, uint64_t> biases,
                             bool sorted_rows, uint64_t seed, int threads) {
  const Biases bias{std::get<0>(biases), std::get<1>(biases), std::get<2>(biases)};
  const uint64_t one = uint64_t(1) << 32;
  require(bias.back > 0 && bias.near > 0 && bias.far > 0 && bias.back <= one && bias.near <= one &&
              bias.far <= one, "a bias is outside 1 … 2^32");
  return walked(checked_graph(indptr, indices, sorted_rows), starts, length, seed, threads,
                [&](auto& graph, auto& walks, int64_t begin, int64_t end) {
                  walk_ring_biased(graph, walks, bias, begin, end);
                });
}

// Rows of `wide`, (rows, width), as far as offsets tell, side by side.
Buffer<int64_t> packed(const Buffer<int64_t>& wide, int64_t width, const Buffer<int64_t>& offsets) {
  const int64_t rows = int64_t(offsets.size()) - 1;
  Buffer<int64_t> out(offsets[rows]);
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(wide.data() + i * width, offsets[i + 1] - offsets[i], out.data() + offsets[i]);
  return out;
}

template <class Node>
nb::object py_important_neighbors(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                                  int64_t num_walks, int64_t length, uint64_t restart, int64_t top,
                                  uint64_t seed, int threads) {
  const auto graph = checked_graph(indptr, indices);
  check_nodes(nodes, indptr.shape(0));
  require(top >= 0, "a count is outside 0 … 2^63");
  top = std::min(top, table_size(num_walks, length));
  const int64_t size = nodes.shape(0);
  Buffer<int64_t> offsets(size + 1), neighbors, counts;
  {
    nb::gil_scoped_release unlocked;
    const Importance how{num_walks, length, top, restart, seed};
    Buffer<int64_t> wide(table_size(size, top)), wide_counts(wide.size());
    offsets[0] = 0;
    important_neighbors(graph, nodes.data(), size, how, threads, wide.data(), wide_counts.data(),
                        offsets.data() + 1);
    for (int64_t i = 0; i < size; ++i) offsets[i + 1] += offsets[i];
    neighbors = packed(wide, top, offsets);
    counts = packed(wide_counts, top, offsets);
  }
  return nb::make_tuple(to_numpy(offsets), to_numpy(neighbors), to_numpy(counts));
}

}  // namespace

void gnn::bind_walks(nb::module_& m) {
  BOTH_NODE_TYPES("random_walks", py_random_walks, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "starts"_a.noconvert(), "length"_a, "restart"_a, "seed"_a, "num_threads"_a);
  BOTH_NODE_TYPES("biased_walks", py_biased_walks, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "starts"_a.noconvert(), "length"_a, "biases"_a, "sorted_rows"_a, "seed"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("important_neighbors", py_important_neighbors, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "nodes"_a.noconvert(), "num_walks"_a, "length"_a,
                  "restart"_a, "top"_a, "seed"_a, "num_threads"_a);
}
