"""What one epoch of training does, per kind of task: on nodes, on links, on whole graphs."""
