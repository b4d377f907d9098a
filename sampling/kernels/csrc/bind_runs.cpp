// Kernels over runs: edges that become an adjacency in parts.
#include "bindings.h"
#include "runs.h"

using namespace gnn;
using namespace nb::literals;

namespace {

template <class Node>
nb::object py_partition_edges(In<Node> src, In<Node> dst, int64_t num_nodes, bool with_order,
                              int threads) {
  const int64_t size = src.shape(0);
  require(src.shape(0) == dst.shape(0), "src and dst differ in length");
  require(num_nodes >= 0, "num_nodes is negative");
  Buckets buckets;
  Buffer<int64_t> order(with_order ? size : 0);
  {
    nb::gil_scoped_release unlocked;
    require(all_below(src.data(), size, num_nodes, threads),
            "an edge names a node outside 0 … num_nodes - 1");
    threads = int(std::clamp<int64_t>(size / 65536, 1, threads));
    if (!with_order) {
      const auto sources = [&](int64_t) { return [&](int64_t i) { return src.data()[i]; }; };
      buckets = partition(dst.data(), size, num_nodes, bits_for(num_nodes), sources, threads);
    } else {
      const auto positions = [](int64_t) { return [](int64_t i) { return i; }; };
      buckets = partition(dst.data(), size, num_nodes, bits_for(size), positions, threads);
      const int bits = source_bits(num_nodes);
      require(buckets.shift + bits <= 64, "too many nodes for one build");
      for (int64_t i = 0; i < size; ++i) {
        const uint64_t word = buckets.packed[i];
        order[i] = int64_t(buckets.payload(word));
        buckets.packed[i] = buckets.local(word) << bits | uint64_t(src.data()[order[i]]);
      }
    }
  }
  Buffer<int64_t> bounds(buckets.start.size());
  std::copy(buckets.start.begin(), buckets.start.end(), bounds.data());
  nb::object positions = with_order ? nb::cast(to_numpy(order)) : nb::none();
  return nb::make_tuple(to_numpy(buckets.packed), to_numpy(bounds), positions, buckets.shift);
}

Merge merge_of(const std::vector<In<uint64_t>>& words, const In2<int64_t>& bounds, int shift,
               int64_t num_nodes, int64_t num_rows) {
  require(bounds.shape(0) == words.size() && bounds.shape(1) >= 1, "runs and bounds differ");
  Merge job;
  job.buckets = int64_t(bounds.shape(1)) - 1;
  job.shift = shift, job.bits = source_bits(num_nodes), job.num_rows = num_rows;
  require(shift >= 0 && shift < 48 && job.bits < 64, "too many nodes for one build");
  const int64_t spanned = (std::max<int64_t>(num_rows, 1) - 1) >> shift;
  require(num_rows >= 0 && job.buckets == spanned + 1, "rows and buckets differ");
  for (size_t r = 0; r < words.size(); ++r) {
    const int64_t* at = bounds.data() + r * bounds.shape(1);
    require(at[0] >= 0 && at[job.buckets] <= int64_t(words[r].shape(0)), "bounds leave the run");
    for (int64_t b = 0; b < job.buckets; ++b) require(at[b] <= at[b + 1], "bounds fall");
    job.runs.push_back({words[r].data(), at});
  }
  return job;
}

int64_t total(const Merge& job) {
  int64_t edges = 0;
  for (auto& run : job.runs) edges += run.bounds[job.buckets] - run.bounds[0];
  return edges;
}

template <class Out>
nb::object merged(const Merge& job, int threads) {
  Buffer<int64_t> indptr(job.num_rows + 1);
  Buffer<Out> indices(total(job));
  {
    nb::gil_scoped_release unlocked;
    const uint64_t mask = (uint64_t(1) << job.bits) - 1;
    merge_runs(job, indptr.data(), indices.data(), threads,
               [=](const uint64_t* word) { return Out(*word & mask); },
               [](Out* first, Out* last) {
                 const int64_t size = last - first;
                 sort_rows(first, 0, &size, 1);
               });
  }
  return nb::make_tuple(to_numpy(indptr), to_numpy(indices));
}

nb::object py_merge_runs(std::vector<In<uint64_t>> words, In2<int64_t> bounds, int shift,
                         int64_t num_nodes, int64_t num_rows, int threads) {
  const Merge job = merge_of(words, bounds, shift, num_nodes, num_rows);
  if (num_nodes < (int64_t(1) << 31)) return merged<int32_t>(job, threads);
  return merged<int64_t>(job, threads);
}

nb::object py_order_runs(In<uint64_t> words, In2<int64_t> bounds, int shift, int64_t num_nodes,
                         int64_t num_rows, std::optional<In<int16_t>> type,
                         std::optional<In<int64_t>> time, std::optional<In<float>> weight,
                         int threads) {
  const Merge job = merge_of(std::vector<In<uint64_t>>(bounds.shape(0), words), bounds, shift,
                             num_nodes, num_rows);
  const size_t size = words.shape(0);
  const EdgeKeys keys{data_or_null(type, size), data_or_null(time, size),
                      data_or_null(weight, size)};
  Buffer<int64_t> indptr(num_rows + 1), order(total(job));
  {
    nb::gil_scoped_release unlocked;
    const uint64_t* base = words.data();
    auto before = [&](int64_t a, int64_t b) {
      if (keys.type && keys.type[a] != keys.type[b]) return keys.type[a] < keys.type[b];
      if (keys.time && keys.time[a] != keys.time[b]) return keys.time[a] < keys.time[b];
      if (base[a] != base[b]) return base[a] < base[b];  // one row: the same destination above
      if (keys.weight && keys.weight[a] != keys.weight[b]) return keys.weight[a] < keys.weight[b];
      return a < b;
    };
    merge_runs(job, indptr.data(), order.data(), threads,
               [=](const uint64_t* word) { return int64_t(word - base); },
               [&](int64_t* first, int64_t* last) { std::sort(first, last, before); });
  }
  return nb::make_tuple(to_numpy(indptr), to_numpy(order));
}

}  // namespace

void gnn::bind_runs(nb::module_& m) {
  BOTH_NODE_TYPES("partition_edges", py_partition_edges, "src"_a.noconvert(), "dst"_a.noconvert(),
                  "num_nodes"_a, "with_order"_a, "num_threads"_a);
  m.def("merge_runs", &py_merge_runs, "words"_a, "bounds"_a.noconvert(), "shift"_a, "num_nodes"_a,
        "num_rows"_a, "num_threads"_a);
  m.def("order_runs", &py_order_runs, "words"_a.noconvert(), "bounds"_a.noconvert(), "shift"_a,
        "num_nodes"_a, "num_rows"_a, "edge_type"_a.none(), "edge_time"_a.none(),
        "edge_weight"_a.none(), "num_threads"_a);
}
