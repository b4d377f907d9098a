// Kernels that make synthetic graphs.
#include "bindings.h"
#include "csc.h"
#include "generate.h"

using namespace gnn;
using namespace nb::literals;

namespace {

constexpr uint64_t kNoise = 0x5851F42D4C957F2DULL;

template <class Node>
nb::object edges_of(int64_t start, int64_t end, int bits, int64_t num_nodes, uint64_t seed,
                    Quadrants at, int threads) {
  Buffer<Node> src(end - start), dst(end - start);
  {
    nb::gil_scoped_release unlocked;
    rmat_edges(start, end, bits, num_nodes, seed, at, src.data(), dst.data(), threads);
  }
  return nb::make_tuple(to_numpy(src), to_numpy(dst));
}

nb::object py_rmat_edges(int64_t start, int64_t end, int64_t num_nodes, uint64_t seed,
                         const std::tuple<int, int, int>& shares, int threads) {
  require(start >= 0 && start % 4 == 0 && start <= end, "start is not a multiple of 4 up to end");
  require(num_nodes >= 1 && num_nodes <= (int64_t(1) << 40), "num_nodes is outside 1 … 2**40");
  const auto [a, b, c] = shares;
  require(0 < a && a <= b && b <= c && c < 65536, "shares do not rise within 1 … 65535");
  const int bits = std::max(1, bits_for(uint64_t(num_nodes - 1)));
  const Quadrants at{uint16_t(a), uint16_t(b), uint16_t(c)};
  if (num_nodes < (int64_t(1) << 31))
    return edges_of<int32_t>(start, end, bits, num_nodes, seed, at, threads);
  return edges_of<int64_t>(start, end, bits, num_nodes, seed, at, threads);
}

nb::object py_normals(int64_t counter, int64_t count, uint64_t seed, int threads) {
  require(counter >= 0 && count >= 0, "counter and count are not negative");
  const int64_t skip = counter % 2, pairs = (skip + count + 1) / 2;
  Buffer<float> out(count);
  {
    nb::gil_scoped_release unlocked;
    const Hash hash(seed ^ kNoise);
    constexpr int64_t kPairs = 1 << 10;
    parallel_pieces(pairs, 32 * kPairs, threads, [&](int64_t begin, int64_t end) {
      float block[2 * kPairs];
      for (int64_t p = begin; p < end; p += kPairs) {
        normal_pairs(hash, uint64_t(counter - skip + 2 * p), std::min(kPairs, end - p), block);
        const int64_t from = std::max<int64_t>(0, 2 * p - skip);
        const int64_t to = std::min(count, 2 * std::min(p + kPairs, end) - skip);
        std::copy(block + (from + skip - 2 * p), block + (to + skip - 2 * p), out.data() + from);
      }
    });
  }
  return nb::cast(to_numpy(out));
}

}  // namespace

void gnn::bind_generate(nb::module_& m) {
  m.def("rmat_edges", &py_rmat_edges, "start"_a, "end"_a, "num_nodes"_a, "seed"_a, "shares"_a,
        "num_threads"_a);
  m.def("normals", &py_normals, "counter"_a, "count"_a, "seed"_a, "num_threads"_a);
}
