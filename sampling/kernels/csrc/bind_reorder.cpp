// Kernels that put nodes near their neighbors.
#include "bindings.h"
#include "csc.h"
#include "reorder.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
nb::object py_propagate_communities(In<int64_t> indptr, In<Node> indices, In<int64_t> members,
                               In<int64_t> starts, In<Node> unit_of, In<Node> labels,
                               int64_t max_size, int64_t block, int threads) {
  check_indptr(indptr, indices);
  const int64_t n = int64_t(indptr.shape(0)) - 1, units = int64_t(starts.shape(0)) - 1;
  require(int64_t(members.shape(0)) == n && int64_t(unit_of.shape(0)) == n &&
              int64_t(labels.shape(0)) == n,
          "members, units and labels differ in length from the nodes");
  require(units >= 0 && block >= 1 && threads >= 1, "units, block or threads are too few");
  Buffer<Node> out(n);
  int64_t moved = 0;
  {
    nb::gil_scoped_release unlocked;
    require(starts.data()[0] == 0 && starts.data()[units] == n, "units do not span the nodes");
    for (int64_t i = 0; i < units; ++i)
      require(starts.data()[i] < starts.data()[i + 1], "a unit does not span any node");
    require(all_below(members.data(), n, n, threads) && all_below(labels.data(), n, n, threads),
            "a member or label is outside the graph");
    const auto fault = check_csc(indptr.data(), indptr.shape(0), indices.data(), indices.shape(0),
                                 threads);
    require(fault.empty(), "an edge or offset is outside the graph");
    std::copy_n(labels.data(), n, out.data());
    Propagation<Node> job{indptr.data(), indices.data(),
                          {members.data(), starts.data(), unit_of.data(), units}, max_size,
                          out.data(), Buffer<int64_t>(n)};
    std::fill_n(job.sizes.data(), n, 0);
    for (int64_t v = 0; v < n; ++v) job.sizes[out[v]]++;
    moved = job.pass(n, block, threads);
  }
  return nb::make_tuple(to_numpy(out), moved);
}

}  // namespace

void gnn::bind_reorder(nb::module_& m) {
  BOTH_NODE_TYPES("propagate_communities", py_propagate_communities, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "members"_a.noconvert(), "starts"_a.noconvert(),
                  "unit_of"_a.noconvert(), "labels"_a.noconvert(), "max_size"_a, "block"_a,
                  "num_threads"_a);
}
