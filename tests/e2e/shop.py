"""The simulator's bookshop as the tests define it."""

import json

KEY = "sim-bookshop-key"


def definition(sim, **members):
    """A source file of the bookshop with two collections; `members` replace its own."""

    def listing(name, columns):
        return {
            "name": name,
            "path": f"/{name}",
            "records": "/data",
            "primary_key": ["id"],
            "by_key": f"/{name}/{{id}}",
            "pages": {"style": "page_number", "param": "page", "total_pages": "/total_pages", "size_param": "per_page", "size": 100},
            "cursor": {"field": "updated_at", "param": "updated_since", "overlap_seconds": 60},
            "deletes": {"style": "rule", "any": [{"field": "deleted_at", "set": True}]},
            "columns": [{"name": n, "type": t} for n, t in columns.items()],
        }

    return {
        "source": "bookshop",
        "title": "Bookshop",
        "docs": "https://api.bookshop.example/docs",
        "base_url": sim.url("bookshop") + "/v1",
        "auth": {"style": "bearer", "secret": "api_key", "credentials": [{"name": "api_key", "help": "Profile."}]},
        "error_message": ["/error/message"],
        "check_path": "/ping",
        "collections": [
            listing("books", {"id": "bigint", "title": "text", "author_id": "bigint", "updated_at": "timestamptz"}),
            listing("orders", {"id": "text", "book_id": "bigint", "copies": "integer", "updated_at": "timestamptz"}),
        ],
        **members,
    }


def define(session, file):
    """The rows of cloudsync_define_source."""
    return session.rows("SELECT * FROM cloudsync_define_source(%s::jsonb)", json.dumps(file))


def connect(session, sim, name="shop", source="bookshop", credentials=None, define_it=True, **options):
    """A server of the bookshop with all its tables; defines it first, unless told not to."""
    if define_it:
        define(session, definition(sim))
    secrets = {"api_key": KEY} if credentials is None else credentials
    given = {"requests_per_second": "0", **options}
    return session.rows(
        "SELECT * FROM cloudsync_connect(%s, %s, %s::jsonb, %s::jsonb)", name, source, json.dumps(secrets), json.dumps(given)
    )
