// Asking for a cache line ahead of its use.
#pragma once

namespace gnn {

// GCC takes a function that does nothing but __builtin_prefetch for one without effect and drops
// the calls of it; the empty statement is an effect.
inline __attribute__((always_inline)) void prefetch(const void* address) {
  __builtin_prefetch(address);
  asm volatile("" : : "r"(address));
}

}  // namespace gnn
