// Kernels over adjacency: building, ordering, checking, transposing.
#include "bindings.h"
#include "csc.h"
#include "transpose.h"

using namespace gnn;
using namespace nb::literals;

namespace {

// Destinations are checked where edges are partitioned; for `build_csc`, sources as well.
template <class Node>
void check_sources(const In<Node>& src, const In<Node>& dst, int64_t num_nodes, int threads) {
  require(src.shape(0) == dst.shape(0), "src and dst differ in length");
  require(all_below(src.data(), src.shape(0), num_nodes, threads),
          "an edge names a node outside 0 … num_nodes - 1");
}

template <class Node, class Index>
nb::object build(const In<Node>& src, const In<Node>& dst, int64_t num_nodes, int threads) {
  require(src.shape(0) == dst.shape(0), "src and dst differ in length");
  Buffer<int64_t> indptr(num_nodes + 1);
  Buffer<Index> indices(src.shape(0));
  {
    nb::gil_scoped_release unlocked;
    build_csc(src.data(), dst.data(), src.shape(0), num_nodes, indptr.data(), indices.data(),
              threads);
  }
  return nb::make_tuple(to_numpy(indptr), to_numpy(indices));
}

template <class Node>
nb::object py_build_csc(In<Node> src, In<Node> dst, int64_t num_nodes, int threads) {
  require(num_nodes >= 0, "num_nodes is negative");
  if (num_nodes < (int64_t(1) << 31)) return build<Node, int32_t>(src, dst, num_nodes, threads);
  return build<Node, int64_t>(src, dst, num_nodes, threads);
}

template <class Node>
nb::object py_csc_order(In<Node> src, In<Node> dst, int64_t num_nodes,
                        std::optional<In<int16_t>> type, std::optional<In<int64_t>> time,
                        std::optional<In<float>> weight, int threads) {
  const size_t size = src.shape(0);
  require(num_nodes >= 0, "num_nodes is negative");
  EdgeKeys keys{data_or_null(type, size), data_or_null(time, size), data_or_null(weight, size)};
  Buffer<int64_t> indptr(num_nodes + 1), order(size);
  {
    nb::gil_scoped_release unlocked;
    check_sources(src, dst, num_nodes, threads);
    csc_order(src.data(), dst.data(), size, num_nodes, keys, indptr.data(), order.data(), threads);
  }
  return nb::make_tuple(to_numpy(indptr), to_numpy(order));
}

template <class Node>
std::string py_check_csc(In<int64_t> indptr, In<Node> indices, int threads) {
  nb::gil_scoped_release unlocked;
  return check_csc(indptr.data(), indptr.shape(0), indices.data(), indices.shape(0), threads);
}

template <class Node>
nb::object py_transpose(In<int64_t> indptr, In<Node> indices, int64_t num_src, int threads) {
  check_indptr(indptr, indices);
  require(num_src >= 0, "num_src is negative");
  Buffer<int64_t> t_indptr(num_src + 1), order(indices.shape(0));
  Buffer<Node> t_indices(indices.shape(0));
  {
    nb::gil_scoped_release unlocked;
    check_rising(indptr, threads);
    require(all_below(indices.data(), indices.shape(0), num_src, threads),
            "an edge names a source outside 0 … num_src - 1");
    const Transposed<Node> out{t_indptr.data(), t_indices.data(), order.data()};
    transpose(indptr.data(), int64_t(indptr.shape(0)) - 1, indices.data(), num_src, out, threads);
  }
  return nb::make_tuple(to_numpy(t_indptr), to_numpy(t_indices), to_numpy(order));
}

}  // namespace

void gnn::bind_adjacency(nb::module_& m) {
  BOTH_NODE_TYPES("build_csc", py_build_csc, "src"_a.noconvert(), "dst"_a.noconvert(), "num_nodes"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("csc_order", py_csc_order, "src"_a.noconvert(), "dst"_a.noconvert(), "num_nodes"_a,
                  "edge_type"_a.none(), "edge_time"_a.none(), "edge_weight"_a.none(),
                  "num_threads"_a);
  BOTH_NODE_TYPES("check_csc", py_check_csc, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "num_threads"_a);
  BOTH_NODE_TYPES("transpose", py_transpose, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "num_src"_a, "num_threads"_a);
}
