"""Every knob of the service, read from the environment (`GNN_…`) or given as arguments.

A setting has a unit in its name, a bound that is checked at the start and one sentence; the same
sentences make up `docs/settings.md`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]

MIB = 1 << 20
SHARES = r"^([a-z0-9][a-z0-9._-]{0,63}@[1-9][0-9]{0,8}:(100|[0-9]{1,2}(\.[0-9]{1,6})?)%(,|$))*$"
DRAIN_S = 5.0
"""Long enough for a load balancer that looks every two seconds to see it twice."""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _none_if_empty(value: object) -> object:
    """Compose files hand on a variable that is not set as an empty one."""
    return None if value == "" else value


class Settings(BaseSettings):
    """What a server is started with."""

    model_config = SettingsConfigDict(env_prefix="GNN_", extra="ignore", frozen=True)

    graph: Path = Field(description="Directory of the graph to serve, as `gnn ingest` wrote it.")
    models: Path = Field(description="Directory that holds one folder per model name.")
    embeddings: Annotated[Path | None, BeforeValidator(_none_if_empty)] = Field(
        None,
        description="Directory of a batch embedding table; used only while it is fresh. Empty: "
        "none.",
    )
    default_model: str | None = Field(
        None,
        max_length=64,
        description="Model that answers to the name `default`; the only model where there is one.",
    )
    aliases: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9._-]{0,63}=[a-z0-9][a-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?(,|$))*$",
        description="Other names of models, as in `canary=fraud@3,live=fraud`.",
    )
    canary: str = Field(
        "",
        pattern=SHARES,
        description="Shares of requests that another version answers, as in `fraud@4:5%`.",
    )
    shadow: str = Field(
        "",
        pattern=SHARES,
        description="Shares of requests that another version computes too, behind the answer, to "
        "be compared in the metrics, as in `fraud@4:20%`.",
    )
    shadow_queue: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Requests that may wait for a shadow, per worker; one more is not compared.",
    )
    routing: Path | None = Field(
        None,
        description="File that keeps aliases, canaries, shadows and unloaded versions that were "
        "set at run time; `routing.json` in the models directory when left out.",
    )
    models_poll_s: float = Field(
        2.0,
        ge=0,
        le=3600,
        description="Seconds between two looks for new or deleted models; 0 never looks.",
    )
    allow_modules: str = Field(
        "",
        max_length=4096,
        description="Modules, with commas between them, that a model may import a convolution of "
        "yours from; importing one runs its code.",
    )
    require_certificate: bool = Field(
        False,
        description="Refuse models whose certificate of symmetry is missing or did not pass.",
    )
    verify_graph: bool = Field(
        True, description="Read every byte of the graph at the start and compare checksums."
    )

    host: str = Field("127.0.0.1", max_length=255, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    uds: Path | None = Field(
        None, description="Unix socket to listen on in place of a port; its group may connect."
    )
    workers: int = Field(1, ge=1, le=256, description="Server processes; they share the graph.")
    compute_threads: int = Field(
        0, ge=0, le=1024, description="Threads for one batch; 0 divides the cores by the workers."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe lines to log; `debug` adds one line per request."
    )

    api_keys_file: Path | None = Field(
        None, description="File of API keys, as `gnn key` writes it; without keys all may call."
    )
    api_keys: str | None = Field(
        None,
        max_length=1 << 20,
        repr=False,
        description="The lines of such a file, where there is none, apart by line feeds or `;`.",
    )
    allow_anonymous: bool = Field(
        False, description="Listen beyond the loopback address without API keys."
    )
    open_admin: bool = Field(
        False,
        description="Let all who reach the server load, unload and route models, where no keys "
        "are set.",
    )
    wrong_keys_per_minute: int = Field(
        60,
        ge=0,
        le=1_000_000,
        description="Wrong keys a minute from one address, per worker, until 429; 0: any number.",
    )
    open_metrics: bool = Field(
        False, description="Answer `/metrics` without a key where keys are set."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        max_length=2048,
        description="Collector that traces are sent to by OTLP over HTTP, as in "
        "`http://127.0.0.1:4318`; no traces when left out.",
    )
    cors_origins: str = Field(
        "",
        pattern=r"^(\*|https?://[^\s,/]+(,https?://[^\s,/]+)*)?$",
        description="Origins, with commas, whose pages may call from a browser; `*` is all.",
    )

    max_ids_per_request: int = Field(
        10_000, ge=1, le=1_000_000, description="Node ids in one request; more is 422."
    )
    max_new_nodes: int = Field(
        1000, ge=1, le=1_000_000, description="New nodes described in one request; more is 422."
    )
    max_new_edges: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="`in_edges` of all new nodes in one request together; more is 422.",
    )
    max_graphs_per_request: int = Field(
        1000, ge=1, le=1_000_000, description="Whole graphs in one request; more is 422."
    )
    max_graph_nodes: int = Field(
        200_000, ge=1, le=100_000_000, description="Nodes of all graphs in one request together."
    )
    max_graph_edges: int = Field(
        1_000_000, ge=1, le=1_000_000_000, description="Edges of all graphs in one request."
    )
    max_hops: int = Field(
        16,
        ge=1,
        le=1000,
        description="Layers of a model whose answers are computed on request; more is 422.",
    )
    max_fanout_product: int = Field(
        100_000,
        ge=1,
        le=1_000_000_000_000,
        description="Neighbors that a sampled answer may read in the outermost hop of one node: "
        "the product of the model's fanouts; more is 422.",
    )
    max_overlay_edges: int = Field(
        1000, ge=0, le=100_000, description="Edges in the overlay of one request; more is 422."
    )
    max_neighbors: int = Field(
        10_000, ge=1, le=1_000_000, description="Neighbors in one answer of the graph endpoints."
    )
    max_similar_nodes: int = Field(
        100, ge=1, le=10_000, description="Nodes in one request for similar nodes; more is 422."
    )
    similar_exact_rows: int = Field(
        200_000,
        ge=0,
        le=1_000_000_000,
        description="Rows of a table searched for similar nodes without an index; more is 409.",
    )
    max_body_bytes: int = Field(
        8 * MIB, ge=1024, le=1024 * MIB, description="Bytes in a request body; more is 413."
    )
    max_response_bytes: int = Field(
        64 * MIB,
        ge=1024,
        le=1 << 40,
        description="Bytes of one answer, as rows and their widths foretell them; more is 422 "
        "before any work.",
    )
    max_header_bytes: int = Field(
        64 * 1024, ge=1024, le=MIB, description="Bytes in request line and headers; more is 431."
    )
    max_headers: int = Field(
        100, ge=10, le=10_000, description="Header fields of a request; more is 431."
    )

    exact_edge_budget: int = Field(
        50_000,
        ge=0,
        le=1_000_000_000,
        description="Edges that one node may cost for `auto` to answer exactly; more is sampled.",
    )
    max_exact_edges: int = Field(
        2_000_000,
        ge=1,
        le=10_000_000_000,
        description="Edges that one node may cost when `exact` is asked for; more is 422.",
    )
    max_batch_cost_edges: int = Field(
        500_000,
        ge=1,
        le=1_000_000_000,
        description="Edges that requests are merged up to, or about ten milliseconds of work; "
        "larger requests are cut into batches.",
    )
    max_wait_ms: float = Field(
        2.0,
        ge=0,
        le=1000,
        description="Milliseconds a request may wait for company while the service is busy.",
    )
    max_delay_ms: float = Field(
        0.0,
        ge=0,
        le=3_600_000,
        description="Milliseconds that requests under way may keep a prediction waiting; one that "
        "would wait longer is 503 at once, where more than 16 are under way. 0 lets the queue "
        "limits decide.",
    )
    queue_limit: int = Field(
        1000, ge=1, le=1_000_000, description="Requests that may wait; one more is 503."
    )
    queue_limit_edges: int = Field(
        100_000_000,
        ge=1,
        le=10_000_000_000,
        description="Edges that waiting requests may cost together; beyond that 503.",
    )
    cache_bytes: int = Field(
        256 * MIB,
        ge=0,
        le=1 << 44,
        description="Bytes of computed embeddings kept in memory, per worker; 0 keeps none.",
    )

    hidden_cache_bytes: int = Field(
        64 * MIB,
        ge=0,
        le=1 << 44,
        description="Bytes of rows between layers kept in memory, per worker; 0 keeps none.",
    )
    redis_url: str | None = Field(
        None,
        max_length=2048,
        pattern=r"^(redis|rediss|unix)://",
        repr=False,
        description="Address of a Redis that all workers and hosts share computed embeddings "
        "through, and that keeps the jobs for `gnn worker`: `redis://:PASSWORD@HOST:6379/0`.",
    )
    redis_prefix: str = Field(
        "gnn",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="First part of every key in Redis; one per deployment that shares it.",
    )
    redis_ttl_s: int = Field(
        86_400, ge=1, le=31_536_000, description="Seconds until an embedding in Redis expires."
    )
    redis_timeout_ms: int = Field(
        250,
        ge=1,
        le=10_000,
        description="Milliseconds until a call of Redis is given up and it counts as lost.",
    )
    redis_retry_s: float = Field(
        2.0, gt=0, le=3600, description="Seconds between two probes of a Redis that is lost."
    )

    table_outputs_bytes: int = Field(
        256 * MIB,
        ge=0,
        le=1 << 44,
        description="Bytes of predictions made at the start, per worker, from an embedding table "
        "that has none; a larger table has each made when it is asked for.",
    )

    request_timeout_ms: int = Field(
        10_000,
        ge=1,
        le=3_600_000,
        description="Milliseconds until a request is given up; `X-Request-Timeout-Ms` lowers it.",
    )
    header_timeout_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds to send the headers in, or to idle."
    )
    body_timeout_s: float = Field(10.0, gt=0, le=3600, description="Seconds to send a body in.")
    write_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Seconds a client may leave an answer unread."
    )
    drain_delay_s: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which `/health/ready` is 503 and all else goes on; "
        "when left out 5, or 0 on a loopback address or a Unix socket, where no balancer looks.",
    )
    drain_timeout_s: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="Seconds that requests under way get once the door is closed.",
    )

    jobs: Path | None = Field(
        None,
        description="Directory of batch jobs and their results; `jobs` beside the models when "
        "left out, made with the first job.",
    )
    run_jobs: bool = Field(
        True,
        description="Run jobs in a process of this server; where false, or with a Redis, "
        "`gnn worker` runs them.",
    )
    job_threads: int = Field(
        0, ge=0, le=1024, description="Threads of the process that runs jobs; 0 takes all cores."
    )
    job_tile_rows: int = Field(
        0,
        ge=0,
        le=1 << 24,
        description="Rows that a job computes at once, between looks at whether it is canceled; "
        "0 chooses by the widths of the model.",
    )
    job_part_bytes: int = Field(
        256 * MIB,
        ge=64 * 1024,
        le=1 << 40,
        description="Bytes, before compression, after which the result of a job goes on in "
        "another part.",
    )
    job_lease_s: float = Field(
        30.0,
        ge=0.5,
        le=3600,
        description="Seconds without a sign of life after which another runner takes up a job.",
    )
    job_max_attempts: int = Field(
        3, ge=1, le=1000, description="Runners that a job may lose before it counts as failed."
    )
    job_ttl_hours: float = Field(
        168.0, gt=0, le=100_000, description="Hours that the result of a job is kept."
    )
    job_results_bytes: int = Field(
        256 << 30,
        ge=MIB,
        le=1 << 50,
        description="Bytes of all results together; beyond that the oldest are discarded.",
    )
    max_queued_jobs: int = Field(
        100, ge=0, le=10_000, description="Jobs that may wait; one more is 429; 0 takes none."
    )
    max_job_ids: int = Field(
        1_000_000, ge=1, le=1 << 31, description="Node ids in one job; more is 422."
    )

    worker_heartbeat: Path | None = Field(
        None,
        description="File that `gnn worker` touches at least every ten seconds while it turns; a "
        "probe looks at its age.",
    )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.uds is not None or is_loopback(self.host)

    @property
    def drain_s(self) -> float:
        """Seconds between not being ready and closing the door."""
        if self.drain_delay_s is not None:
            return self.drain_delay_s
        return 0.0 if self.is_local else DRAIN_S

    @property
    def jobs_directory(self) -> Path:
        """Where jobs and their results are."""
        return self.jobs or self.models.absolute().parent / "jobs"

    @property
    def routing_path(self) -> Path:
        """Where routes that are set at run time are kept."""
        return self.routing or self.models / "routing.json"

    @property
    def allowed_modules(self) -> tuple[str, ...]:
        """Modules that a model may import a convolution from."""
        return tuple(name.strip() for name in self.allow_modules.split(",") if name.strip())

    @property
    def threads(self) -> int:
        """Threads for one batch in this process."""
        return self.compute_threads or max(1, CORES // self.workers)

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a worker process."""
        prefix = self.model_config["env_prefix"]
        values = self.model_dump(mode="json", exclude_none=True)
        return {f"{prefix}{name}".upper(): _text(value) for name, value in values.items()}


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
