// Kernels that measure the machine.
#include "bindings.h"
#include "probe.h"

using namespace gnn;
using namespace nb::literals;

namespace {

uint64_t py_sum_random_lines(In<uint64_t> words, int64_t reads, int threads) {
  const int64_t lines = int64_t(words.shape(0)) / kLineWords;
  require(lines > 0, "words hold no whole cache line of eight");
  nb::gil_scoped_release unlocked;
  return sum_random_lines(words.data(), lines, reads, threads);
}

uint64_t py_sum_stream(In<uint64_t> words, int threads) {
  nb::gil_scoped_release unlocked;
  return sum_stream(words.data(), words.shape(0), threads);
}

}  // namespace

void gnn::bind_probe(nb::module_& m) {
  m.def("sum_random_lines", &py_sum_random_lines, "words"_a.noconvert(), "reads"_a,
        "num_threads"_a);
  m.def("sum_stream", &py_sum_stream, "words"_a.noconvert(), "num_threads"_a);
}
