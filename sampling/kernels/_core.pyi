"""The compiled kernels have the signatures of their twins; a contract test holds them to it."""

from sampling.kernels.reference import Workspace as Workspace
from sampling.kernels.reference import aggregate as aggregate
from sampling.kernels.reference import build_csc as build_csc
from sampling.kernels.reference import build_id_table as build_id_table
from sampling.kernels.reference import build_string_table as build_string_table
from sampling.kernels.reference import check_csc as check_csc
from sampling.kernels.reference import csc_order as csc_order
from sampling.kernels.reference import find_ids as find_ids
from sampling.kernels.reference import find_strings as find_strings
from sampling.kernels.reference import gather as gather
from sampling.kernels.reference import max_backward as max_backward
from sampling.kernels.reference import relabel as relabel
from sampling.kernels.reference import sample_aggregate as sample_aggregate
from sampling.kernels.reference import sample_blocks as sample_blocks
from sampling.kernels.reference import sample_neighbors as sample_neighbors
from sampling.kernels.reference import sum_random_lines as sum_random_lines
from sampling.kernels.reference import sum_stream as sum_stream
from sampling.kernels.reference import transpose as transpose
