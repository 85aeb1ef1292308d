#!/usr/bin/python3
"""A small Tipt client, written from docs/protocol.md alone.

    tipt_client.py register ME              make an account
    tipt_client.py send ME TO TEXT          send a line
    tipt_client.py listen ME [--count N]    print what arrives, N messages or for ever

ME and TO are addresses such as ada@node.example. The password is asked for or,
where standard input is no terminal, is its first line. --ca FILE trusts a further
root certificate, --connect HOST:PORT tells where ME's node is reached.

It needs Debian's python3-websockets, python3-msgpack and gnupg. It keeps nothing
on the disk (no token, no node's key to compare with) and does not reconnect: see
tipt_chat.py, beside this file, for what section 7 asks of a client for daily use.
"""

import argparse
import asyncio
import getpass
import os
import ssl
import subprocess
import sys
import tempfile
import time

try:
    import msgpack
    import websockets
except ImportError as error:
    sys.exit(f"{error}; Debian has it in python3-msgpack or python3-websockets")

VERSION = "1.0.0"
REQUEST, RESPONSE, EVENT = 0x00, 0x01, 0x02
HANDSHAKE, REGISTER, SIGN_IN, FORWARD, GET_NODE_KEY = 0x00, 0x01, 0x02, 0x20, 0x21
DELIVER, RETURN = 0x00, 0x01  # requests to the client
GOING_AWAY = 0x00  # an event to it
MALFORMED, UNSUPPORTED, BUSY = 0x01, 0x02, 0x08  # errors
MESSAGE = 0x00  # in a sealed request
TEXT = 0x00  # in a message


class TiptError(Exception):
    """The err of a response, section 6."""

    def __init__(self, err):
        super().__init__(f"error 0x{err['code']:02x} {err.get('msg', '')}")
        self.code, self.wait = err["code"], err.get("wait", 0) / 1000


class Connection:
    """One connection to a node, on which both sides ask (sections 2 and 3)."""

    def __init__(self, socket):
        self.socket = socket
        self.waiting = {}  # id -> future, of our requests in flight
        self.serving = set()  # ids of the node's requests that we have not answered
        self.requests = asyncio.Queue()  # of the node; None after the last
        self.going_away = 0  # seconds to stay away, once the node has said so
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        try:
            async for message in self.socket:
                if isinstance(message, str):
                    await self.socket.close(1003)
                elif not await self.take(message):
                    await self.socket.close(1002)
        except websockets.ConnectionClosedError:
            pass  # socket.close_code tells why
        finally:
            self.requests.put_nowait(None)
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("the connection ended"))

    async def take(self, message):
        """Do what a packet says. False is a breach of section 3."""
        id, pakt = skim(message)
        packet = well_formed(message)
        if not is_uint(id, 0xff):
            return False
        if pakt == RESPONSE:
            if packet is None or id not in self.waiting:
                return False
            future = self.waiting.pop(id)
            if not future.done():  # nobody may wait for it any more
                future.set_result(packet)
        elif pakt == REQUEST:
            if id in self.serving:
                return False
            self.serving.add(id)
            if packet is None:
                await self.respond({"id": id}, MALFORMED)
            elif packet["reqt"] not in BODIES:
                await self.respond(packet, UNSUPPORTED)
            elif not fits(packet["body"], BODIES[packet["reqt"]]):
                await self.respond(packet, MALFORMED)
            else:
                self.requests.put_nowait(packet)
        elif pakt == EVENT:
            if packet and packet["reqt"] == GOING_AWAY and fits(packet["body"], {"wait": int}):
                self.going_away = packet["body"]["wait"]
        else:
            return False
        return True

    async def request(self, reqt, body=None):
        """Send a REQUEST and return the body of its RESPONSE."""
        id = next(i for i in range(256) if i not in self.waiting)
        future = self.waiting[id] = asyncio.get_running_loop().create_future()
        await self.write({"id": id, "pakt": REQUEST, "reqt": reqt, "body": body})
        packet = await future
        if "err" in packet:
            raise TiptError(packet["err"])
        return packet.get("body")

    async def respond(self, request, error=None):
        self.serving.discard(request["id"])
        packet = {"id": request["id"], "pakt": RESPONSE}
        await self.write(packet if error is None else {**packet, "err": {"code": error}})

    async def write(self, packet):
        await self.socket.send(msgpack.packb({"ver": VERSION, **packet}))

    async def close(self):
        await self.socket.close()
        await asyncio.wait({self.reader})


# Bodies of the node's requests: the types of their keys, or their one length.
BODIES = {
    DELIVER: {"mid": 16, "from?": str, "time": int, "msg": bytes},
    RETURN: {"mid": 16, "ref?": 16, "node": str, "time": int, "resp?": bytes, "code?": int},
}


def is_uint(value, most):
    return type(value) is int and 0 <= value <= most


def fits(body, keys):
    """Whether a body has these keys. Others are left to the future, section 2."""
    if type(body) is not dict:
        return False
    for key, wanted in keys.items():
        name = key.rstrip("?")
        if name not in body and key != name:
            continue
        value, length = body.get(name), wanted if type(wanted) is int else None
        if type(value) is not (bytes if length else wanted) or length and len(value) != length:
            return False
    return True


def well_formed(message):
    """A packet whose root is as section 2 wants it, or None."""
    try:
        packet = {"reqt": None, "body": None, **msgpack.unpackb(message)}
    except Exception:  # whatever the library calls it
        return None
    response = packet.get("pakt") == RESPONSE
    reqt, body, err = packet["reqt"], packet["body"], packet.get("err", {})
    good = (type(packet.get("ver")) is str and (body is None or type(body) is dict)
            and (reqt is None if response else is_uint(reqt, 0x7f))
            and ("err" not in packet or response and fits(err, {"code": int, "msg?": str, "wait?": int})))
    return packet if good else None


def skim(message):
    """The id and pakt of a packet, which may be malformed elsewhere (section 3.1)."""
    unpacker, found = msgpack.Unpacker(), {}
    unpacker.feed(message)
    try:
        for _ in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            found[key] = unpacker.unpack()
    except Exception:  # the rest cannot be read
        pass
    return found.get("id"), found.get("pakt")


async def connect(options):
    """Connect to the node of options.me."""
    node, where = options.me.partition("@")[2], {}
    if options.connect:
        where = dict(zip(("host", "port"), options.connect))
    trust = ssl.create_default_context()  # verifies the chain and the name
    if options.ca:
        try:
            trust.load_verify_locations(options.ca)
        except OSError as error:
            sys.exit(f"the root certificate {options.ca}: {error}")
    try:
        return Connection(await websockets.connect(
            f"wss://{node}/ws", ssl=trust, server_hostname=node, compression=None,
            max_size=2_100_000, ping_interval=300, ping_timeout=30, **where))
    except OSError as error:
        raise ConnectionError(f"{node}: {error}") from error


def address(word):
    """A command's word that is to be NAME@NODE."""
    name, _, node = word.partition("@")
    if not name or not node:
        raise argparse.ArgumentTypeError(f"{word!r} is no address such as ada@node.example")
    return word


def host_port(word):
    """A command's word that is to be HOST:PORT."""
    host, _, port = word.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


async def register(connection, options, password):
    user = options.me.partition("@")[0]
    await connection.request(REGISTER, {"user": user, "pass": password})
    print("registered", options.me)


async def send(connection, options, password):
    user = options.me.partition("@")[0]
    to, _, node = options.to.partition("@")
    await connection.request(SIGN_IN, {
        "user": user, "dev": "python-send", "pass": password, "recv": False})
    key = (await connection.request(GET_NODE_KEY, {"node": node}))["key"]
    mid = message_id()
    await connection.request(FORWARD, {
        "node": node, "wait": False, "msg": sealed_message(key, to, mid, options.text), "ref": mid})
    print("sent", mid.hex())


async def listen(connection, options, password):
    user = options.me.partition("@")[0]
    await connection.request(SIGN_IN, {
        "user": user, "dev": "python-listen", "pass": password})
    seen = set()  # a message may come more than once
    while len(seen) != options.count:
        request = await connection.requests.get()
        if request is None:
            sys.exit(f"closed with {connection.socket.close_code}")
        name = name_of(request)
        if name not in seen:
            seen.add(name)
            print(told(request), flush=True)
        await connection.respond(request)  # it is safe: on the screen


def name_of(request):
    """What tells a DELIVER or RETURN that comes again."""
    return request["reqt"], request["body"].get("from"), request["body"]["mid"]


def told(request):
    """What a DELIVER or RETURN says, for people."""
    body = request["body"]
    if request["reqt"] == DELIVER:
        return f"{body.get('from', 'somebody')}: {shown(body['msg'])}"
    return f"returned by {body['node']}: {refusal(body)}"


def refusal(body):
    """Why a message came back."""
    try:
        return body["code"] if "code" in body else msgpack.unpackb(body["resp"])
    except Exception:  # the destination may have said anything
        return "for no reason that is understood"


def sealed_message(certificate, to, mid, text):
    """A MESSAGE to a user of the node that has the certificate, section 5.3."""
    content = msgpack.packb({"type": TEXT, "body": {"text": text, "time": int(time.time() * 1000)}})
    return seal(certificate, msgpack.packb(
        {"type": MESSAGE, "body": {"to": to, "mid": mid, "msg": content}}))


def seal(certificate, plaintext):
    """Encrypt to a node's certificate, section 5.2."""
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "node.pgp")
        with open(path, "wb") as file:
            file.write(certificate)
        return subprocess.run(
            ["gpg", "--homedir", home, "--batch", "--quiet", "--trust-model", "always",
             "--compress-algo", "none", "--recipient-file", path, "--encrypt"],
            input=plaintext, stdout=subprocess.PIPE, check=True).stdout


def message_id():
    """A UUID of version 7: the time in front, then random bits."""
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return int(time.time() * 1000).to_bytes(6, "big") + random


def shown(message):
    """The text of a TEXT; anything else is told as what it is, section 8."""
    try:
        content = msgpack.unpackb(message)
        if content["type"] == TEXT:
            return content["body"]["text"]
    except Exception:  # a message may hold any bytes at all
        pass
    return f"({len(message)} bytes that are no text)"


async def run(options, password):
    connection = await connect(options)
    try:
        answer = await connection.request(HANDSHAKE)
        if not answer["comp"]:
            sys.exit(f"the node speaks only version {answer['ver']}")
        await options.do(connection, options, password)
    finally:
        await connection.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ca", metavar="FILE")
    parser.add_argument("--connect", metavar="HOST:PORT", type=host_port)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for do, words in (register, ["me"]), (send, ["me", "to", "text"]), (listen, ["me"]):
        verb = verbs.add_parser(do.__name__)
        verb.set_defaults(do=do)
        for word in words:
            verb.add_argument(word, type=str if word == "text" else address)
        if do is listen:
            verb.add_argument("--count", type=int)
    options = parser.parse_args()
    if sys.stdin.isatty():
        password = getpass.getpass()
    else:
        password = sys.stdin.readline().rstrip("\n")
    try:
        asyncio.run(run(options, password))
    except (TiptError, OSError, websockets.WebSocketException) as error:
        sys.exit(f"tipt_client: {error}")


if __name__ == "__main__":
    main()
