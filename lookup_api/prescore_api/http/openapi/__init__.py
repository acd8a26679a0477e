"""The OpenAPI document of the API. Tests compare it with the route table and with the server's responses."""

from prescore_api.http.openapi.document import document

__all__ = ["document"]
