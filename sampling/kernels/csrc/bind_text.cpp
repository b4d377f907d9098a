// Kernels that read text.
#include "bindings.h"
#include "text.h"

using namespace gnn;
using namespace nb::literals;

namespace {

nb::object py_parse_integers(In<uint8_t> text, int delimiter, int columns, int threads) {
  const int64_t size = text.shape(0);
  require(columns >= 1, "there are no columns");
  const bool of_numbers = delimiter == '-' || (delimiter >= '0' && delimiter <= '9');
  require(delimiter >= 0 && delimiter < 256 && delimiter != '\n' && !of_numbers,
          "delimiter is no character between numbers within a line");
  require(size == 0 || text.data()[size - 1] == '\n', "the text does not end with a line");
  const int64_t pieces = std::clamp<int64_t>(size >> 16, 1, 4 * std::max(threads, 1));
  std::vector<int64_t> rows(pieces + 1);
  Buffer<int64_t> out;
  std::atomic<bool> plain{true};
  {
    nb::gil_scoped_release unlocked;
    const auto starts = line_pieces(text.data(), size, pieces);
    parallel_pieces(pieces, 1, threads, [&](int64_t p, int64_t) {
      rows[p + 1] = std::count(starts[p], starts[p + 1], uint8_t('\n'));
    });
    for (int64_t p = 0; p < pieces; ++p) rows[p + 1] += rows[p];
    out = Buffer<int64_t>(rows[pieces] * columns);
    parallel_pieces(pieces, 1, threads, [&](int64_t p, int64_t) {
      if (!parse_lines(starts[p], starts[p + 1], uint8_t(delimiter), columns, out.data() + rows[p],
                       rows[pieces]))
        plain = false;
    });
  }
  if (!plain) return nb::none();
  return nb::cast(to_numpy(out, {size_t(columns), size_t(rows[pieces])}));
}

}  // namespace

void gnn::bind_text(nb::module_& m) {
  m.def("parse_integers", &py_parse_integers, "text"_a.noconvert(), "delimiter"_a,
        "num_columns"_a, "num_threads"_a);
}
