// The Python face of the core. Arrays are checked in these files; the GIL is released around the
// work.
#include "bindings.h"

NB_MODULE(_core, m) {
  m.doc() = "Compiled kernels; sampling.kernels.reference says what each one computes.";
  gnn::bind_adjacency(m);
  gnn::bind_neighbors(m);
  gnn::bind_rows(m);
  gnn::bind_ids(m);
  gnn::bind_probe(m);
}
