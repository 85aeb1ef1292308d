#!/usr/bin/python3
"""A Tipt client for daily use: what docs/protocol.md, section 7, asks of one.

    tipt_chat.py ME TO      send each line typed to TO, print what arrives

It is tipt_client.py, see there, with a connection that is made again when it is lost.
The password is asked for or, where standard input is no terminal, is its first line.
A program that starts it may set variables instead: TIPT_URL (wss://NODE/ws), TIPT_USER,
TIPT_PASS and TIPT_TO, TIPT_CA for --ca and TIPT_CONNECT for --connect. With these,
`tipt conform --client --run tipt_chat.py` tests it.

It keeps its token and the keys of others in memory alone. It asks for TO's key before
each message, so that none is sealed to one that has been replaced. When that key has another
primary key, or is gone, nothing more is sent: ask TO by another way, and start anew to accept
it. So it does also where the old key has certified the new one; of a node's new key that the old one
has not certified it only warns.
"""

import argparse
import asyncio
import collections
import getpass
import os
import random
import sys
import urllib.parse

import tipt_client as tipt  # first: it says which packages are missing
import websockets

LONGEST = 2_000_000  # bytes of a line that are read; a message holds less
TOO_LONG = tipt.Failure(f"a line of more than {LONGEST} bytes")
UNREACHABLE = 0x21, 0x22  # NODE_UNREACHABLE, NODE_TIMEOUT
STAY_AWAY = {4001: "this device has signed in elsewhere", 4002: "this device was signed out"}


class Chat:
    """What outlives a connection."""

    def __init__(self, options, password, lines):
        self.options, self.lines = options, lines
        self.user = options.me.partition("@")[0]
        self.secret = {"pass": password}  # then the token
        self.device = "python-" + os.urandom(4).hex()
        self.seen = collections.deque(maxlen=10_000)  # messages may come more than once
        self.keys = {}  # node -> certificate
        self.to_key = None  # the recipient's certificate
        self.pins = {}  # node or user -> certificate with the primary key that counts
        self.sending = None  # (mid, text) of what has no answer yet
        self.suspicions = 0  # closes for which that may be to blame

    async def run(self):
        """Keep a connection until the input has ended and all of it is sent."""
        loop = asyncio.get_running_loop()
        longest = 1  # seconds
        while True:
            connection, wait, born = None, 0, loop.time()
            try:
                connection = await tipt.connect(self.options)
                await self.use(connection)
                return
            except websockets.InvalidStatusCode as error:
                wait = seconds(error.headers.get("Retry-After"))
                why = error
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
                why = error
            finally:
                if connection:
                    await connection.close()
            if connection:
                wait = connection.going_away
                self.after(connection.socket.close_code)
            if "tok" not in self.secret:
                raise why  # it has never worked: somebody has to look
            if loop.time() - born > longest:
                longest = 1
            print("not connected:", why, file=sys.stderr)
            await asyncio.sleep(wait + random.uniform(0, longest))
            longest = min(2 * longest, 300)

    def after(self, code):
        """Draw conclusions from how a connection ended."""
        if code in STAY_AWAY:
            sys.exit(STAY_AWAY[code])
        if code in (1002, 1009) and self.sending:
            self.suspicions += 1
            if self.suspicions == 2:
                self.give_up(f"closed with {code}, again")

    def give_up(self, why):
        print(f"not sent: {self.sending[1]!r}: {why}", file=sys.stderr)
        self.sending = None

    async def use(self, connection):
        answer = await connection.request(tipt.HANDSHAKE, keys=tipt.COMPATIBLE)
        if not answer["comp"]:
            sys.exit(f"the node speaks only version {answer['ver']}")
        answer = await connection.request(
            tipt.SIGN_IN, {"user": self.user, "dev": self.device, **self.secret},
            tipt.SIGNED_IN)
        if "tok" in answer:
            self.secret = {"tok": answer["tok"]}
        receiving = asyncio.create_task(self.receive(connection))
        sending = asyncio.create_task(self.send_lines(connection))
        try:
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            both = receiving, sending
            for task in both:
                task.cancel()
            ends = await asyncio.gather(*both, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def receive(self, connection):
        while request := await connection.requests.get():
            name = tipt.name_of(request)
            if name not in self.seen:
                self.seen.append(name)
                print(tipt.told(request), flush=True)
                if request["reqt"] == tipt.RETURN:
                    self.keys.pop(request["body"]["node"], None)  # it may be why
            await connection.respond(request)  # it is safe: on the screen
        raise ConnectionError(f"closed with {connection.socket.close_code}")

    async def send_lines(self, connection):
        while True:
            if self.sending is None:
                try:
                    line = await self.lines.readline()
                except tipt.Failure as error:
                    print("not sent:", error, file=sys.stderr)
                    continue
                if not line:
                    return
                if not line.strip():
                    continue
                self.sending, self.suspicions = (tipt.message_id(), line.decode().rstrip("\n")), 0
            try:
                await self.send(connection, *self.sending)
                self.sending = None
            except tipt.TiptError as error:
                if error.code == tipt.BUSY:
                    await asyncio.sleep(error.wait + random.uniform(0, 1))
                else:
                    self.give_up(error)
            except tipt.Failure as error:
                self.give_up(error)

    async def send(self, connection, mid, text):
        to, _, node = self.options.to.partition("@")
        await self.ask_key(connection, node)
        sealed = tipt.sealed_message(
            await self.key(connection, node), to, mid, tipt.content(text, self.to_key))
        await connection.request(
            tipt.FORWARD, {"node": node, "wait": False, "msg": sealed, "ref": mid})

    async def key(self, connection, node):
        """The certificate of a node: fetched once, and anew when something came back."""
        if node not in self.keys:
            key = await tipt.node_key(connection, node, new=node in self.pins)
            self.pin(node, key)
            self.keys[node] = key
        return self.keys[node]

    async def ask_key(self, connection, node):
        """Ask for the recipient's certificate."""
        to = self.options.to
        try:
            key = await tipt.user_key(connection, await self.key(connection, node), to)
        except tipt.TiptError as error:
            if error.code in UNREACHABLE and to in self.pins:
                return  # the one that is known has to do
            if error.code != tipt.CANNOT_OPEN:
                raise
            del self.keys[node]  # the node has another one now
            key = await tipt.user_key(connection, await self.key(connection, node), to)
        change = self.changed(to, key)
        if change:  # somebody may want to read along
            raise tipt.Failure(f"{change}; ask {to} by another way, and start anew to accept that")
        self.to_key = key

    def pin(self, node, key):
        """Warn of a node's new key, unless the old one has certified it."""
        before = self.pins.get(node)
        change = self.changed(node, key)
        if change:
            self.pins[node] = key
            if not certified(before, key):
                print(f"warning: {change}", file=sys.stderr)

    def changed(self, whose, key):
        """What is different from the first primary key seen, which is kept. None for nothing."""
        before = self.pins.setdefault(whose, key)
        if before is None:
            self.pins[whose] = key
            return None
        old, new = fingerprint(before), key and fingerprint(key)
        if old == new:
            return None
        change = f"has changed from {old} to {new}" if new else f"({old}) was withdrawn"
        return f"the key of {whose} {change}"


def certified(old, new):
    """Whether the primary key of an old certificate has certified a new one's user id."""
    listing = tipt.gpg(
        ["--no-default-keyring", "--keyring", "./both.gpg", "--trust-model", "always",
         "--no-auto-check-trustdb", "--with-colons", "--check-signatures", fingerprint(new)],
        None, {"both.gpg": old + new}).decode()
    signatures = (line.split(":") for line in listing.splitlines() if line.startswith("sig:!:"))
    return any(fields[12] == fingerprint(old) for fields in signatures)


def fingerprint(certificate):
    """That of the primary key."""
    listing = tipt.gpg(["--show-keys", "--with-colons"], certificate).decode()
    for line in listing.splitlines():
        if line.startswith("fpr:"):
            return line.split(":")[9]
    raise tipt.Failure("what should be a key is none")


def seconds(retry_after):
    try:
        return max(0, int(retry_after))
    except (TypeError, ValueError):  # none, or a date
        return 0


class File:
    """Lines of what keeps nobody waiting."""

    def __init__(self, file):
        self.file = file

    async def readline(self):
        line = self.file.readline()
        if len(line.rstrip(b"\n")) > LONGEST:
            raise TOO_LONG
        return line


class Pipe:
    """Lines of what has to be waited for."""

    def __init__(self, reader):
        self.reader = reader
        self.skipping = False  # what is read is the rest of a line that is too long

    async def readline(self):
        while True:
            try:
                line = await self.reader.readuntil()
            except asyncio.IncompleteReadError as error:
                line = error.partial  # the last one
            except asyncio.LimitOverrunError as error:
                self.skipping = True
                await self.reader.readexactly(error.consumed)
                continue
            if self.skipping:
                self.skipping = False
                raise TOO_LONG
            return line


async def standard_input():
    loop = asyncio.get_running_loop()
    try:  # epoll takes no file, and not /dev/null either
        loop.add_reader(sys.stdin, lambda: None)
        loop.remove_reader(sys.stdin)
        lines = asyncio.StreamReader(limit=LONGEST)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    except (PermissionError, ValueError):
        return File(sys.stdin.buffer)
    return Pipe(lines)


async def run(options, password):
    lines = await standard_input()
    if password is None:  # from the reader of the lines behind it
        password = (await lines.readline()).decode().rstrip("\n")
    await Chat(options, password, lines).run()


def main():
    given = os.environ.get
    node = urllib.parse.urlsplit(given("TIPT_URL", "")).hostname
    me = f"{given('TIPT_USER')}@{node}" if node else None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("me", nargs="?" if me else None, default=me, type=tipt.address)
    parser.add_argument(
        "to", nargs="?" if given("TIPT_TO") else None, default=given("TIPT_TO"), type=tipt.address)
    parser.add_argument("--ca", metavar="FILE", default=given("TIPT_CA"))
    parser.add_argument(
        "--connect", metavar="HOST:PORT", default=given("TIPT_CONNECT"), type=tipt.host_port)
    options = parser.parse_args()
    password = given("TIPT_PASS")
    if password is None and sys.stdin.isatty():
        password = getpass.getpass()
    try:
        asyncio.run(run(options, password))
    except (tipt.TiptError, tipt.Failure, OSError, websockets.WebSocketException) as error:
        sys.exit(f"tipt_chat: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
