"""Makes the JSON texts that the benches read: the same bytes on every machine, kept in a scratch directory.

    json_inputs.py                 makes all of them and prints name, length, sha256 and path
    json_inputs.py twitter table   makes these
    json_inputs.py --digests       prints what belongs into json_inputs.sha256, after an input was changed on purpose

What an input holds is decided by splitmix64 and by arithmetic that is exact in doubles, so no version of Python or
numpy changes a byte. `json_inputs.sha256` has their digests, and a text that differs from its own is an error.

`twitter`, `citm_catalog` and `canada` are lookalikes of the files the world compares with: the same members, nesting,
white space, kinds and number of values and length of numbers, with contents of our own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EMBEDDINGS, DIMENSIONS = 9_000, 1_024
RECORDS = 700_000
COLUMNS = ("id", "price", "quantity", "latency", "active")
"""The five columns of the table that are taken out, of the seven it has."""
TEXT_COLUMNS = ("region", "name")
"""The other two."""
PART_BYTES = 48 << 20
"""What the file part holds; as base64 it is 64 MiB of text."""
REQUEST_ID = 7_041
"""The id at the end of every message envelope."""

_WORDS = (
    "agent", "tool", "result", "the", "of", "weather", "in", "a", "station", "report", "measured", "forecast", "and",
    "wind", "pressure", "rises", "towards", "evening", "with", "rain", "café", "Zürich", 'said "so"', "line\n", "tab\t",
    "東京", "天気", "☂", "path\\to", "0.5", "per", "hour", "is", "expected", "by", "source", "number", "seven", "to",
    "be", "checked", "again", "before", "noon", "local", "time", "https://example.org/a?b=c", "see", "also", "note",
)  # fmt: skip

_DIGESTS_FILE = Path(__file__).with_name("json_inputs.sha256")


# --- randomness -------------------------------------------------------------------------------------------------------


def splitmix(seed: int, count: int, *, start: int = 0) -> npt.NDArray[np.uint64]:
    """`count` words of splitmix64 from `seed`, from the word at `start` on."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


class Dice:
    """Whole numbers, one after the other."""

    def __init__(self, seed: int) -> None:
        self._words = self._stream(seed)

    @staticmethod
    def _stream(seed: int) -> Iterator[int]:
        block = 1 << 16
        start = 0
        while True:
            yield from splitmix(seed, block, start=start).tolist()
            start += block

    def below(self, bound: int) -> int:
        """A number from 0 to `bound - 1`."""
        return next(self._words) % bound

    def words(self, count: int) -> str:
        """A sentence."""
        return " ".join(_WORDS[self.below(len(_WORDS))] for _ in range(count))

    def sentences(self, count: int) -> str:
        """A text of sentences of eight words each."""
        return ". ".join(_sentences()[self.below(512)] for _ in range(count))

    def hexadecimal(self, digits: int) -> str:
        """An identifier."""
        return f"{self.below(16**digits):0{digits}x}"


@cache
def _sentences() -> list[str]:
    dice = Dice(40)
    return [dice.words(8) for _ in range(512)]


def compact(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- the inputs -------------------------------------------------------------------------------------------------------


def message(dice: Dice, number: int, sentences: int) -> dict[str, Any]:
    """One A2A message: a text of so many sentences and up to half as many again, a data part, metadata."""
    return {
        "kind": "message",
        "role": ("user", "agent")[number % 2],
        "messageId": f"{dice.hexadecimal(8)}-{dice.hexadecimal(4)}-{dice.hexadecimal(12)}",
        "parts": [
            {"kind": "text", "text": dice.sentences(sentences + dice.below(sentences // 2 + 1))},
            {
                "kind": "data",
                "data": {
                    "station": dice.words(1),
                    "step": number,
                    "temperature": (dice.below(60_000) - 20_000) / 1000,
                    "readings": [dice.below(2048) for _ in range(dice.below(6))],
                    "valid": dice.below(4) > 0,
                    "remark": None if dice.below(3) else dice.words(4),
                },
            },
        ],
        "metadata": {"traceId": dice.hexadecimal(15), "tokens": dice.below(4096), "model": "m-2"},
    }


def messages(length: int, sentences: int = 26) -> bytes:
    """A JSON-RPC reply of about `length` bytes: a task with its history; the id is the last member.

    With 26 sentences a message has nearly 2 KB, and a value or a name is there for each 48 bytes.
    """
    dice = Dice(41)
    head = b'{"jsonrpc":"2.0","result":{"kind":"task","id":"task-1","contextId":"context-1","history":['
    tail = b'],"status":{"state":"completed","timestamp":"2026-01-01T00:00:00Z"}},"id":%d}' % REQUEST_ID
    parts: list[bytes] = []
    left = length - len(head) - len(tail)
    while left > 0:
        part = compact(message(dice, len(parts), sentences))
        parts.append(part)
        left -= len(part) + 1
    return head + b",".join(parts) + tail


@cache
def embedding_values() -> npt.NDArray[np.float64]:
    """The numbers of `embeddings`, to the last bit: eight decimals divide exactly as their text is read."""
    words = splitmix(42, EMBEDDINGS * DIMENSIONS)
    scaled = (words % np.uint64(20_000_001)).astype(np.int64) - 10_000_000
    return (scaled / 1e8).reshape(EMBEDDINGS, DIMENSIONS)


def embeddings() -> bytes:
    """9,000 vectors of 1,024 numbers, beside a name."""
    rows = (b"[" + ",".join(map(repr, row.tolist())).encode() + b"]" for row in embedding_values())
    return b'{"model":"embed-3","embeddings":[' + b",".join(rows) + b"]}"


def table_columns() -> dict[str, npt.NDArray[Any]]:
    """The numbers of `table`, by column."""
    words = splitmix(43, RECORDS * 4).reshape(4, RECORDS)
    price, quantity, latency, active = (words[row] for row in range(4))
    return {
        "id": np.arange(1_000_000, 1_000_000 + RECORDS, dtype=np.int64),
        "price": (price % np.uint64(1_000_000)).astype(np.int64) / 100,
        "quantity": (quantity % np.uint64(10_000)).astype(np.int64),
        "latency": (latency % np.uint64(100_000_000)).astype(np.int64) / 1000,
        "active": active % np.uint64(3) != 0,
    }


def table() -> bytes:
    """700,000 records with a number, a boolean or a text in each of seven members."""
    columns = table_columns()
    rows = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
    texts = (
        f'{{"id":{id_},"region":"{_REGIONS[id_ % 7]}","price":{price!r},"quantity":{quantity},"latency":{latency!r},'
        f'"active":{"true" if active else "false"},"name":"agent number {id_} of the table"}}'
        for id_, price, quantity, latency, active in rows
    )
    return ("[" + ",".join(texts) + "]").encode()


def table_texts() -> dict[str, list[str]]:
    """The texts of `table`, by column."""
    ids = range(1_000_000, 1_000_000 + RECORDS)
    return {
        "region": [_REGIONS[id_ % 7] for id_ in ids],
        "name": [f"agent number {id_} of the table" for id_ in ids],
    }


_REGIONS = ("eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1", "sa-east-1")


def part_bytes() -> bytes:
    """What the file part of `base64` holds."""
    return splitmix(44, PART_BYTES // 8).astype("<u8").tobytes()


def base64() -> bytes:
    """An A2A reply with a file part of 64 MiB of base64 text."""
    head = (
        b'{"jsonrpc":"2.0","result":{"kind":"message","role":"agent","messageId":"m1","parts":[{"kind":"file",'
        b'"file":{"name":"table.bin","mimeType":"application/octet-stream","bytes":"'
    )
    return head + b64encode(part_bytes()) + b'"}}]},"id":%d}' % REQUEST_ID


def twitter() -> bytes:
    """As twitter.json: a search result of 100 posts in Japanese, indented by two blanks."""
    dice = Dice(45)

    def user() -> dict[str, Any]:
        number = dice.below(1 << 31)
        texts = {"name": _japanese(dice, 6), "screen_name": f"user_{number}", "location": _japanese(dice, 4)}
        flags = ("protected", "geo_enabled", "verified", "contributors_enabled", "is_translator", "following",
                 "is_translation_enabled", "profile_background_tile", "profile_use_background_image",
                 "default_profile", "default_profile_image", "follow_request_sent", "notifications")  # fmt: skip
        counts = ("followers_count", "friends_count", "listed_count", "favourites_count", "statuses_count")
        colours = ("profile_background_color", "profile_link_color", "profile_sidebar_border_color",
                   "profile_sidebar_fill_color", "profile_text_color")  # fmt: skip
        pictures = ("profile_background_image_url", "profile_background_image_url_https", "profile_image_url",
                    "profile_image_url_https", "profile_banner_url")  # fmt: skip
        return (
            {"id": number, "id_str": str(number), **texts, "description": _japanese(dice, 60), "url": None}
            | {"entities": {"description": {"urls": []}}, "created_at": "Sun Aug 31 00:29:15 +0000 2014"}
            | {name: dice.below(10_000) for name in counts}
            | {"utc_offset": None, "time_zone": None, "lang": "ja"}
            | {name: dice.below(2) == 1 for name in flags}
            | {name: dice.hexadecimal(6).upper() for name in colours}
            | {name: f"http://example.org/images/{number}/{name}.png" for name in pictures}
        )

    def mention() -> dict[str, Any]:
        number = dice.below(1 << 31)
        return {"screen_name": f"user_{number}", "name": _japanese(dice, 5), "id": number, "id_str": str(number),
                "indices": [dice.below(10), 10 + dice.below(10)]}  # fmt: skip

    def status(nested: bool) -> dict[str, Any]:
        number = 505_874_000_000_000_000 + dice.below(1 << 40)
        return (
            {"metadata": {"result_type": "recent", "iso_language_code": "ja"}}
            | {"created_at": "Sun Aug 31 00:29:15 +0000 2014", "id": number, "id_str": str(number)}
            | {"text": _japanese(dice, 70), "source": '<a href="http://example.org" rel="nofollow">client</a>'}
            | {"truncated": False, "in_reply_to_status_id": None, "in_reply_to_user_id": None, "user": user()}
            | {"geo": None, "coordinates": None, "place": None, "contributors": None}
            | ({"retweeted_status": status(False)} if nested else {})
            | {"retweet_count": dice.below(100), "favorite_count": dice.below(100)}
            | {"entities": {"hashtags": [], "symbols": [], "urls": [], "user_mentions": [mention()]}}
            | {"favorited": False, "retweeted": False, "lang": "ja"}
        )

    found = {"statuses": [status(number % 4 != 3) for number in range(100)]}
    found["search_metadata"] = {"completed_in": 0.087, "count": 100, "query": "%E4%B8%80", "since_id": 0}  # type: ignore[assignment]
    return json.dumps(found, ensure_ascii=False, indent=2).encode()


def _japanese(dice: Dice, length: int) -> str:
    return "".join(
        chr(0x3041 + dice.below(86)) if dice.below(3) else chr(0x4E00 + dice.below(2000)) for _ in range(length)
    )


def citm_catalog() -> bytes:
    """As citm_catalog.json: concerts with their prices and seats, names by number, indented by four blanks."""
    dice = Dice(46)

    def numbers(count: int) -> list[int]:
        return [205_700_000 + dice.below(100_000) for _ in range(count)]

    def performance(number: int) -> dict[str, Any]:
        categories = numbers(1 + number % 8)
        return {
            "eventId": 138_586_000 + number,
            "id": 138_590_000 + number,
            "logo": f"/images/{number}.jpg" if number % 8 == 0 else None,
            "name": None,
            "prices": [
                {"amount": 500 * (1 + dice.below(400)), "audienceSubCategoryId": 337100890, "seatCategoryId": category}
                for category in categories
            ],
            "seatCategories": [
                {
                    "areas": [{"areaId": area, "blockIds": []} for area in numbers(5 + dice.below(6))],
                    "seatCategoryId": category,
                }
                for category in categories
            ],
            "seatMapImage": None,
            "start": 1_372_701_600_000 + 86_400_000 * number,
            "venueCode": "PLEYEL_PLEYEL",
        }

    def event(number: int) -> dict[str, Any]:
        named = {"description": None, "id": number, "logo": None, "name": dice.words(4)}
        return named | {"subTopicIds": numbers(3), "subjectCode": None, "subtitle": None, "topicIds": numbers(2)}

    catalog = {
        "areaNames": {str(number): dice.words(2) for number in numbers(17)},
        "audienceSubCategoryNames": {"337100890": "Abonné"},
        "blockNames": {},
        "events": {str(number): event(number) for number in range(138_586_000, 138_586_184)},
        "performances": [performance(number) for number in range(243)],
        "seatCategoryNames": {str(number): dice.words(2) for number in numbers(64)},
        "subTopicNames": {str(number): dice.words(1) for number in numbers(19)},
        "topicNames": {str(number): dice.words(2) for number in numbers(4)},
        "venueNames": {"PLEYEL_PLEYEL": "Salle Pleyel"},
    }
    return json.dumps(catalog, ensure_ascii=False, indent=4).encode()


def canada() -> bytes:
    """As canada.json: 480 rings of 111,126 numbers of up to 17 digits."""
    dice = Dice(47)

    def ring(points: int) -> list[list[float]]:
        # A sixteenth or seventeenth digit, as in the original, comes of dividing by what is no power of ten.
        return [[-65 - dice.below(70 << 40) / (1 << 40), 43 + dice.below(40 << 40) / (1 << 40)] for _ in range(points)]

    lengths = [24 + dice.below(184) for _ in range(480)]
    land = {"type": "Polygon", "coordinates": [ring(length) for length in lengths]}
    feature = {"type": "Feature", "properties": {"name": "Canada"}, "geometry": land}
    return compact({"type": "FeatureCollection", "features": [feature]})


MAKERS: dict[str, Callable[[], bytes]] = {
    "messages-1KB": lambda: messages(1_000, sentences=4),
    "messages-16KB": lambda: messages(16_000, sentences=8),
    "messages-64KB": lambda: messages(64_000, sentences=8),
    "messages-10MB": lambda: messages(10_000_000),
    "messages-100MB": lambda: messages(100_000_000),
    "embeddings": embeddings,
    "table": table,
    "base64": base64,
    "twitter": twitter,
    "citm_catalog": citm_catalog,
    "canada": canada,
}


# --- their files ------------------------------------------------------------------------------------------------------


def directory() -> Path:
    """Where the inputs are kept: `MCPGATEWAY_BENCH_INPUTS`, or a directory of this user among the temporary files."""
    named = os.environ.get("MCPGATEWAY_BENCH_INPUTS")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"mcpgateway-rust-inputs-{os.getuid()}"


def digests() -> dict[str, str]:
    """The sha256 that each input has to have, by name."""
    lines = _DIGESTS_FILE.read_text().splitlines() if _DIGESTS_FILE.exists() else []
    return {name: digest for digest, name in (line.split() for line in lines)}


def path(name: str) -> Path:
    """The file of an input, made if it is not there.

    Raises:
        RuntimeError: What was made is not what was made where the digests were written down.
    """
    expected = digests().get(name, "unknown")
    # A name of its own for each content: a file from an earlier form of an input is never taken for it.
    kept = directory() / f"{name}-{expected[:16]}.json"
    if kept.exists():
        return kept
    text = MAKERS[name]()
    digest = hashlib.sha256(text).hexdigest()
    if digest != expected:
        raise RuntimeError(f"the input {name} has the sha256 {digest}, and {_DIGESTS_FILE.name} says {expected}")
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(text)
    unfinished.rename(kept)
    return kept


def main() -> None:
    """Make the inputs that the command line names, or all."""
    if sys.argv[1:] == ["--digests"]:
        for name, make in MAKERS.items():
            print(f"{hashlib.sha256(make()).hexdigest()}  {name}")
        return
    asked = sys.argv[1:] or list(MAKERS)
    unknown = [name for name in asked if name not in MAKERS]
    if unknown:
        sys.exit(f"no input named {', '.join(unknown)}: there are {', '.join(MAKERS)}")
    for name in asked:
        made = path(name)
        print(f"{name:16} {made.stat().st_size:>11,}  {digests()[name]}  {made}")


if __name__ == "__main__":
    main()
