"""What a PostgreSQL connection needs before our statements mean there what they mean in SQLite."""

import json
from typing import Any

import orjson
from psycopg.adapt import Dumper


class Text(Dumper):
    """Its texts have no U+0000 and no halves of surrogate pairs, which a model's answer, or a client, may hold."""

    def dump(self, value: str) -> bytes:
        return value.replace("\0", "\ufffd").encode("utf-8", "replace")


def to_json(document: Any) -> str:
    """Its JSON has no NaN and no infinity: they become null."""
    try:
        return json.dumps(document, allow_nan=False)
    except ValueError:
        return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def prepare(connection: Any, _record: Any) -> None:
    """In UTC, because a moment late in the year 9999 cannot be read in a zone east of it."""
    connection.driver_connection.adapters.register_dumper(str, Text)
    cursor = connection.cursor()
    cursor.execute("SET TIME ZONE 'UTC'")
    cursor.close()
    connection.commit()
