// Kernels that sample negative edges.
#include "bind_graph.h"
#include "negatives.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
Out<int64_t> py_sample_negatives(In<int64_t> indptr, In<Node> indices, In<int64_t> src,
                                 In<int64_t> dst, int64_t count, int64_t start, int64_t end,
                                 std::optional<In<int64_t>> until, bool exclude, bool sorted_rows,
                                 int64_t tries, uint64_t seed, int threads) {
  const auto graph = checked_graph(indptr, indices, sorted_rows);
  check_nodes(src, indptr.shape(0));
  require(dst.shape(0) == src.shape(0), "src and dst differ in length");
  require(0 <= start && start < end && end <= int64_t(graph.num_nodes),
          "the candidates are outside the graph");
  require(tries >= 1, "a count is too small");
  if (until) {
    require(int64_t(until->shape(0)) == end - start, "until differs in length from the candidates");
    require(until->data()[end - start - 1] > 0, "the running sum is zero");
  }
  const int64_t size = src.shape(0);
  Buffer<int64_t> out(table_size(size, count));
  {
    nb::gil_scoped_release unlocked;
    const Candidates candidates{start, end - start, until ? until->data() : nullptr};
    const NegativeSampling<Node> sampling(graph, candidates, exclude, tries);
    parallel_pieces(size, 16, threads, [&](int64_t begin, int64_t end) {
      draw_together(sampling, src.data() + begin, dst.data() + begin, end - begin, count, seed,
                    out.data() + begin * count);
    });
  }
  return to_numpy(out, {size_t(size), size_t(count)});
}

}  // namespace

void gnn::bind_negatives(nb::module_& m) {
  BOTH_NODE_TYPES("sample_negatives", py_sample_negatives, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "src"_a.noconvert(), "dst"_a.noconvert(), "count"_a,
                  "start"_a, "end"_a, "until"_a.none(), "exclude"_a, "sorted_rows"_a, "tries"_a,
                  "seed"_a, "num_threads"_a);
}
