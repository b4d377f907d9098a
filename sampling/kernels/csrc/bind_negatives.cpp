// Kernels that sample negative edges.
#include "bind_graph.h"
#include "negatives.h"

using namespace gnn;
using namespace nb::literals;

namespace {

void check_running_sum(const In<int64_t>& until, int64_t size) {
  require(int64_t(until.shape(0)) == size, "the running sum differs in length from the candidates");
  int64_t before = 0;
  for (int64_t i = 0; i < size; before = until.data()[i++])
    require(until.data()[i] >= before, "the running sum falls");
  require(before > 0, "the running sum is zero");
}

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
  require(count >= 0 && tries >= 1, "a count is too small");
  if (until) check_running_sum(*until, end - start);
  const int64_t size = src.shape(0);
  Buffer<int64_t> out(size * count);
  {
    nb::gil_scoped_release unlocked;
    const Candidates candidates{start, end - start, until ? until->data() : nullptr};
    const NegativeSampling<Node> sampling(graph, candidates, exclude, tries);
    parallel_pieces(size, 256, threads, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t node = src.data()[i];
        const uint64_t key = negative_key(seed, node, dst.data()[i]);
        for (int64_t j = 0; j < count; ++j) out[i * count + j] = sampling.draw(node, key, j);
      }
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
