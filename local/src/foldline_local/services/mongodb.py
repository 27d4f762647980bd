"""MongoDB as a one-node replica set, because transactions and majority writes exist only in one."""

from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from foldline_local.artifacts import Layout
from foldline_local.config import Settings
from foldline_local.probes import NotReady
from foldline_local.program import Program, Service

REPLICA_SET = "rs0"
NOT_YET_INITIALISED = 94
CACHE_GIB = "0.25"  # the smallest that the storage engine takes


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    return Service(
        _program(settings, layout),
        ready=lambda: _ready(settings),
        provision=lambda: _await_primary(settings),
    )


def _program(settings: Settings, layout: Layout) -> Program:
    port, data = settings.ports["mongodb"], settings.data / "mongodb"
    argv = [
        str(layout.mongodb / "bin/mongod"),
        "--bind_ip",
        settings.bind,
        "--port",
        str(port),
        "--dbpath",
        str(data),
    ]
    argv += [
        "--replSet",
        REPLICA_SET,
        "--oplogSize",
        "256",
        "--wiredTigerCacheSizeGB",
        CACHE_GIB,
        "--nounixsocket",
    ]
    argv += ["--quiet", "--setParameter", "diagnosticDataCollectionEnabled=false"]
    return Program(
        name="mongodb",
        argv=tuple(argv),
        address=f"{settings.host}:{port}",
        ports={"mongodb": port},
        directories=(data,),
        stop_seconds=60,
    )


def _client(settings: Settings) -> pymongo.MongoClient[dict[str, Any]]:
    return pymongo.MongoClient(
        settings.host,
        settings.ports["mongodb"],
        directConnection=True,
        serverSelectionTimeoutMS=2000,
    )


def _ready(settings: Settings) -> None:
    """Answering, and the only member of a set that knows it by its present address."""
    with _client(settings) as client:
        _configure(client, f"{settings.host}:{settings.ports['mongodb']}")


def _configure(client: pymongo.MongoClient[dict[str, Any]], address: str) -> None:
    """Initiate the set, or rename its member after the stack moved to another port: its data stays."""
    wanted = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]}
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALISED:
            raise
        client.admin.command("replSetInitiate", wanted)
        return
    if config["members"][0]["host"] != address:
        config["members"][0]["host"] = address
        client.admin.command("replSetReconfig", config, force=True)


def _await_primary(settings: Settings) -> None:
    with _client(settings) as client:
        if not client.admin.command("hello")["isWritablePrimary"]:
            raise NotReady("the replica set has no primary yet")
