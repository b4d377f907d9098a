// Kernels of attention over edges.
#include "attend.h"
#include "bindings.h"
#include "stored_rows.h"
#include "transpose.h"

using namespace gnn;
using namespace nb::literals;

namespace {

using Optional2 = std::optional<In2<float>>;

const float* scores_or_null(const Optional2& array, size_t rows, int64_t heads) {
  if (!array) return nullptr;
  require(array->shape(0) == rows && int64_t(array->shape(1)) == heads,
          "scores differ in shape from what they belong to");
  return array->data();
}

// What the arguments of both kernels say, checked.
template <class Node>
struct Call {
  int64_t num_dst, num_src, num_edges, columns, heads;
  std::vector<int32_t> head_of;
  Attention job;

  Call(const In<int64_t>& indptr, const In<Node>& indices, const Any2& x, int64_t heads,
       const Optional2& logits, const Optional2& dst_scores, const Optional2& src_scores, float slope,
       const Optional2& factors)
      : num_dst(int64_t(indptr.shape(0)) - 1), num_src(x.shape(0)), num_edges(indices.shape(0)),
        columns(x.shape(1)), heads(heads) {
    check_indptr(indptr, indices);
    require(heads >= 1 && heads <= kMaxHeads, "the number of heads is outside 1 … 256");
    require(columns % heads == 0, "the columns of x cannot be shared out evenly to the heads");
    require(logits ? !dst_scores && !src_scores : dst_scores && src_scores,
            "give either logits, or dst_scores and src_scores");
    head_of = heads_of_columns(columns, heads);
    job = {indptr.data(), {indices.data(), sizeof(Node) == 8}, nullptr, heads, head_of.data(),
           scores_or_null(logits, num_edges, heads), scores_or_null(dst_scores, num_dst, heads),
           scores_or_null(src_scores, num_src, heads), slope,
           scores_or_null(factors, num_edges, heads)};
  }

  void check(const In<int64_t>& indptr, const In<Node>& indices, int threads) const {
    check_rising(indptr, threads);
    require(all_below(indices.data(), num_edges, num_src, threads), "an edge reads a row outside x");
  }
};

template <class Node>
nb::object py_attend(In<int64_t> indptr, In<Node> indices, Any2 x, int64_t heads, Optional2 logits,
                     Optional2 dst_scores, Optional2 src_scores, float slope, Optional2 factors,
                     int threads) {
  const Rows rows = as_rows(x, std::nullopt);
  require(rows.storage != Storage::kInt8, "int8 rows have a scale, which attention does not take");
  Call<Node> call(indptr, indices, x, heads, logits, dst_scores, src_scores, slope, factors);
  const size_t num_dst = size_t(call.num_dst);
  Buffer<float> out(num_dst * rows.columns), log_total(num_dst * heads), total(num_dst * heads);
  {
    nb::gil_scoped_release unlocked;
    call.check(indptr, indices, threads);
    attend(rows, call.job, {out.data(), log_total.data(), total.data()}, call.num_dst, threads);
  }
  return nb::make_tuple(to_numpy(out, {num_dst, size_t(rows.columns)}),
                        to_numpy(log_total, {num_dst, size_t(heads)}));
}

// The results of the backward pass.
struct Grads {
  Buffer<float> x, logits, dst_scores, src_scores;
};

// By destination: gradients of what destinations and edges have.
template <class Node>
void by_destination(const Call<Node>& call, AttentionGrads grads, Grads& out, int threads) {
  grads.own_is_dst = true;
  grads.scores = call.job.logits ? nullptr : out.dst_scores.data();
  grads.logits = call.job.logits ? out.logits.data() : nullptr;
  differentiate(call.job, grads, call.num_dst, threads);
}

// By source: gradients of what sources have.
template <class Node>
void by_source(const Call<Node>& call, const Node* indices, AttentionGrads grads, Grads& out,
               int threads) {
  Buffer<int64_t> indptr(call.num_src + 1), order(call.num_edges);
  Buffer<Node> destinations(call.num_edges);
  transpose(call.job.indptr, call.num_dst, indices, call.num_src,
            {indptr.data(), destinations.data(), order.data()}, threads);
  Attention job = call.job;
  job.indptr = indptr.data();
  job.indices.data = destinations.data();
  job.position = order.data();
  std::swap(job.own_scores, job.other_scores);
  std::swap(grads.own, grads.other);
  grads.own_is_dst = false;
  grads.rows = out.x.data();
  grads.scores = call.job.logits ? nullptr : out.src_scores.data();
  differentiate(job, grads, call.num_src, threads);
}

Rows float_rows(const In2<float>& x) {
  return {x.data(), int64_t(x.shape(0)), int64_t(x.shape(1)), Storage::kFloat32, nullptr};
}

void compute_dots(const Rows& a, const Rows& b, int64_t heads, float* out, int threads) {
  parallel_pieces(a.count, 1 << 12, threads, [&](int64_t begin, int64_t end) {
    best_attention_kernels().dots(a, b, heads, begin, end, out);
  });
}

template <class Node>
nb::object py_attend_backward(In<int64_t> indptr, In<Node> indices, In2<float> x, int64_t heads,
                              Optional2 logits, Optional2 dst_scores, Optional2 src_scores,
                              float slope, Optional2 factors, In2<float> out, In2<float> log_total,
                              In2<float> grad, int threads) {
  Call<Node> call(indptr, indices, Any2(x), heads, logits, dst_scores, src_scores, slope, factors);
  for (const auto& rows : {out, grad})
    require(int64_t(rows.shape(0)) == call.num_dst && int64_t(rows.shape(1)) == call.columns,
            "out or its gradient differs in shape from the destinations");
  scores_or_null(log_total, call.num_dst, heads);
  const bool additive = !logits;
  const size_t width = size_t(heads);
  Grads grads{Buffer<float>(call.num_src * call.columns), Buffer<float>(additive ? 0 : call.num_edges * heads),
              Buffer<float>(additive ? call.num_dst * heads : 0),
              Buffer<float>(additive ? call.num_src * heads : 0)};
  {
    nb::gil_scoped_release unlocked;
    call.check(indptr, indices, threads);
    Buffer<float> shared(call.num_dst * heads);
    compute_dots(float_rows(out), float_rows(grad), heads, shared.data(), threads);
    const AttentionGrads common{float_rows(grad), float_rows(x), true, log_total.data(), shared.data(),
                                nullptr, nullptr, nullptr};
    by_destination(call, common, grads, threads);
    by_source(call, indices.data(), common, grads, threads);
  }
  auto given = [&](bool wanted, Buffer<float>& buffer, int64_t rows) {
    return wanted ? nb::cast(to_numpy(buffer, {size_t(rows), width})) : nb::none();
  };
  return nb::make_tuple(to_numpy(grads.x, {size_t(call.num_src), size_t(call.columns)}),
                        given(!additive, grads.logits, call.num_edges),
                        given(additive, grads.dst_scores, call.num_dst),
                        given(additive, grads.src_scores, call.num_src));
}

}  // namespace

void gnn::bind_attention(nb::module_& m) {
  BOTH_NODE_TYPES("attend", py_attend, "indptr"_a.noconvert(), "indices"_a.noconvert(),
                  "x"_a.noconvert(), "heads"_a, "logits"_a.none(), "dst_scores"_a.none(),
                  "src_scores"_a.none(), "slope"_a, "factors"_a.none(), "num_threads"_a);
  BOTH_NODE_TYPES("attend_backward", py_attend_backward, "indptr"_a.noconvert(),
                  "indices"_a.noconvert(), "x"_a.noconvert(), "heads"_a, "logits"_a.none(),
                  "dst_scores"_a.none(), "src_scores"_a.none(), "slope"_a, "factors"_a.none(),
                  "out"_a.noconvert(), "log_total"_a.noconvert(), "grad"_a.noconvert(), "num_threads"_a);
}
