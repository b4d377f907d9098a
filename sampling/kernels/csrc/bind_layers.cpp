// Layers of a whole-graph pass: what the edges bring is summed into a tile that stays in the
// cache, multiplied there, and leaves in its storage type.
#include <memory>
#include <mutex>

#include "aggregate.h"
#include "bindings.h"
#include "dense.h"
#include "stored_rows.h"

using namespace gnn;
using namespace nb::literals;

namespace {

constexpr int64_t kTileFloats = 128 << 10;  // of all rows of a tile: half of a 1 MiB cache
constexpr int64_t kMinTileRows = 16;

using Target = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Floats = std::optional<In<float>>;

// A weight as torch keeps it (columns, width), packed for the product.
struct Weight {
  Buffer<float> packed;
  int64_t columns = 0, width = 0;

  explicit Weight(const std::optional<In2<float>>& weight) {
    if (!weight) return;
    columns = weight->shape(0), width = weight->shape(1);
    const auto& kernels = best_dense_kernels();
    packed = Buffer<float>(kernels.packed_size(columns, width));
    kernels.pack(weight->data(), columns, width, packed.data());
  }
};

// Float32 rows begin … end of a matrix in any storage type; `room` holds them where they are not
// float32 already.
const float* decoded(const Rows& x, int64_t begin, int64_t end, Buffer<float>& room,
                     Buffer<int64_t>& numbers) {
  if (x.storage == Storage::kFloat32)
    return static_cast<const float*>(x.data) + begin * x.columns;
  for (int64_t i = begin; i < end; ++i) numbers[i - begin] = i;
  best_row_kernels().gather(x, numbers.data(), 0, end - begin, room.data(), false);
  return room.data();
}

// The graph's side of a layer.
struct Edges {
  const int64_t* indptr;
  Indices indices;
  const float* norm;  // per node, or null: GCN's (d + 1)^(-1/2)
  Reduce reduce;
  Rows x;
};

// What one thread needs for a tile.
struct Scratch {
  Buffer<float> received, own, out;
  Buffer<int64_t> numbers, winners;

  Scratch(int64_t rows, int64_t received_width, int64_t own_width, int64_t columns, bool max)
      : received(rows * received_width), own(rows * std::max(own_width, received_width)),
        out(rows * columns), numbers(rows), winners(max ? rows * received_width : 0) {}
};

// Scratch memory of a call, used again by whichever thread is free.
class Pool {
 public:
  template <class Make>
  std::unique_ptr<Scratch> take(const Make& make) {
    std::lock_guard<std::mutex> locked(mutex_);
    if (free_.empty()) return std::unique_ptr<Scratch>(make());
    std::unique_ptr<Scratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give(std::unique_ptr<Scratch> scratch) {
    std::lock_guard<std::mutex> locked(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

// Rows begin … end of what the edges bring, into scratch.received.
void receive(const Edges& edges, int64_t begin, int64_t end, Scratch& scratch) {
  const int64_t d = edges.x.columns;
  const Aggregation job{edges.indptr + begin, edges.indices, nullptr, edges.norm, edges.reduce,
                        scratch.received.data(),
                        edges.reduce == Reduce::kMax ? scratch.winners.data() : nullptr, false};
  const auto checked = [](int64_t, int64_t) {};
  aggregate_rows(best_row_kernels(), edges.x, job, end - begin, 1, checked);
  if (!edges.norm) return;
  const float* own = decoded(edges.x, begin, end, scratch.own, scratch.numbers);
  for (int64_t i = 0; i < end - begin; ++i) {
    const float norm = edges.norm[begin + i];
    float* row = scratch.received.data() + i * d;
    for (int64_t c = 0; c < d; ++c) row[c] = norm * (row[c] + norm * own[i * d + c]);
  }
}

// The dense side of a layer: how its rows become rows of output.
struct Dense {
  Weight received, own;
  Rows own_rows;  // columns is 0 where there are none
  const float* bias;
  bool relu;
  Rows target;
  char* out;  // of the first row of the call
  int64_t start, columns, item;
};

// Round the rows begin … end of output; the first that does not fit, or -1.
int64_t encode(const Dense& dense, const float* rows, int64_t begin, int64_t end, float* error) {
  const auto& kernels = best_dense_kernels();
  char* to = dense.out + (begin - dense.start) * dense.columns * dense.item;
  if (kernels.encode(rows, end - begin, dense.target, to, error)) return -1;
  int64_t row = begin;
  while (kernels.encode(rows + (row - begin) * dense.columns, 1, dense.target, to, error)) ++row;
  return row;
}

// Output rows begin … end, of which what the edges brought lies at `received`, or is null; the
// first that does not fit, or -1.
int64_t finish(const Dense& dense, const float* received, int64_t begin, int64_t end,
            Scratch& scratch, float* error) {
  Product product{};
  product.bias = dense.bias, product.relu = dense.relu, product.columns = dense.columns;
  if (received && dense.received.width)
    product.operands[product.count++] = {received, dense.received.width,
                                         dense.received.packed.data()};
  else
    product.added = received;
  if (dense.own_rows.columns)
    product.operands[product.count++] = {
        decoded(dense.own_rows, begin, end, scratch.own, scratch.numbers), dense.own.width,
        dense.own.packed.data()};
  float* rows = scratch.out.data();
  if (dense.target.storage == Storage::kFloat32)
    rows = reinterpret_cast<float*>(dense.out) + (begin - dense.start) * dense.columns;
  best_dense_kernels().multiply(product, end - begin, rows);
  return encode(dense, rows, begin, end, error);
}

// Rows per tile: as many as the cache holds beside the weights.
int64_t tile_rows(int64_t widths) {
  return std::max(kMinTileRows, kTileFloats / std::max<int64_t>(widths, 1) / 12 * 12);
}

// The first row that does not fit, and the largest error, of all threads.
struct Outcome {
  std::atomic<int64_t> failed{INT64_MAX};
  std::atomic<float> error{0};

  void add(int64_t row, float largest) {
    int64_t first = failed;
    while (row >= 0 && row < first && !failed.compare_exchange_weak(first, row)) {}
    float before = error;
    while (largest > before && !error.compare_exchange_weak(before, largest)) {}
  }
  nb::object result() const {
    if (failed == INT64_MAX) return nb::make_tuple(-1, error.load());
    return nb::make_tuple(failed.load(), 0.0f);
  }
};

Dense make_dense(const std::optional<In2<float>>& received_weight, const std::optional<Any2>& own,
                 const Floats& own_scale, const std::optional<In2<float>>& own_weight,
                 const Floats& bias, bool relu, const Target& out, const Floats& out_scale,
                 int64_t start) {
  Dense dense{Weight(received_weight), Weight(own_weight), Rows{}, nullptr, relu,
              as_rows(out, out_scale), static_cast<char*>(out.data()), start,
              int64_t(out.shape(1)), int64_t(out.itemsize())};
  require(dense.target.storage != Storage::kInt8 || out_scale, "int8 rows need their scale");
  require(bool(own) == bool(own_weight), "own rows and their weight come together");
  if (own) {
    dense.own_rows = as_rows(*own, own_scale);
    require(dense.own.width == dense.own_rows.columns && dense.own.columns == dense.columns,
            "the own weight differs in shape from own rows and out");
    require(start + int64_t(out.shape(0)) <= int64_t(own->shape(0)), "own rows end before out does");
  }
  if (bias) require(int64_t(bias->shape(0)) == dense.columns, "bias differs from the columns of out");
  dense.bias = bias ? bias->data() : nullptr;
  return dense;
}

void check_received(const Dense& dense, int64_t width) {
  if (dense.received.width)
    require(dense.received.width == width && dense.received.columns == dense.columns,
            "the weight differs in shape from x and out");
  else
    require(width == dense.columns, "x and out differ in columns");
}

// Offsets rise within the edges, and every edge of these rows has its source in x.
template <class Node>
void check_edges(const In<int64_t>& indptr, const In<Node>& indices, int64_t start, int64_t end,
                 uint64_t num_src, int threads) {
  const int64_t* offsets = indptr.data();
  bool rising = offsets[start] >= 0 && offsets[end] <= int64_t(indices.shape(0));
  for (int64_t v = start; v < end; ++v) rising &= offsets[v] <= offsets[v + 1];
  require(rising, "indptr does not span indices");
  require(all_below(indices.data() + offsets[start], offsets[end] - offsets[start], num_src, threads),
          "an edge reads a row outside x");
}

template <class Node>
nb::object py_layer_rows(In<int64_t> indptr, In<Node> indices, int64_t start, Any2 x, Floats scale,
                         Floats norm, const std::string& reduce,
                         std::optional<In2<float>> weight, std::optional<Any2> own,
                         Floats own_scale, std::optional<In2<float>> own_weight, Floats bias,
                         bool relu, Target out, Floats out_scale, int threads) {
  const int64_t rows = out.shape(0), num_dst = int64_t(indptr.shape(0)) - 1;
  require(start >= 0 && start + rows <= num_dst, "out has more rows than the graph from start on");
  const Edges edges{indptr.data(), {indices.data(), sizeof(Node) == 8},
                    data_or_null(norm, x.shape(0)), parse_reduce(reduce), as_rows(x, scale)};
  require(!edges.norm || (edges.reduce == Reduce::kSum && num_dst <= int64_t(x.shape(0))),
          "norm belongs to a sum over a graph whose nodes all have a row");
  const Dense dense = make_dense(weight, own, own_scale, own_weight, bias, relu, out, out_scale, start);
  check_received(dense, edges.x.columns);
  Outcome outcome;
  {
    nb::gil_scoped_release unlocked;
    check_edges(indptr, indices, start, start + rows, x.shape(0), threads);
    const bool max = edges.reduce == Reduce::kMax;
    const int64_t d = edges.x.columns, own_d = dense.own_rows.columns;
    const int64_t step = tile_rows(d * (max ? 3 : 1) + std::max(own_d, d) + dense.columns);
    Pool pool;
    const auto make = [&] { return new Scratch(std::min(step, rows), d, own_d, dense.columns, max); };
    parallel_rows(indptr.data() + start, rows, threads, [&](int64_t first, int64_t last) {
      std::unique_ptr<Scratch> scratch = pool.take(make);
      for (int64_t begin = start + first; begin < start + last; begin += step) {
        const int64_t end = std::min(begin + step, start + last);
        float error = 0;
        receive(edges, begin, end, *scratch);
        const int64_t bad = finish(dense, scratch->received.data(), begin, end, *scratch, &error);
        outcome.add(bad, error);
      }
      pool.give(std::move(scratch));
    });
  }
  return outcome.result();
}

nb::object py_dense_rows(int64_t start, std::optional<Any2> received, std::optional<In2<float>> weight,
                         std::optional<Any2> own, Floats own_scale,
                         std::optional<In2<float>> own_weight, Floats bias, bool relu, Target out,
                         Floats out_scale, int threads) {
  const int64_t rows = out.shape(0);
  require(start >= 0, "start is negative");
  const Dense dense = make_dense(weight, own, own_scale, own_weight, bias, relu, out, out_scale, start);
  Rows tile{};
  if (received) {
    tile = as_rows(*received, std::nullopt);
    require(tile.storage == Storage::kFloat32 && int64_t(received->shape(0)) == rows,
            "received rows are float32, one for each of out");
    check_received(dense, tile.columns);
  }
  Outcome outcome;
  {
    nb::gil_scoped_release unlocked;
    const int64_t step = tile_rows(tile.columns + dense.own_rows.columns + dense.columns);
    Pool pool;
    const auto make = [&] {
      return new Scratch(std::min(step, rows), 0, dense.own_rows.columns, dense.columns, false);
    };
    parallel_pieces(rows, step, threads, [&](int64_t begin, int64_t end) {
      std::unique_ptr<Scratch> scratch = pool.take(make);
      const float* from = static_cast<const float*>(tile.data) + begin * tile.columns;
      float error = 0;
      const int64_t bad =
          finish(dense, received ? from : nullptr, start + begin, start + end, *scratch, &error);
      outcome.add(bad, error);
      pool.give(std::move(scratch));
    });
  }
  return outcome.result();
}

}  // namespace

void gnn::bind_layers(nb::module_& m) {
  BOTH_NODE_TYPES("layer_rows", py_layer_rows, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "start"_a, "x"_a.noconvert(), "scale"_a.none(), "norm"_a.none(), "reduce"_a,
                  "weight"_a.none(), "own"_a.none(), "own_scale"_a.none(), "own_weight"_a.none(),
                  "bias"_a.none(), "relu"_a, "out"_a.noconvert(), "out_scale"_a.none(),
                  "num_threads"_a);
  m.def("dense_rows", &py_dense_rows, "start"_a, "received"_a.none(), "weight"_a.none(),
        "own"_a.none(), "own_scale"_a.none(), "own_weight"_a.none(), "bias"_a.none(), "relu"_a,
        "out"_a.noconvert(), "out_scale"_a.none(), "num_threads"_a);
}
