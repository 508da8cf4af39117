"""Reads from Feast's settings file where the online store lies, without importing Feast."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator

from feature_repo.online.backend import Backend, StoreSettingsError


class StoreSettings(BaseModel, ABC):
    """Settings that both kinds of store share."""

    # Pydantic's errors must not repeat the settings: one of them holds a password.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    type: str
    prefix: str = "n"
    """First characters of every key."""
    keep: int = 7
    """Publications whose versions stay online; a rollback to one of them moves one value."""

    @model_validator(mode="before")
    @classmethod
    def _without_unset(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A variable that is not set in the environment is still ${NAME} in the file: its default holds.

        An address has none.
        """
        check_set(str(given.get("path", "")))
        return {name: value for name, value in given.items() if value != "" and not str(value).startswith("${")}

    def for_services(self) -> StoreSettings:
        """These settings with the short waits of a service, where the file sets none."""
        return self

    @abstractmethod
    def open(self) -> Backend:
        """The store. Raises StoreSettingsError where the address is missing."""


class SqliteSettings(StoreSettings):
    """Settings of the embedded store."""

    path: str = ""
    """The file, from the working folder where it is relative; the first publication creates it."""

    def open(self) -> Backend:
        """See StoreSettings."""
        from feature_repo.online.sqlite_backend import SqliteBackend

        if not self.path:
            raise StoreSettingsError("the online store has no path; set NIGHTRAIL_FEAST to the folder of its file")
        return SqliteBackend(Path(self.path), self.prefix.encode())


class RedisSettings(StoreSettings):
    """Settings of the store in Redis."""

    connection_string: SecretStr = SecretStr("")
    """redis://.., rediss://.. (TLS) or host:port[,password=..][,ssl=true]."""
    password: SecretStr = SecretStr("")
    """The password, where the connection string has none."""
    ca_certs: str = ""
    """File of the certificates that a TLS server is checked against; by default the system's."""
    timeout: float = 1.0
    """Seconds to wait for an answer before the request is retried."""
    connect_timeout: float = 1.0
    """Seconds to wait for a connection."""
    retries: int = 3
    """Retries of a request that a restart or fail-over broke."""
    cluster: bool = False
    """Whether it is a Redis Cluster."""

    def for_services(self) -> StoreSettings:
        """See StoreSettings. A request for a page waits as the client does by default."""
        short = {"timeout": 0.2, "connect_timeout": 0.2, "retries": 1}
        return self.model_copy(update={k: v for k, v in short.items() if k not in self.model_fields_set})

    def open(self) -> Backend:
        """See StoreSettings. The first request connects."""
        from feature_repo.online.redis_backend import RedisBackend, redis_client

        address = self.connection_string.get_secret_value()
        if not address:
            raise StoreSettingsError(
                "there is no connection to Redis; set NIGHTRAIL_REDIS to redis://host:6379/0, or rediss:// for TLS"
            )
        given = {"password": self.password.get_secret_value(), "ssl_ca_certs": self.ca_certs}
        options = {name: value for name, value in given.items() if value}
        client = redis_client(address, self.timeout, self.connect_timeout, self.retries, self.cluster, **options)
        return RedisBackend(client, self.prefix.encode())


def check_set(path: str) -> None:
    """Raise StoreSettingsError where a path holds a variable that the environment has not: it would name a folder."""
    unset = re.search(r"\$\{?(\w+)", path)
    if unset:
        raise StoreSettingsError(
            f"{unset[1]} is not set, which Feast's settings need for {path}; set it to a folder, as in "
            f"{unset[1]}=var/lakes/sample/feast"
        )


KINDS: dict[str, type[StoreSettings]] = {
    "feature_repo.online.feast_store.NightSqliteOnlineStore": SqliteSettings,
    "feature_repo.online.feast_store.NightRedisOnlineStore": RedisSettings,
}


def store_settings(file: Path) -> StoreSettings:
    """The `online_store` section of Feast's settings, ${..} expanded from the environment as Feast expands it.

    Raises StoreSettingsError for a store of another type and for a setting that is unknown or has a wrong value.
    """
    plain = yaml.safe_load(os.path.expandvars(file.read_text("utf-8"))).get("online_store") or {}
    kind = plain.get("type") if isinstance(plain, dict) else plain
    if kind not in KINDS:
        raise StoreSettingsError(
            f"{file} names the online store {kind}; nights can be published to the two of "
            "feature_repo/feature_store.yaml and feature_repo/redis.yaml"
        )
    try:
        return KINDS[kind](**plain)
    except ValidationError as error:
        raise StoreSettingsError(f"{file}: {error}") from None
