// Hash indices over node ids.
#include "bindings.h"
#include "ids.h"

using namespace gnn;
using namespace nb::literals;

namespace {

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

void gnn::bind_ids(nb::module_& m) {
  m.def("build_id_table", &py_build_id_table, "keys"_a.noconvert());
  BOTH_NODE_TYPES("find_ids", py_find_ids, "keys"_a.noconvert(), "table"_a.noconvert(), "salt"_a,
                  "queries"_a.noconvert(), "num_threads"_a);
  m.def("build_string_table", &py_build_string_table, "data"_a.noconvert(),
        "offsets"_a.noconvert());
  BOTH_NODE_TYPES("find_strings", py_find_strings, "data"_a.noconvert(), "offsets"_a.noconvert(),
                  "table"_a.noconvert(), "salt"_a, "query_data"_a.noconvert(),
                  "query_offsets"_a.noconvert(), "num_threads"_a);
}
