// Kernels over rows of features.
#include "bindings.h"
#include "bind_rows.h"

using namespace gnn;
using namespace nb::literals;

namespace {

nb::object py_gather(Any2 x, In<int64_t> index, std::optional<In<float>> scale, int threads) {
  const Rows rows = as_rows(x, scale);
  const int64_t size = index.shape(0), columns = rows.columns;
  require(all_below(index.data(), size, x.shape(0), 1), "a row is outside the table");
  Buffer<float> out(size * columns);
  {
    nb::gil_scoped_release unlocked;
    const auto& kernels = best_row_kernels();
    const int64_t piece = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(columns, 1));
    parallel_pieces(size, piece, threads, [&](int64_t begin, int64_t end) {
      kernels.gather(rows, index.data(), begin, end, out.data());
    });
  }
  return nb::cast(to_numpy(out, {size_t(size), size_t(columns)}));
}

template <class Node>
nb::object py_aggregate(In<int64_t> indptr, In<Node> indices, Any2 x,
                        std::optional<In<float>> scale, std::optional<In<float>> weight,
                        const std::string& reduce, int threads) {
  check_indptr(indptr, indices);
  const Rows rows = as_rows(x, scale);
  const int64_t num_dst = int64_t(indptr.shape(0)) - 1, num_edges = indices.shape(0);
  Aggregation job{indptr.data(), indices.data(), sizeof(Node) == 8,
                  data_or_null(weight, indices.shape(0)), parse_reduce(reduce), nullptr, nullptr};
  const bool is_max = job.reduce == Reduce::kMax;
  Buffer<float> out(num_dst * rows.columns);
  Buffer<int64_t> arg(is_max ? num_dst * rows.columns : 0);
  job.out = out.data();
  job.arg = arg.data();
  {
    nb::gil_scoped_release unlocked;
    require(all_below(indices.data(), num_edges, x.shape(0), threads),
            "an edge reads a row outside x");
    const auto& kernels = best_row_kernels();
    if (num_edges * rows.columns < (1 << 16)) threads = 1;
    parallel_rows(indptr.data(), num_dst, threads, [&](int64_t begin, int64_t end) {
      kernels.aggregate(rows, job, begin, end);
    });
  }
  const size_t d = size_t(rows.columns);
  nb::object winners = is_max ? nb::cast(to_numpy(arg, {size_t(num_dst), d})) : nb::none();
  return nb::make_tuple(to_numpy(out, {size_t(num_dst), d}), winners);
}

template <class Node>
nb::object py_max_backward(In2<int64_t> arg, In<Node> indices, In2<float> grad, int64_t num_src,
                           int threads) {
  const int64_t rows = arg.shape(0), d = arg.shape(1), edges = indices.shape(0);
  require(grad.shape(0) == arg.shape(0) && grad.shape(1) == arg.shape(1),
          "arg and grad differ in shape");
  Buffer<float> out(num_src * d);
  std::fill_n(out.data(), num_src * d, 0.0f);
  {
    nb::gil_scoped_release unlocked;
    // Threads own columns, so every sum has one order.
    parallel_pieces(d, std::max<int64_t>(16, d / std::max(threads, 1)), threads,
                    [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t c = begin; c < end; ++c) {
          const int64_t e = arg.data()[i * d + c];
          if (e < 0 || e >= edges) continue;
          out[int64_t(indices.data()[e]) * d + c] += grad.data()[i * d + c];
        }
    });
  }
  return nb::cast(to_numpy(out, {size_t(num_src), size_t(d)}));
}

}  // namespace

void gnn::bind_rows(nb::module_& m) {
  m.def("gather", &py_gather, "x"_a.noconvert(), "rows"_a.noconvert(), "scale"_a.none(),
        "num_threads"_a);
  BOTH_NODE_TYPES("aggregate", py_aggregate, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "x"_a.noconvert(), "scale"_a.none(), "weight"_a.none(), "reduce"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("max_backward", py_max_backward, "arg"_a.noconvert(), "indices"_a.noconvert(),
                  "grad"_a.noconvert(), "num_src"_a, "num_threads"_a);
}
