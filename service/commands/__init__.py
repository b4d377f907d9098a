"""The commands of `gnn`, one file each.

A command imports sampling, gnn and torch inside its body, so that `gnn --help` and a mistyped
option answer at once instead of after two seconds of loading torch.
"""
