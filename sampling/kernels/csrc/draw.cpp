// Uniform picks without replacement (Floyd; Bentley and Floyd, CACM 1987), exact in every branch: a
// 64-bit word is the set for degrees up to 64; up to 16 picks of a larger row are drawn in one
// vector, and their duplicates found there; a scan does the rest. Nodes go through in blocks, and
// each stage of a block prefetches what the next one reads, so that the misses of a block overlap.
#include "draw.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace gnn {
namespace GNN_ISA {
namespace {

constexpr int64_t kBlock = 32;     // nodes in flight between two stages
constexpr int64_t kWordDegree = 64;  // degrees up to here have their picks in one word
constexpr int64_t kLanes = 16;

#if defined(__AVX512F__)
// Draws 0 … 15 of a stream, draw j on 0 … low + j, for low + 16 below 2^32: false when one of the
// first `fanout` has to be redrawn, which the scalar stream then does for all.
GNN_INLINE bool draw_lanes(uint64_t key, uint32_t low, int64_t fanout, __m512i* draws) {
  const __m512i step = _mm512_set_epi64(8, 7, 6, 5, 4, 3, 2, 1);
  __m512i z = _mm512_add_epi64(_mm512_set1_epi64(int64_t(key)),
                               _mm512_mullo_epi64(step, _mm512_set1_epi64(int64_t(kGolden))));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 30));
  z = _mm512_mullo_epi64(z, _mm512_set1_epi64(int64_t(0xBF58476D1CE4E5B9ULL)));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 27));
  z = _mm512_mullo_epi64(z, _mm512_set1_epi64(int64_t(0x94D049BB133111EBULL)));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
  const __m512i iota = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i ends = _mm512_add_epi32(iota, _mm512_set1_epi32(int32_t(low + 1)));
  const __m512i even = _mm512_mul_epu32(z, ends);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(z, 32), _mm512_srli_epi64(ends, 32));
  *draws = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  const __m512i rest = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
  const __mmask16 active = __mmask16((1u << fanout) - 1);
  return _mm512_mask_cmplt_epu32_mask(active, rest, ends) == 0;
}

// Floyd's rule on a vector of draws: a draw that was made before, or that equals the top that took
// the place of such a draw, gives way to its own top, low + j.
GNN_INLINE __m512i replace_repeated(__m512i draws, uint32_t low, int64_t fanout) {
  const __mmask16 active = __mmask16((1u << fanout) - 1);
  const __m512i iota = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i tops = _mm512_add_epi32(iota, _mm512_set1_epi32(int32_t(low)));
  const __m512i before = _mm512_conflict_epi32(draws);
  uint32_t repeated = _mm512_mask_test_epi32_mask(active, before, before);
  if (__builtin_expect(repeated == 0, 1)) return draws;
  uint32_t high = _mm512_mask_cmpge_epu32_mask(active, draws, _mm512_set1_epi32(int32_t(low)));
  if (high) {
    uint32_t value[kLanes];
    _mm512_storeu_si512(value, draws);
    for (; high; high &= high - 1) {
      const uint32_t j = uint32_t(__builtin_ctz(high)), top_of = value[j] - low;
      if (top_of < j && (repeated >> top_of & 1)) repeated |= 1u << j;
    }
  }
  return _mm512_mask_mov_epi32(draws, __mmask16(repeated), tops);
}

GNN_INLINE void store_positions(int64_t start, __m512i picks, int64_t* out) {
  const __m512i base = _mm512_set1_epi64(start);
  const __m512i first = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(picks));
  const __m512i second = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(picks, 1));
  _mm512_storeu_si512(out, _mm512_add_epi64(base, first));
  _mm512_storeu_si512(out + kLanes / 2, _mm512_add_epi64(base, second));
}
#endif

// The set of picks of a row that fits a word.
template <class Next>
GNN_INLINE uint64_t pick_word(int64_t low, int64_t fanout, const Next& next) {
  uint64_t chosen = 0;
  for (int64_t j = 0; j < fanout; ++j) {
    const uint64_t top = uint64_t(low + j), x = next(j);
    chosen |= uint64_t(1) << (chosen >> x & 1 ? top : x);
  }
  return chosen;
}

GNN_INLINE void store_word(int64_t start, uint64_t chosen, int64_t* out) {
  for (; chosen; chosen &= chosen - 1) *out++ = start + __builtin_ctzll(chosen);
}

GNN_INLINE void pick_scan(int64_t start, int64_t low, int64_t fanout, uint64_t key, int64_t* out) {
  Stream draw(key);
  for (int64_t j = 0; j < fanout; ++j) {
    const int64_t x = start + int64_t(draw(uint64_t(j), uint64_t(low + j + 1)));
    bool seen = false;
    for (int64_t i = 0; i < j; ++i) seen |= out[i] == x;
    out[j] = seen ? start + low + j : x;
  }
}

// Write `fanout` of the positions start … start + degree - 1, for degree > fanout. There is room
// for kLanes more.
GNN_INLINE void pick(int64_t start, int64_t degree, int64_t fanout, uint64_t key, int64_t* out) {
  const int64_t low = degree - fanout;
#if defined(__AVX512F__)
  __m512i draws;
  if (fanout <= kLanes && degree < (int64_t(1) << 31) &&
      __builtin_expect(draw_lanes(key, uint32_t(low), fanout, &draws), 1)) {
    if (degree > kWordDegree)
      return store_positions(start, replace_repeated(draws, uint32_t(low), fanout), out);
    uint32_t value[kLanes];
    _mm512_storeu_si512(value, draws);
    return store_word(start, pick_word(low, fanout, [&](int64_t j) { return value[j]; }), out);
  }
#endif
  if (degree > kWordDegree) return pick_scan(start, low, fanout, key, out);
  Stream draw(key);
  auto next = [&](int64_t j) { return draw(uint64_t(j), uint64_t(low + j + 1)); };
  store_word(start, pick_word(low, fanout, next), out);
}

// The positions drawn for one block of nodes.
struct Positions {
  int64_t at[kBlock * kMostPicks + kLanes];
  int64_t size = 0;
};

template <class Node>
GNN_INLINE bool draw_block(const Draw& job, const int64_t* nodes, int64_t size, int64_t* counts,
                           Positions& out) {
  const Node* indices = static_cast<const Node*>(job.indices);
  out.size = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t node = nodes[i], start = job.indptr[node], end = job.indptr[node + 1];
    if (__builtin_expect(start < 0 || end < start || end > job.num_edges, 0)) return false;
    const int64_t degree = end - start;
    int64_t* at = out.at + out.size;
    if (degree <= job.fanout) {
      for (int64_t j = 0; j < degree; ++j) at[j] = start + j;
      counts[i] = degree;
    } else {
      pick(start, degree, job.fanout, stream_key(job.layer_key, uint64_t(node)), at);
      counts[i] = job.fanout;
    }
    for (int64_t j = 0; j < counts[i]; ++j) __builtin_prefetch(indices + at[j]);
    out.size += counts[i];
  }
  return true;
}

// Returns the largest neighbor, a negative one being larger than all others.
template <class Node>
GNN_INLINE uint64_t read_block(const Node* indices, const Positions& from, Node* neighbors,
                               int64_t* edges) {
  uint64_t largest = 0;
  for (int64_t e = 0; e < from.size; ++e) {
    neighbors[e] = indices[from.at[e]];
    const uint64_t neighbor = uint64_t(int64_t(neighbors[e]));
    largest = neighbor > largest ? neighbor : largest;
  }
  if (edges) __builtin_memcpy(edges, from.at, from.size * sizeof(int64_t));
  return largest;
}

template <class Node>
int64_t draw_nodes(const Draw& job, const int64_t* nodes, int64_t size, int64_t* counts,
                   Node* neighbors, int64_t* edges) {
  const Node* indices = static_cast<const Node*>(job.indices);
  Positions drawn[2];
  int64_t done = 0;
  uint64_t largest = 0;
  auto prefetch_offsets = [&](int64_t from) {
    const int64_t last = from + kBlock < size ? from + kBlock : size;
    for (int64_t i = from; i < last; ++i) __builtin_prefetch(job.indptr + nodes[i]);
  };
  auto read = [&](const Positions& block) {
    const uint64_t here =
        read_block(indices, block, neighbors + done, edges ? edges + done : nullptr);
    largest = here > largest ? here : largest;
    done += block.size;
  };
  prefetch_offsets(0);
  int turn = 0;
  for (int64_t block = 0; block < size; block += kBlock, turn ^= 1) {
    prefetch_offsets(block + kBlock);
    const int64_t nodes_here = size - block < kBlock ? size - block : kBlock;
    if (!draw_block<Node>(job, nodes + block, nodes_here, counts + block, drawn[turn])) return -1;
    read(drawn[turn ^ 1]);  // its lines have had a block's time to arrive
  }
  read(drawn[turn ^ 1]);
  return done && largest >= uint64_t(job.num_nodes) ? -1 : done;
}

int64_t draw(const Draw& job, const int64_t* nodes, int64_t size, int64_t* counts, void* neighbors,
             int64_t* edges) {
  if (job.wide)
    return draw_nodes(job, nodes, size, counts, static_cast<int64_t*>(neighbors), edges);
  return draw_nodes(job, nodes, size, counts, static_cast<int32_t*>(neighbors), edges);
}

// Which slots of a line hold `node`, and which are free: one bit a slot.
struct Match {
  uint32_t found, free;
};

GNN_INLINE Match match(const uint64_t* line, uint64_t node, uint64_t epoch) {
  const uint64_t wanted = node << 32 | epoch << 24;
#if defined(__AVX512F__)
  const __m512i slots = _mm512_load_si512(line);
  const __m512i differs = _mm512_xor_si512(slots, _mm512_set1_epi64(int64_t(wanted)));
  return {_mm512_cmplt_epu64_mask(differs, _mm512_set1_epi64(1 << 24)),
          _mm512_test_epi64_mask(differs, _mm512_set1_epi64(0xFF000000))};
#else
  Match out{0, 0};
  for (int i = 0; i < kLineSlots; ++i) {
    const uint64_t differs = line[i] ^ wanted;
    out.found |= uint32_t(differs < (1 << 24)) << i;
    out.free |= uint32_t((differs & 0xFF000000) != 0) << i;
  }
  return out;
#endif
}

template <class Node>
int64_t relabel_nodes(const Lines& table, const Node* neighbors, int64_t size, int64_t* known,
                      int64_t count, int32_t* local) {
  constexpr int64_t kAhead = 24;
  const uint64_t mask = (uint64_t(1) << table.bits) - 1;
  uint64_t nowhere;  // where a node that is known is "written"
  for (int64_t e = 0; e < size; ++e) {
    if (e + kAhead < size)
      __builtin_prefetch(table.slots + table.home(neighbors[e + kAhead]) * kLineSlots, 1);
    const uint64_t node = uint64_t(neighbors[e]);
    uint64_t line = table.home(neighbors[e]);
    Match here = match(table.slots + line * kLineSlots, node, table.epoch);
    while (__builtin_expect(!(here.found | here.free), 0)) {
      line = (line + 1) & mask;
      here = match(table.slots + line * kLineSlots, node, table.epoch);
    }
    const bool fresh = !here.found;
    uint64_t* slot = table.slots + line * kLineSlots + __builtin_ctz(fresh ? here.free : here.found);
    const int64_t place = fresh ? count : int64_t(*slot & 0xFFFFFF);
    *(fresh ? slot : &nowhere) = node << 32 | table.epoch << 24 | uint64_t(count);
    known[count] = int64_t(node);
    count += fresh;
    local[e] = int32_t(place);
  }
  return count;
}

int64_t relabel(const Lines& table, const void* neighbors, bool wide, int64_t size, int64_t* known,
                int64_t count, int32_t* local) {
  if (wide)
    return relabel_nodes(table, static_cast<const int64_t*>(neighbors), size, known, count, local);
  return relabel_nodes(table, static_cast<const int32_t*>(neighbors), size, known, count, local);
}

}  // namespace

extern const DrawKernels draw_kernels;
const DrawKernels draw_kernels = {draw, relabel};

}  // namespace GNN_ISA
}  // namespace gnn
