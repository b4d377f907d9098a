// The Python face of the core. Arrays are checked in these files; the GIL is released around the
// work.
#include "bindings.h"

NB_MODULE(_core, m) {
  m.doc() = "Compiled kernels; sampling.kernels.reference says what each one computes.";
  gnn::bind_adjacency(m);
  gnn::bind_attention(m);
  gnn::bind_choose(m);
  gnn::bind_clusters(m);
  gnn::bind_generate(m);
  gnn::bind_ids(m);
  gnn::bind_layers(m);
  gnn::bind_matching(m);
  gnn::bind_negatives(m);
  gnn::bind_neighbors(m);
  gnn::bind_probe(m);
  gnn::bind_reorder(m);
  gnn::bind_rows(m);
  gnn::bind_runs(m);
  gnn::bind_subgraphs(m);
  gnn::bind_text(m);
  gnn::bind_walks(m);
}
