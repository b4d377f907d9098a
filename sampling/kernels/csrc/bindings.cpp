// The Python face of the core. Arrays are checked here; the GIL is released around the work.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "csc.h"
#include "ids.h"
#include "memory.h"
#include "parallel.h"
#include "rows.h"
#include "sampler.h"

namespace nb = nanobind;
using namespace gnn;

namespace {

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
  nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  return Out<T>(data, shape, owner);
}
template <class T>
Out<T> to_numpy(Buffer<T>& buffer) {
  size_t size = buffer.size();
  return to_numpy(buffer, {size});
}

void require(bool good, const char* what) {
  if (!good) throw nb::value_error(what);
}

template <class Node>
void check_indptr(const In<int64_t>& indptr, const In<Node>& indices) {
  require(indptr.shape(0) >= 1, "indptr is empty");
  require(indptr.data()[0] == 0 && indptr.data()[indptr.shape(0) - 1] == int64_t(indices.shape(0)),
          "indptr does not span indices");
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

template <class Node>
void check_edges(const In<Node>& src, const In<Node>& dst, int64_t num_nodes, int threads) {
  require(src.shape(0) == dst.shape(0), "src and dst differ in length");
  require(all_below(src.data(), src.shape(0), num_nodes, threads) &&
              all_below(dst.data(), dst.shape(0), num_nodes, threads),
          "an edge names a node outside 0 … num_nodes - 1");
}

template <class Node, class Index>
nb::object build(const In<Node>& src, const In<Node>& dst, int64_t num_nodes, int threads) {
  Buffer<int64_t> indptr(num_nodes + 1);
  Buffer<Index> indices(src.shape(0));
  {
    nb::gil_scoped_release unlocked;
    check_edges(src, dst, num_nodes, threads);
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

template <class T>
const T* data_or_null(const std::optional<In<T>>& array, size_t size) {
  if (!array) return nullptr;
  require(array->shape(0) == size, "an edge array differs in length from src");
  return array->data();
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
    check_edges(src, dst, num_nodes, threads);
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
nb::object py_transpose(In<int64_t> indptr, In<Node> indices, int64_t num_src) {
  check_indptr(indptr, indices);
  Buffer<int64_t> t_indptr(num_src + 1), order(indices.shape(0));
  Buffer<Node> t_indices(indices.shape(0));
  {
    nb::gil_scoped_release unlocked;
    transpose(indptr.data(), int64_t(indptr.shape(0)) - 1, indices.data(), num_src, t_indptr.data(),
              t_indices.data(), order.data());
  }
  return nb::make_tuple(to_numpy(t_indptr), to_numpy(t_indices), to_numpy(order));
}

void check_nodes(const In<int64_t>& nodes, size_t offsets) {
  require(all_below(nodes.data(), nodes.shape(0), offsets - 1, 1), "a node is outside the graph");
}

template <class Node>
nb::object py_sample_neighbors(In<int64_t> indptr, In<Node> indices, In<int64_t> nodes,
                               int64_t fanout, uint64_t seed, uint64_t layer, int threads) {
  check_indptr(indptr, indices);
  check_nodes(nodes, indptr.shape(0));
  const int64_t size = nodes.shape(0);
  Buffer<int64_t> offsets(size + 1), edges;
  {
    nb::gil_scoped_release unlocked;
    std::vector<Picks> picks;
    offsets[0] = 0;
    Drawing<Node> drawing(indptr.data(), indices.data(), nodes.data(), size, fanout,
                          layer_key(seed, layer), true, offsets.data(), picks);
    draw_frontier(drawing, size, threads, [](int64_t, int64_t, Picks&) {});
    for (int64_t i = 0; i < size; ++i) offsets[i + 1] += offsets[i];
    edges = Buffer<int64_t>(offsets[size]);
    for (int64_t chunk = 0, place = 0; chunk < drawing.chunks(); place += picks[chunk++].size)
      std::copy_n(picks[chunk].edges.data(), picks[chunk].size, edges.data() + place);
  }
  return nb::make_tuple(to_numpy(offsets), to_numpy(edges));
}

template <class Node>
nb::object py_relabel(Workspace& workspace, In<int64_t> seeds, In<Node> neighbors) {
  Buffer<int32_t> local(neighbors.shape(0));
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    workspace.start(seeds.data(), seeds.shape(0), 64);
    workspace.make_room(neighbors.shape(0));
    workspace.relabel(neighbors.data(), neighbors.shape(0), local.data());
    nodes = Buffer<int64_t>(workspace.num_nodes);
    std::copy_n(workspace.nodes.data(), workspace.num_nodes, nodes.data());
  }
  return nb::make_tuple(to_numpy(nodes), to_numpy(local));
}

template <class Node>
nb::object py_sample_blocks(Workspace& workspace, In<int64_t> indptr, In<Node> indices,
                            In<int64_t> seeds, std::vector<int64_t> fanouts, uint64_t seed,
                            int threads, bool with_edge_ids) {
  check_indptr(indptr, indices);
  check_nodes(seeds, indptr.shape(0));
  const int layers = int(fanouts.size());
  std::vector<Hop> hops(layers);
  Buffer<int64_t> nodes;
  {
    nb::gil_scoped_release unlocked;
    workspace.start(seeds.data(), seeds.shape(0), bits_for(indptr.shape(0)));
    for (int layer = layers - 1; layer >= 0; --layer)
      hops[layer] = sample_hop(workspace, indptr.data(), indices.data(), fanouts[layer], seed, layer,
                               threads, with_edge_ids);
    nodes = Buffer<int64_t>(workspace.num_nodes);
    std::copy_n(workspace.nodes.data(), workspace.num_nodes, nodes.data());
  }
  nb::list out;
  for (auto& hop : hops) {
    const size_t size = size_t(hop.num_edges);
    nb::object edges = with_edge_ids ? nb::cast(to_numpy(hop.edges, {size})) : nb::none();
    out.append(nb::make_tuple(to_numpy(hop.offsets), to_numpy(hop.local, {size}), hop.num_src, edges));
  }
  return nb::make_tuple(to_numpy(nodes), out);
}

Rows as_rows(const Any2& x, const std::optional<In<float>>& scale) {
  const auto type = x.dtype();
  Rows rows{x.data(), int64_t(x.shape(1)), Storage::kFloat32, nullptr};
  auto is = [&](nb::dlpack::dtype_code code, int bits) {
    return type.code == uint8_t(code) && type.bits == bits && type.lanes == 1;
  };
  if (is(nb::dlpack::dtype_code::Float, 32)) rows.storage = Storage::kFloat32;
  else if (is(nb::dlpack::dtype_code::Float, 16)) rows.storage = Storage::kFloat16;
  else if (is(nb::dlpack::dtype_code::UInt, 16)) rows.storage = Storage::kBfloat16;
  else if (is(nb::dlpack::dtype_code::Int, 8)) rows.storage = Storage::kInt8;
  else throw nb::type_error("rows must be float32, float16, uint16 (bfloat16 bits) or int8");
  if (scale) {
    require(scale->shape(0) == x.shape(1), "scale differs in length from the columns of x");
    rows.scale = scale->data();
  }
  return rows;
}

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

Reduce parse_reduce(const std::string& name) {
  if (name == "sum") return Reduce::kSum;
  if (name == "mean") return Reduce::kMean;
  if (name == "max") return Reduce::kMax;
  throw nb::value_error("reduce must be sum, mean or max");
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

template <class Row, class Keys>
nb::object build_table_of(const Keys& keys) {
  const int64_t slots = table_size(keys.size);
  Buffer<Row> table(slots);
  int64_t duplicate = kProbeTooLong;
  uint64_t salt = 0;
  {
    nb::gil_scoped_release unlocked;
    for (; duplicate == kProbeTooLong; ++salt) {
      if (salt == 16) throw std::invalid_argument("ids collide under every salt");
      std::fill_n(table.data(), slots, Row(-1));
      duplicate = build_table(keys, table.data(), slots, salt);
    }
  }
  return nb::make_tuple(to_numpy(table), salt - 1, duplicate);
}

template <class Keys>
nb::object build_any_table(const Keys& keys) {
  if (keys.size < (int64_t(1) << 31)) return build_table_of<int32_t>(keys);
  return build_table_of<int64_t>(keys);
}

template <class Row, class Keys>
nb::object find_in(const Keys& keys, const In<Row>& table, uint64_t salt, const Keys& queries,
                   int threads) {
  const int64_t slots = table.shape(0);
  require(slots > 0 && (slots & (slots - 1)) == 0, "the table's size is not a power of two");
  Buffer<int64_t> rows(queries.size);
  {
    nb::gil_scoped_release unlocked;
    find_keys(keys, table.data(), slots, salt, queries, rows.data(), threads);
  }
  return nb::cast(to_numpy(rows));
}

StringKeys string_keys(const In<uint8_t>& data, const In<int64_t>& offsets) {
  require(offsets.shape(0) >= 1, "offsets are empty");
  const int64_t size = int64_t(offsets.shape(0)) - 1;
  const int64_t* at = offsets.data();
  require(at[0] >= 0 && at[size] <= int64_t(data.shape(0)), "offsets leave the data");
  for (int64_t i = 0; i < size; ++i) require(at[i] <= at[i + 1], "offsets fall");
  return {data.data(), at, size};
}

nb::object py_build_id_table(In<int64_t> keys) {
  return build_any_table(IntKeys{keys.data(), int64_t(keys.shape(0))});
}

template <class Row>
nb::object py_find_ids(In<int64_t> keys, In<Row> table, uint64_t salt, In<int64_t> queries,
                       int threads) {
  return find_in(IntKeys{keys.data(), int64_t(keys.shape(0))}, table, salt,
                 IntKeys{queries.data(), int64_t(queries.shape(0))}, threads);
}

nb::object py_build_string_table(In<uint8_t> data, In<int64_t> offsets) {
  return build_any_table(string_keys(data, offsets));
}

template <class Row>
nb::object py_find_strings(In<uint8_t> data, In<int64_t> offsets, In<Row> table, uint64_t salt,
                           In<uint8_t> query_data, In<int64_t> query_offsets, int threads) {
  // The stored offsets were checked when the graph was opened; queries are checked here.
  StringKeys keys{data.data(), offsets.data(), int64_t(offsets.shape(0)) - 1};
  return find_in(keys, table, salt, string_keys(query_data, query_offsets), threads);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "Compiled kernels; sampling.kernels.reference says what each one computes.";
  nb::class_<Workspace>(m, "Workspace", "Scratch memory of one sampling thread.").def(nb::init<>());
  using namespace nb::literals;
#define BOTH_NODE_TYPES(name, function, ...)              \
  m.def(name, &function<int32_t>, __VA_ARGS__);           \
  m.def(name, &function<int64_t>, __VA_ARGS__)

  BOTH_NODE_TYPES("build_csc", py_build_csc, "src"_a.noconvert(), "dst"_a.noconvert(), "num_nodes"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("csc_order", py_csc_order, "src"_a.noconvert(), "dst"_a.noconvert(), "num_nodes"_a,
                  "edge_type"_a.none(), "edge_time"_a.none(), "edge_weight"_a.none(),
                  "num_threads"_a);
  BOTH_NODE_TYPES("check_csc", py_check_csc, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "num_threads"_a);
  BOTH_NODE_TYPES("transpose", py_transpose, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "num_src"_a);
  BOTH_NODE_TYPES("sample_neighbors", py_sample_neighbors, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "nodes"_a.noconvert(), "fanout"_a, "seed"_a, "layer"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("relabel", py_relabel, "workspace"_a, "seeds"_a.noconvert(),
                  "neighbors"_a.noconvert());
  BOTH_NODE_TYPES("sample_blocks", py_sample_blocks, "workspace"_a, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "seeds"_a.noconvert(), "fanouts"_a, "seed"_a,
                  "num_threads"_a, "with_edge_ids"_a);
  m.def("gather", &py_gather, "x"_a.noconvert(), "rows"_a.noconvert(), "scale"_a.none(),
        "num_threads"_a);
  BOTH_NODE_TYPES("aggregate", py_aggregate, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "x"_a.noconvert(), "scale"_a.none(), "weight"_a.none(), "reduce"_a,
                  "num_threads"_a);
  BOTH_NODE_TYPES("max_backward", py_max_backward, "arg"_a.noconvert(), "indices"_a.noconvert(),
                  "grad"_a.noconvert(), "num_src"_a, "num_threads"_a);
  m.def("build_id_table", &py_build_id_table, "keys"_a.noconvert());
  BOTH_NODE_TYPES("find_ids", py_find_ids, "keys"_a.noconvert(), "table"_a.noconvert(), "salt"_a,
                  "queries"_a.noconvert(), "num_threads"_a);
  m.def("build_string_table", &py_build_string_table, "data"_a.noconvert(),
        "offsets"_a.noconvert());
  BOTH_NODE_TYPES("find_strings", py_find_strings, "data"_a.noconvert(), "offsets"_a.noconvert(),
                  "table"_a.noconvert(), "salt"_a, "query_data"_a.noconvert(),
                  "query_offsets"_a.noconvert(), "num_threads"_a);
}
