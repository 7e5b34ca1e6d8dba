"""Loads one collection with dlt's REST source, in a venv of its own: python peer_dlt.py '{"..."}' prints one JSON line.

Set up as well as we know for speed: rows go by CSV and COPY, nested objects stay JSON as in our tables, nothing is
compared or merged, and starting Python and importing dlt is not counted.
"""

import json
import logging
import os
import sys
import time

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION"] = "true"

import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402


def source(base_url: str, collection: str):
    return rest_api_source(
        {
            "client": {
                "base_url": f"{base_url}/v1/",
                "auth": {"type": "bearer", "token": "sk_live_bench"},
                "headers": {"Stripe-Version": "2024-06-20"},
                "paginator": {
                    "type": "cursor",
                    "cursor_path": "data[-1].id",
                    "cursor_param": "starting_after",
                    "has_more_path": "has_more",
                },
            },
            "resources": [
                {
                    "name": collection,
                    "primary_key": "id",
                    "write_disposition": "append",
                    "max_table_nesting": 0,
                    "endpoint": {"path": collection, "params": {"limit": 100}, "data_selector": "data"},
                }
            ],
        }
    )


def main() -> None:
    given = json.loads(sys.argv[1])
    logging.disable(logging.WARNING)
    pipeline = dlt.pipeline(
        pipeline_name=given["dataset"],
        pipelines_dir=given["directory"],
        destination=dlt.destinations.postgres(credentials=given["credentials"]),
        dataset_name=given["dataset"],
    )
    started = time.perf_counter()
    done = pipeline.run(source(given["base_url"], given["collection"]), loader_file_format="csv")
    seconds = time.perf_counter() - started
    done.raise_on_failed_jobs()
    print(json.dumps({"seconds": seconds, "version": dlt.__version__}))


if __name__ == "__main__":
    main()
