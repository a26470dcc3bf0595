"""The adapter of downloads: connections that send a link as text."""

from functools import cache
from typing import Any

from urllib3 import HTTPConnectionPool
from urllib3.poolmanager import PoolManager

from airflow_provider_seedream.hooks.link_text import AsWritten
from airflow_provider_seedream.hooks.tls import SharedTrust


class ExactTargets(SharedTrust):
    """Mount it for both schemes."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _equip(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return _equip(super().proxy_manager_for(proxy, **options))


def _equip(manager: PoolManager) -> PoolManager:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _equipped(pool) for scheme, pool in pools.items()}
    return manager


@cache
def _equipped(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    if issubclass(pool.ConnectionCls, AsWritten):
        return pool
    connection = type(pool.ConnectionCls.__name__, (AsWritten, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})
