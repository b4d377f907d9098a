// What the bindings share: array types, checks, and handing memory over to NumPy.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "memory.h"
#include "parallel.h"

namespace nb = nanobind;

namespace gnn {

void bind_adjacency(nb::module_& m);
void bind_attention(nb::module_& m);
void bind_choose(nb::module_& m);
void bind_clusters(nb::module_& m);
void bind_generate(nb::module_& m);
void bind_ids(nb::module_& m);
void bind_layers(nb::module_& m);
void bind_matching(nb::module_& m);
void bind_negatives(nb::module_& m);
void bind_neighbors(nb::module_& m);
void bind_probe(nb::module_& m);
void bind_reorder(nb::module_& m);
void bind_rows(nb::module_& m);
void bind_runs(nb::module_& m);
void bind_subgraphs(nb::module_& m);
void bind_text(nb::module_& m);
void bind_walks(nb::module_& m);

// Define a kernel for graphs of 32-bit and of 64-bit nodes.
#define BOTH_NODE_TYPES(name, function, ...)    \
  m.def(name, &function<int32_t>, __VA_ARGS__); \
  m.def(name, &function<int64_t>, __VA_ARGS__)


template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using In2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Any2 = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T>;

// Hand a buffer over to NumPy.
template <class T>
Out<T> to_numpy(Buffer<T>& buffer, std::initializer_list<size_t> shape) {
  T* data = buffer.release();
  nb::capsule owner(data, [](void* p) noexcept { deallocate(p); });
  return Out<T>(data, shape, owner);
}
template <class T>
Out<T> to_numpy(Buffer<T>& buffer) {
  size_t size = buffer.size();
  return to_numpy(buffer, {size});
}

inline void require(bool good, const char* what) {
  if (!good) throw nb::value_error(what);
}

template <class Node>
void check_indptr(const In<int64_t>& indptr, const In<Node>& indices) {
  require(indptr.shape(0) >= 1, "indptr is empty");
  require(indptr.data()[0] == 0 && indptr.data()[indptr.shape(0) - 1] == int64_t(indices.shape(0)),
          "indptr does not span indices");
}

// Offsets that never fall: with check_indptr, no row lies outside the edges.
inline void check_rising(const In<int64_t>& indptr, int threads) {
  const int64_t* offsets = indptr.data();
  parallel_pieces(int64_t(indptr.shape(0)) - 1, 1 << 18, threads, [&](int64_t begin, int64_t end) {
    bool rising = true;
    for (int64_t i = begin; i < end; ++i) rising &= offsets[i] <= offsets[i + 1];
    require(rising, "indptr does not span indices in order");
  });
}

template <class Node>
bool all_below(const Node* values, int64_t size, uint64_t limit, int threads) {
  std::atomic<bool> good{true};
  parallel_pieces(size, 1 << 18, threads, [&](int64_t begin, int64_t end) {
    bool inside = true;
    for (int64_t i = begin; i < end; ++i) inside &= uint64_t(int64_t(values[i])) < limit;
    if (!inside) good = false;
  });
  return good;
}


template <class T>
const T* data_or_null(const std::optional<In<T>>& array, size_t size) {
  if (!array) return nullptr;
  require(array->shape(0) == size, "an array differs in length from what it belongs to");
  return array->data();
}


inline void check_nodes(const In<int64_t>& nodes, size_t offsets) {
  require(all_below(nodes.data(), nodes.shape(0), offsets - 1, 1), "a node is outside the graph");
}

}  // namespace gnn
