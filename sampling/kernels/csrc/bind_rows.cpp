// Kernels over rows of features.
#include "aggregate.h"
#include "bindings.h"
#include "prefetch.h"
#include "stored_rows.h"

using namespace gnn;
using namespace nb::literals;

namespace {

// From which size on a result is written past the caches: it would not stay in them.
constexpr int64_t kStreamBytes = int64_t(32) << 20;
bool too_large_to_cache(int64_t values) { return values * int64_t(sizeof(float)) >= kStreamBytes; }

nb::object py_gather(Any2 x, In<int64_t> index, std::optional<In<float>> scale, int threads) {
  const Rows rows = as_rows(x, scale);
  const int64_t size = index.shape(0), columns = rows.columns;
  Buffer<float> out(size * columns);
  {
    nb::gil_scoped_release unlocked;
    const auto& kernels = best_row_kernels();
    const bool stream = too_large_to_cache(size * columns);
    const int64_t piece = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(columns, 1));
    parallel_pieces(size, piece, threads, [&](int64_t begin, int64_t end) {
      require(all_below(index.data() + begin, end - begin, rows.count, 1),
              "a row is outside the table");
      kernels.gather(rows, index.data(), begin, end, out.data(), stream);
    });
  }
  return nb::cast(to_numpy(out, {size_t(size), size_t(columns)}));
}

template <class T>
Out<T> py_take(In<T> values, In<int64_t> positions, int threads) {
  constexpr int64_t kAhead = 32, kPiece = 1 << 14;
  const int64_t size = positions.shape(0);
  const int64_t* at = positions.data();
  Buffer<T> out(size);
  {
    nb::gil_scoped_release unlocked;
    parallel_pieces(size, kPiece, threads, [&](int64_t begin, int64_t end) {
      require(all_below(at + begin, end - begin, values.shape(0), 1),
              "a position is outside the values");
      for (int64_t i = begin; i < end; ++i) {
        if (i + kAhead < end) prefetch(values.data() + at[i + kAhead]);
        out[i] = values.data()[at[i]];
      }
    });
  }
  return to_numpy(out);
}

template <class Node>
nb::object py_aggregate(In<int64_t> indptr, In<Node> indices, Any2 x,
                        std::optional<In<float>> scale, std::optional<In<float>> edge_weight,
                        std::optional<In<float>> node_weight, const std::string& reduce,
                        int threads) {
  check_indptr(indptr, indices);
  const Rows rows = as_rows(x, scale);
  const int64_t num_dst = int64_t(indptr.shape(0)) - 1, num_edges = indices.shape(0);
  const size_t size = size_t(num_dst * rows.columns);
  const Reduce reduction = parse_reduce(reduce);
  const bool is_max = reduction == Reduce::kMax;
  Buffer<float> out(size);
  Buffer<int64_t> arg(is_max ? size : 0);
  const Aggregation job{indptr.data(), {indices.data(), sizeof(Node) == 8},
                        data_or_null(edge_weight, indices.shape(0)),
                        data_or_null(node_weight, x.shape(0)), reduction, out.data(),
                        is_max ? arg.data() : nullptr, too_large_to_cache(int64_t(size))};
  {
    nb::gil_scoped_release unlocked;
    check_rising(indptr, threads);
    if (num_edges * rows.columns < (1 << 16)) threads = 1;
    aggregate_rows(best_row_kernels(), rows, job, num_dst, threads, [&](int64_t begin, int64_t end) {
      require(all_below(indices.data() + begin, end - begin, rows.count, 1),
              "an edge reads a row outside x");
    });
  }
  nb::object winners = nb::none();
  const std::initializer_list<size_t> shape{size_t(num_dst), size_t(rows.columns)};
  if (is_max) winners = nb::cast(to_numpy(arg, shape));
  return nb::make_tuple(to_numpy(out, shape), winners);
}

template <class Node>
nb::object py_max_backward(In2<int64_t> arg, In<Node> indices, In2<float> grad, int64_t num_src,
                           int threads) {
  const int64_t rows = arg.shape(0), d = arg.shape(1), edges = indices.shape(0);
  require(grad.shape(0) == arg.shape(0) && grad.shape(1) == arg.shape(1),
          "arg and grad differ in shape");
  require(num_src >= 0, "num_src is negative");
  Buffer<float> out(num_src * d);
  {
    nb::gil_scoped_release unlocked;
    require(all_below(indices.data(), edges, num_src, threads), "an edge reads a row outside x");
    std::fill_n(out.data(), num_src * d, 0.0f);
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
  m.def("take", &py_take<int16_t>, "values"_a.noconvert(), "positions"_a.noconvert(), "num_threads"_a);
  m.def("take", &py_take<float>, "values"_a.noconvert(), "positions"_a.noconvert(), "num_threads"_a);
  m.def("take", &py_take<int64_t>, "values"_a.noconvert(), "positions"_a.noconvert(), "num_threads"_a);
  BOTH_NODE_TYPES("aggregate", py_aggregate, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "x"_a.noconvert(), "scale"_a.none(), "edge_weight"_a.none(), "node_weight"_a.none(),
                  "reduce"_a, "num_threads"_a);
  BOTH_NODE_TYPES("max_backward", py_max_backward, "arg"_a.noconvert(), "indices"_a.noconvert(),
                  "grad"_a.noconvert(), "num_src"_a, "num_threads"_a);
}
