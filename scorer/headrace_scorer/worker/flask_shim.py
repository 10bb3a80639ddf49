"""A request and a response with the attributes of Flask's, for interpreters without Flask.

Every worker imports this module and few use it, so it imports parsers where they are needed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Dict, List, Tuple
from urllib.parse import parse_qsl

Pairs = List[Tuple[str, str]]


class MultiDict(Dict[str, Any]):
    """The first value of each key; `getlist` gives all."""

    def __init__(self, pairs: Any) -> None:
        super().__init__()
        self._all: dict[str, list[Any]] = {}
        for name, value in pairs:
            self._all.setdefault(name, []).append(value)
            self.setdefault(name, value)

    def getlist(self, key: str) -> list[Any]:
        return list(self._all.get(key, ()))

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        return dict(self) if flat else dict(self._all)


class Headers:
    """An ordered multi-map whose names are compared without case."""

    def __init__(self, pairs: Any = ()) -> None:
        self._pairs: Pairs = [(str(name), str(value)) for name, value in pairs]

    def __getitem__(self, name: str) -> str:
        for one, value in self._pairs:
            if one.lower() == name.lower():
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.remove(name)
        self.add(name, value)

    def __contains__(self, name: object) -> bool:
        return any(one.lower() == str(name).lower() for one, _ in self._pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, name: str, default: Any = None) -> Any:
        found = self.getlist(name)
        return found[0] if found else default

    def getlist(self, name: str) -> list[str]:
        return [value for one, value in self._pairs if one.lower() == name.lower()]

    get_all = getlist

    def add(self, name: str, value: Any) -> None:
        self._pairs.append((name, str(value)))

    add_header = add
    set = __setitem__

    def remove(self, name: str) -> None:
        self._pairs = [pair for pair in self._pairs if pair[0].lower() != name.lower()]

    def keys(self) -> list[str]:
        return [name for name, _ in self._pairs]

    def values(self) -> list[str]:
        return [value for _, value in self._pairs]

    def items(self) -> Pairs:
        return list(self._pairs)


class File(io.BytesIO):
    """One uploaded file of a multipart body."""

    def __init__(self, data: bytes, name: str, filename: str, content_type: str) -> None:
        super().__init__(data)
        self.name = name
        self.filename = filename
        self.content_type = self.mimetype = content_type
        self.stream = self

    def save(self, target: Any) -> None:
        if hasattr(target, "write"):
            target.write(self.getvalue())
            return
        with open(target, "wb") as file:
            file.write(self.getvalue())


class Request:
    """What `@rawhttp` hands to `run` when Flask is not in the user's environment."""

    def __init__(
        self, method: str = "GET", path: str = "/", query: str = "", headers: Any = (),
        body: bytes = b"",
    ) -> None:  # fmt: skip
        self.method = method
        self.path = path
        self.query_string = query.encode()
        self.headers = Headers(headers)
        self.args = MultiDict(parse_qsl(query, keep_blank_values=True))
        self.stream = io.BytesIO(body)
        self._body = body
        self._parsed: tuple[MultiDict, MultiDict] | None = None

    @property
    def content_type(self) -> str | None:
        return self.headers.get("Content-Type")  # type: ignore[no-any-return]

    @property
    def mimetype(self) -> str:
        return (self.content_type or "").split(";")[0].strip().lower()

    @property
    def content_length(self) -> int:
        return len(self._body)

    @property
    def full_path(self) -> str:
        return self.path + "?" + self.query_string.decode()

    @property
    def host(self) -> str:
        return self.headers.get("Host", "localhost")  # type: ignore[no-any-return]

    @property
    def base_url(self) -> str:
        return "http://" + self.host + self.path

    @property
    def url(self) -> str:
        return "http://" + self.host + (self.full_path if self.query_string else self.path)

    @property
    def cookies(self) -> dict[str, str]:
        import http.cookies

        jar = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        return {name: morsel.value for name, morsel in jar.items()}

    @property
    def data(self) -> bytes:
        """Empty when the body was a form, as in Flask."""
        return b"" if is_form(self.mimetype) else self._body

    def get_data(
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> Any:
        return self._body.decode("utf-8", "replace") if as_text else self._body

    @property
    def is_json(self) -> bool:
        return is_json(self.mimetype)

    @property
    def json(self) -> Any:
        return self.get_json()

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Raises ValueError when the body is not JSON; None when it does not say it is."""
        if not (force or self.is_json):
            return None
        try:
            return json.loads(self._body)
        except ValueError:
            if silent:
                return None
            raise

    @property
    def form(self) -> MultiDict:
        return self._forms()[0]

    @property
    def files(self) -> MultiDict:
        return self._forms()[1]

    @property
    def values(self) -> MultiDict:
        return MultiDict([*self.args.items(), *self.form.items()])

    def _forms(self) -> tuple[MultiDict, MultiDict]:
        if self._parsed is None:
            fields: list[tuple[str, str]] = []
            files: list[tuple[str, File]] = []
            if self.mimetype == "multipart/form-data":
                _multipart(self.content_type or "", self._body, fields, files)
            elif self.mimetype == "application/x-www-form-urlencoded":
                fields = parse_qsl(self._body.decode("utf-8", "replace"), keep_blank_values=True)
            self._parsed = MultiDict(fields), MultiDict(files)
        return self._parsed


class Response:
    """What a script may return when Flask is not in its environment."""

    def __init__(
        self, response: Any = b"", status: int = 200, headers: Any = (), mimetype: str = "",
        content_type: str = "",
    ) -> None:  # fmt: skip
        self.response = response
        self.status_code = int(status)
        self.headers = Headers(headers)
        kind = content_type or mimetype or "text/html"
        if kind.startswith("text/") and "charset" not in kind:
            kind += "; charset=utf-8"
        self.headers["Content-Type"] = kind

    @property
    def is_streamed(self) -> bool:
        return not isinstance(self.response, (str, bytes, bytearray, list, tuple))

    @property
    def data(self) -> bytes:
        return bytes(self.get_data())

    def get_data(self, as_text: bool = False) -> Any:
        parts = self.response
        if isinstance(parts, (str, bytes, bytearray)):
            parts = [parts]
        return b"".join(one.encode() if isinstance(one, str) else bytes(one) for one in parts)


def is_form(mimetype: str) -> bool:
    return mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")


def is_json(mimetype: str) -> bool:
    return mimetype == "application/json" or (
        mimetype.startswith("application/") and mimetype.endswith("+json")
    )


def _multipart(
    content_type: str, body: bytes, fields: list[tuple[str, str]], files: list[tuple[str, File]]
) -> None:
    import email.parser
    import email.policy

    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    for part in message.iter_parts() if message.is_multipart() else ():
        name = str(part.get_param("name", "", header="content-disposition"))
        data = part.get_payload(decode=True) or b""
        filename = part.get_filename()
        if filename is None:
            fields.append((name, bytes(data).decode("utf-8", "replace")))
        else:
            kind = part.get_content_type()
            files.append((name, File(bytes(data), name, filename, kind)))
