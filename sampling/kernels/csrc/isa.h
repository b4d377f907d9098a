// Files that are compiled once per instruction set: each leaves a table of functions in a namespace
// of its own, and the best one that the processor has is picked at run time.
#pragma once
#include <cstdlib>
#include <cstring>

#ifdef GNN_X86
#define GNN_DECLARE_KERNELS(Table, name)           \
  namespace baseline { extern const Table name; }  \
  namespace avx2 { extern const Table name; }      \
  namespace avx512 { extern const Table name; }    \
  inline const Table& best_##name() {              \
    const int level = best_isa();                  \
    return level == 2 ? avx512::name : level == 1 ? avx2::name : baseline::name; \
  }
#else
#define GNN_DECLARE_KERNELS(Table, name)          \
  namespace baseline { extern const Table name; } \
  inline const Table& best_##name() { return baseline::name; }
#endif

namespace gnn {

#ifdef GNN_X86
// 0: x86-64-v2, 1: AVX2 (v3), 2: AVX-512 (v4).
inline int supported_isa() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
      __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("f16c"))
    return 1;
  return 0;
}

// The same, or less where GNN_ISA asks for it: "baseline" or "avx2".
inline int best_isa() {
  static const int level = [] {
    const char* asked = std::getenv("GNN_ISA");
    const int most = !asked ? 2 : !std::strcmp(asked, "baseline") ? 0 : !std::strcmp(asked, "avx2") ? 1 : 2;
    const int supported = supported_isa();
    return most < supported ? most : supported;
  }();
  return level;
}
#endif

}  // namespace gnn
