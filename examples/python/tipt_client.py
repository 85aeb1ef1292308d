#!/usr/bin/python3
"""A small Tipt client, written from docs/protocol.md alone.

    tipt_client.py register ME              make an account
    tipt_client.py send ME TO TEXT          send a line
    tipt_client.py listen ME [--count N]    print what arrives, N messages or for ever

ME and TO are addresses such as ada@node.example. The password is asked for or,
where standard input is no terminal, is its first line. --ca FILE trusts a further
root certificate, --connect HOST:PORT tells where ME's node is reached.

What it sends is sealed to the recipient, too, where they have a certificate. It has no
key of its own, so it signs nothing and opens nothing that is sealed to its user.

It needs Debian's python3-websockets, python3-msgpack, python3-cryptography and gnupg. It
keeps nothing on the disk (no token, no key to compare with) and does not reconnect: see
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
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    sys.exit(f"{error}; Debian has it in python3-msgpack, -websockets or -cryptography")

VERSION = "1.0.0"
REQUEST, RESPONSE, EVENT = 0x00, 0x01, 0x02
HANDSHAKE, REGISTER, SIGN_IN, FORWARD, GET_NODE_KEY = 0x00, 0x01, 0x02, 0x20, 0x21
DELIVER, RETURN = 0x00, 0x01  # requests to the client
GOING_AWAY = 0x00  # an event to it
MALFORMED, UNSUPPORTED, BUSY = 0x01, 0x02, 0x08  # errors
MESSAGE, GET_USER_KEY = 0x00, 0x01  # in a sealed request
CANNOT_OPEN = 0x34  # in its answer
TEXT, SEALED = 0x00, 0x01  # in a message


class TiptError(Exception):
    """The err of a response, section 6."""

    def __init__(self, err):
        super().__init__(f"error 0x{err['code']:02x} {printable(err.get('msg', ''))}")
        self.code, self.wait = err["code"], err.get("wait", 0) / 1000


class Failure(Exception):
    """What ends an attempt but is nobody's refusal: gpg's, or an answer that makes no sense."""


class Connection:
    """One connection to a node, on which both sides ask (sections 2 and 3)."""

    def __init__(self, socket):
        self.socket = socket
        self.waiting = {}  # id -> future and keys of the answer, of our requests in flight
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
            for future, _ in self.waiting.values():
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
            future, keys = self.waiting[id]
            if "err" not in packet and wrong(packet["body"], keys):
                return False
            del self.waiting[id]
            if not future.done():  # nobody may wait for it any more
                future.set_result(packet)
        elif pakt == REQUEST:
            if id in self.serving:
                return False
            self.serving.add(id)
            if packet is None:
                await self.respond({"id": id}, MALFORMED, "the packet, or its body")
            elif packet["reqt"] not in BODIES:
                await self.respond(packet, UNSUPPORTED)
            elif key := wrong(packet["body"], BODIES[packet["reqt"]]):
                await self.respond(packet, MALFORMED, key)
            else:
                self.requests.put_nowait(packet)
        elif pakt == EVENT:
            if packet and packet["reqt"] == GOING_AWAY and fits(packet["body"], {"wait": int}):
                self.going_away = packet["body"]["wait"]
        else:
            return False
        return True

    async def request(self, reqt, body=None, keys=None):
        """Send a REQUEST and return the body of its RESPONSE, which has these keys."""
        id = next(i for i in range(256) if i not in self.waiting)
        future = asyncio.get_running_loop().create_future()
        self.waiting[id] = future, keys
        await self.write({"id": id, "pakt": REQUEST, "reqt": reqt, "body": body})
        packet = await future
        if "err" in packet:
            raise TiptError(packet["err"])
        return packet.get("body")

    async def respond(self, request, error=None, wrong_key=None):
        self.serving.discard(request["id"])
        packet = {"id": request["id"], "pakt": RESPONSE}
        if error is not None:
            packet["err"] = {"code": error, **({"msg": wrong_key} if wrong_key else {})}
        await self.write(packet)

    async def write(self, packet):
        await self.socket.send(msgpack.packb({"ver": VERSION, **packet}))

    async def close(self):
        await self.socket.close()
        await asyncio.wait({self.reader})


# Bodies of the node's requests: the types of their keys, their one length, or type and most bytes.
BODIES = {
    DELIVER: {"mid": 16, "from?": (str, 318), "time": int, "msg": bytes},
    RETURN: {"mid": 16, "ref?": 16, "node": (str, 253), "time": int, "resp?": (bytes, 4096),
             "code?": int},
}
# Bodies of its answers to ours. All others are nil.
COMPATIBLE = {"ver": (str, 64), "comp": bool}
SIGNED_IN = {"addr": (str, 318), "tok?": 32}
KEY, ANSWER = {"key": bytes}, {"resp": bytes}


ERR = {"code": int, "msg?": str, "wait?": int}


def is_uint(value, most):
    return type(value) is int and 0 <= value <= most


def fits(body, keys):
    return wrong(body, keys) is None


def wrong(body, keys):
    """What in a body is not as its keys want it, None for nothing. Other keys are left to the
    future, section 2. Without any keys the body is to be nil."""
    if type(body) is not dict or keys is None:
        return None if body is keys else "body"
    for key, wanted in keys.items():
        name = key.rstrip("?")
        if name not in body and key != name:
            continue
        value, least, most = body.get(name), None, None
        if type(wanted) is int:
            wanted, least, most = bytes, wanted, wanted
        elif type(wanted) is tuple:
            wanted, most = wanted
        if type(value) is not wanted or wanted is int and value < 0:
            return name
        size = len(value.encode() if wanted is str else value) if most else 0
        if most and size > most or least and size < least:
            return name
    if keys is BODIES[RETURN] and ("resp" in body) == ("code" in body):
        return "resp or code"
    return None


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
            and ("err" not in packet or response and fits(err, ERR)))
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
        "user": user, "dev": "python-send", "pass": password, "recv": False}, SIGNED_IN)
    key = await node_key(connection, node)
    certificate = await user_key(connection, key, options.to)
    mid = message_id()
    sealed = sealed_message(key, to, mid, content(options.text, certificate))
    await connection.request(FORWARD, {"node": node, "wait": False, "msg": sealed, "ref": mid})
    print("sent", mid.hex())


async def listen(connection, options, password):
    user = options.me.partition("@")[0]
    await connection.request(SIGN_IN, {
        "user": user, "dev": "python-listen", "pass": password}, SIGNED_IN)
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
        return f"{printable(body.get('from', 'somebody'))}: {shown(body['msg'])}"
    return f"returned by {printable(body['node'])}: {refusal(body)}"


def refusal(body):
    """Why a message came back."""
    try:
        return body["code"] if "code" in body else msgpack.unpackb(body["resp"])
    except Exception:  # the destination may have said anything
        return "for no reason that is understood"


async def node_key(connection, node, new=False):
    """The certificate of a node."""
    answer = await connection.request(GET_NODE_KEY, {"node": node, "new": new}, KEY)
    return answer["key"]


async def user_key(connection, certificate, whom):
    """The certificate of a user, None where there is none. It is asked of the user's node, whose
    certificate the other is: nodes on the way can neither read nor change it (section 5.3)."""
    user, _, node = whom.partition("@")
    secret = os.urandom(32)
    request = msgpack.packb({"type": GET_USER_KEY, "body": {"user": user, "seal": secret}})
    answer = await connection.request(
        FORWARD, {"node": node, "wait": True, "msg": seal(certificate, request)}, ANSWER)
    return key_in(answer["resp"], secret)


def key_in(answer, secret):
    """The certificate in GET_USER_KEY's answer. One that is not sealed is a refusal at most."""
    sealed = len(answer) == 12 + 8256 + 16
    found, rest = None, b""
    try:
        if sealed:
            answer = AESGCM(secret).decrypt(answer[:12], answer[12:], None)
        unpacker = msgpack.Unpacker()
        unpacker.feed(answer)
        found = unpacker.unpack()
        rest = answer[unpacker.tell():]
    except Exception:  # it may be any bytes at all
        pass
    if fits(found, {"err": dict}) and fits(found["err"], ERR) and "body" not in found:
        raise TiptError(found["err"])
    if sealed and fits(found, {"body": dict}) and "err" not in found and not any(rest):
        key = found["body"].get("key", False)
        if key is None or type(key) is bytes:
            return key
    raise Failure("the answer about the recipient's key cannot be used")


def content(text, certificate):
    """A TEXT, within a SEALED where the recipient has a certificate (section 8)."""
    plain = msgpack.packb({"type": TEXT, "body": {"text": text, "time": int(time.time() * 1000)}})
    if certificate is None:
        return plain
    return msgpack.packb({"type": SEALED, "body": seal(certificate, plain)})


def sealed_message(certificate, to, mid, content):
    """A MESSAGE to a user of the node that has the certificate, section 5.3."""
    return seal(certificate, msgpack.packb(
        {"type": MESSAGE, "body": {"to": to, "mid": mid, "msg": content}}))


def seal(certificate, plaintext):
    """Encrypt to a certificate, section 5.2."""
    return gpg(["--trust-model", "always", "--compress-algo", "none",
                "--recipient-file", "key.pgp", "--encrypt"], plaintext, {"key.pgp": certificate})


def gpg(arguments, given, files=None):
    """What gpg prints, which is run in a folder of its own with these files."""
    with tempfile.TemporaryDirectory() as home:
        for name, held in (files or {}).items():
            with open(os.path.join(home, name), "wb") as file:
                file.write(held)
        try:
            done = subprocess.run(
                ["gpg", "--homedir", home, "--batch", "--quiet", *arguments],
                input=given, cwd=home, capture_output=True)
        except OSError as error:
            raise Failure(f"gpg cannot be run: {error.strerror}") from error
    if done.returncode:
        said = "; ".join(filter(None, done.stderr.decode(errors="replace").split("\n")))
        raise Failure(printable(said) or f"gpg ended with {done.returncode}")
    return done.stdout


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
            return printable(content["body"]["text"])
        if content["type"] == SEALED and type(content["body"]) is bytes:
            return f"(sealed: {len(content['body'])} bytes, and there is no key here to open them)"
    except Exception:  # a message may hold any bytes at all
        pass
    return f"({len(message)} bytes that are no text)"


def printable(text):
    """A text that leaves a terminal alone, and of which no line passes for another message."""
    return "\n    ".join(
        "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        for line in text.split("\n"))


async def run(options, password):
    connection = await connect(options)
    try:
        answer = await connection.request(HANDSHAKE, keys=COMPATIBLE)
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
    except (TiptError, Failure, OSError, websockets.WebSocketException) as error:
        sys.exit(f"tipt_client: {error}")


if __name__ == "__main__":
    main()
