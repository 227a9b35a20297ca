/** The system calls of scripts: arguments from the script's expressions, results compared with what it expects. */

import type { File } from "../../fs/file.ts";
import { sysLseek, sysMemfdCreate } from "../../fs/memfd.ts";
import { sysPipe } from "../../fs/pipe.ts";
import type { FileOffset } from "../../fs/splice.ts";
import { CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST, CAP_NET_RAW } from "../../kernel/capability.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import type { Cmsg, OptVal, SockAddr } from "../../net/core/sock.ts";
import { ErrBox, Msghdr } from "../../net/core/sock.ts";
import type { EpollEvent } from "../../net/eventpoll.ts";
import { sysEpollCreate, sysEpollCtl } from "../../net/eventpoll.ts";
import type { Pollfd } from "../../net/socket.ts";
import {
  sockfdSocket,
  sysBind,
  sysFcntl,
  sysGetsockopt,
  sysIoctl,
  sysListen,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
  sysWrite,
} from "../../net/socket.ts";
import {
  sysAccept4Async,
  sysCloseAsync,
  sysConnectAsync,
  sysEpollWaitAsync,
  sysPollAsync,
  sysReadAsync,
  sysRecvfromAsync,
  sysRecvmsgAsync,
  sysSendfileAsync,
  sysSendmsgAsync,
  sysSendtoAsync,
  sysSpliceAsync,
  sysWriteAsync,
} from "../../net/syscalls_async.ts";
import { EFAULT, ENOENT, errnoByName, errnoMessage, errnoName } from "../../uapi/errno.ts";
import { O_ACCMODE, O_APPEND, O_CREAT, O_NONBLOCK, O_TRUNC } from "../../uapi/fcntl.ts";
import { IPPROTO_IP as SOL_IP } from "../../uapi/in.ts";
import { AF_INET, AF_UNSPEC, SO_LINGER, SOL_SOCKET } from "../../uapi/socket.ts";
import { ScriptError } from "./lexer.ts";
import type { Expr, Syscall } from "./parser.ts";
import { symbolValue } from "./symbols.ts";

/** What the calls need to know of the run that they belong to. */
export interface CallContext {
  readonly net: Net;
  /** Address of the host and of its peer, host order. */
  readonly localIp: number;
  readonly remoteIp: number;
  /** Live descriptors by the script's. */
  readonly fds: Map<number, number>;
  /** The machine's wall clock when the script began, in microseconds. */
  readonly startRealtime: number;
  /** How far a time may be off, in microseconds. */
  readonly toleranceUs: number;
  /** What the script's commands have written to a file; null = there is none. */
  readFile(path: string): string | null;
  onSocket(scriptFd: number, liveFd: number, protocol: number): void;
  onListen(scriptFd: number): void;
  onConnect(scriptFd: number, disconnect: boolean): void;
  onAccept(scriptFd: number, liveFd: number): void;
}

export const SERVER_PORT = 8080;

/** The words of cap_set(): sets, capabilities, operations. */
const CAPABILITIES: Readonly<Record<string, number>> = {
  CAP_EFFECTIVE: 0,
  CAP_PERMITTED: 1,
  CAP_INHERITABLE: 2,
  CAP_CLEAR: 0,
  CAP_SET: 1,
  CAP_NET_BIND_SERVICE,
  CAP_NET_BROADCAST,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
};

type Handler = (c: Call) => Promise<void> | void;

/** One call under way. */
class Call {
  readonly ctx: CallContext;
  readonly spec: Syscall;
  readonly line: number;

  constructor(ctx: CallContext, spec: Syscall, line: number) {
    this.ctx = ctx;
    this.spec = spec;
    this.line = line;
  }

  fail(message: string): never {
    throw new ScriptError(this.line, `${this.spec.name}: ${message}`);
  }

  args(min: number, max = min): void {
    const n = this.spec.args.length;
    if (n < min || n > max) this.fail(`${n} arguments instead of ${min === max ? min : `${min} to ${max}`}`);
  }

  arg(i: number): Expr {
    return this.spec.args[i] as Expr;
  }

  /** The number that an expression stands for. */
  value(e: Expr): number {
    switch (e.t) {
      case "int":
        return e.value;
      case "word": {
        const v = symbolValue(e.name);
        if (v === undefined) this.fail(`"${e.name}" is not known`);
        return v;
      }
      case "or":
        return this.value(e.left) | this.value(e.right);
      case "call":
        if (e.name === "htons" && e.args.length === 1) return this.value(e.args[0] as Expr);
        return this.fail(`"${e.name}()" is not known`);
      default:
        return this.fail("a number was expected");
    }
  }

  int(i: number): number {
    return this.value(this.arg(i));
  }

  /** [n] */
  bracketed(i: number): number {
    const e = this.arg(i);
    if (e.t !== "list" || e.items.length !== 1) this.fail(`argument ${i + 1} should be a number in brackets`);
    return this.value(e.items[0] as Expr);
  }

  ellipsis(i: number): void {
    if (this.arg(i).t !== "...") this.fail(`argument ${i + 1} should be ...`);
  }

  liveFd(i: number): number {
    return this.toLive(this.int(i));
  }

  toLive(scriptFd: number): number {
    const fd = this.ctx.fds.get(scriptFd);
    if (fd === undefined) this.fail(`the script has no descriptor ${scriptFd}`);
    return fd;
  }

  get expected(): number {
    return this.spec.result.t === "..." ? 0 : this.value(this.spec.result);
  }

  /** `actual`: a result, or a negative errno. `fd`: any descriptor will do for another. */
  check(actual: number, fd = false): void {
    const result = actual < 0 ? -1 : actual;
    const got = actual < 0 ? `-1 ${errnoName(actual)} (${errnoMessage(actual)})` : String(actual);
    const wanted = this.spec.errno === null ? "" : ` ${this.spec.errno}`;
    if (this.spec.result.t !== "...") {
      const expected = this.expected;
      if (fd && expected >= 0 ? result < 0 : result !== expected) {
        this.fail(`wrong result\nexpected: ${expected}${wanted}\nseen:     ${got}`);
      }
    }
    if (this.spec.errno === null) return;
    const errno = errnoByName(this.spec.errno);
    if (errno === undefined) this.fail(`"${this.spec.errno}" is no error`);
    if (actual !== -errno) this.fail(`wrong error\nexpected: -1 ${this.spec.errno}\nseen:     ${got}`);
  }

  newFd(live: number, kind: string): number {
    const script = this.expected;
    if (this.ctx.fds.has(script)) this.fail(`descriptor ${script} is open already (${kind})`);
    this.ctx.fds.set(script, live);
    return script;
  }

  addFd(script: number, live: number): void {
    if (this.ctx.fds.has(script)) this.fail(`descriptor ${script} is open already`);
    this.ctx.fds.set(script, live);
  }

  /** NULL, or [n]: a position that the call moves on. */
  offset(i: number): FileOffset | null {
    const e = this.arg(i);
    return e.t === "word" && e.name === "NULL" ? null : { value: this.bracketed(i) };
  }

  /** Fields of a structure, none but these. */
  struct(e: Expr, required: readonly string[], optional: readonly string[] = []): (name: string) => Expr {
    if (e.t !== "struct") this.fail(`a structure {${required.join(",")}} was expected`);
    for (const name of e.fields.keys()) {
      if (!required.includes(name) && !optional.includes(name)) this.fail(`field "${name}" is not known here`);
    }
    for (const name of required) if (!e.fields.has(name)) this.fail(`field "${name}" is missing`);
    return (name) => e.fields.get(name) ?? { t: "..." };
  }

  /** "..." is a buffer of zeros, NULL none at all. */
  buffer(i: number, size: number): Uint8Array | null {
    const e = this.arg(i);
    if (e.t === "word" && e.name === "NULL") return null;
    if (e.t !== "...") this.fail(`argument ${i + 1} should be ... or NULL`);
    return new Uint8Array(Math.max(0, size));
  }
}

/** A vector that ends before the count it was given with: touching it is EFAULT. */
function faultyMsghdr(): Msghdr {
  const msg = new Msghdr();
  msg.iov = [];
  return msg;
}

function sendFault(net: Net, fd: number, len: number, flags: number, addr: SockAddr | null): number {
  const sock = sockfdSocket(net, fd);
  if (sock === null) return -EFAULT;
  const k = net.kernel;
  k.enter();
  try {
    const msg = faultyMsghdr();
    msg.count = len;
    msg.name = addr;
    msg.flags = flags;
    return sock.ops.sendmsg(sock, msg, len);
  } finally {
    k.exit();
  }
}

function recvFault(net: Net, fd: number, len: number, flags: number): number {
  const sock = sockfdSocket(net, fd);
  if (sock === null) return -EFAULT;
  const k = net.kernel;
  k.enter();
  try {
    const msg = faultyMsghdr();
    msg.count = len;
    return sock.ops.recvmsg(sock, msg, len, flags);
  } finally {
    k.exit();
  }
}

/** Argument `i` is ... or a family. */
function peer(c: Call, i: number): SockAddr {
  return { family: c.arg(i).t === "..." ? AF_INET : c.int(i), addr: c.ctx.remoteIp, port: SERVER_PORT };
}

async function send(c: Call, flags: number, addr: SockAddr | null): Promise<void> {
  const fd = c.liveFd(0);
  const len = c.int(2);
  const buf = c.buffer(1, len);
  if (buf === null) return c.check(sendFault(c.ctx.net, fd, len, flags, addr));
  c.check(await sysSendtoAsync(c.ctx.net, fd, buf, len, flags, addr));
}

async function recv(c: Call, flags: number, read?: typeof sysReadAsync): Promise<void> {
  const fd = c.liveFd(0);
  const len = c.int(2);
  const buf = c.buffer(1, len);
  if (buf === null) return c.check(recvFault(c.ctx.net, fd, len, flags));
  buf.fill(0xff);
  const n = await (read?.(c.ctx.net, fd, buf, len) ?? sysRecvfromAsync(c.ctx.net, fd, buf, len, flags, null));
  c.check(n);
  for (let i = 0; i < n; i++) if (buf[i] !== 0) c.fail(`byte ${i} of what was read is not 0`);
}

function iovec(c: Call, e: Expr): Uint8Array[] {
  if (e.t !== "list") c.fail("a vector [{..., n}, ...] was expected");
  return e.items.map((item) => {
    if (item.t !== "list" || item.items.length !== 2 || item.items[0]?.t !== "...") c.fail("{..., n} was expected");
    return new Uint8Array(c.value(item.items[1] as Expr));
  });
}

function vectorCount(c: Call, iov: readonly Uint8Array[], count: number): void {
  if (iov.length !== count) c.fail(`a vector of ${iov.length} is said to have ${count}`);
}

interface ScriptMsghdr {
  readonly msg: Msghdr;
  readonly flags: Expr;
  readonly control: readonly Expr[] | null;
}

function msghdr(c: Call, e: Expr): ScriptMsghdr {
  const field = c.struct(e, ["msg_name", "msg_iov", "msg_flags"], ["msg_control"]);
  if (field("msg_name").t !== "...") c.fail("msg_name should be ...");
  const msg = new Msghdr();
  msg.iov = iovec(c, field("msg_iov"));
  const count = e.t === "struct" ? e.args.get("msg_iov") : undefined;
  if (count !== undefined) vectorCount(c, msg.iov, c.value(count));
  const control = field("msg_control");
  if (control.t !== "..." && control.t !== "list") c.fail("msg_control should be a list");
  return { msg, flags: field("msg_flags"), control: control.t === "list" ? control.items : null };
}

const LEVELS: Readonly<Record<string, number>> = { CMSG_LEVEL_IP: SOL_IP, CMSG_TYPE_RECVERR: 11 };

function symbol(c: Call, e: Expr): number {
  return e.t === "word" && LEVELS[e.name] !== undefined ? (LEVELS[e.name] as number) : c.value(e);
}

function checkControl(c: Call, wanted: readonly Expr[], seen: readonly Cmsg[]): void {
  if (wanted.length !== seen.length) {
    const list = seen.map((m) => `{level ${m.level}, type ${m.type}, ${JSON.stringify(m.data)}}`).join(", ");
    c.fail(`wrong control messages\nexpected: ${wanted.length}\nseen:     ${seen.length} ${list}`);
  }
  wanted.forEach((e, i) => {
    const field = c.struct(e, ["cmsg_level", "cmsg_type", "cmsg_data"]);
    const m = seen[i] as Cmsg;
    const level = symbol(c, field("cmsg_level"));
    const type = symbol(c, field("cmsg_type"));
    if (m.level !== level || m.type !== type)
      c.fail(
        `control message ${i + 1}\nexpected: level ${level} type ${type}\nseen:     level ${m.level} type ${m.type}`,
      );
    checkCmsgData(c, field("cmsg_data"), m.data);
  });
}

/** A control message of a send: its data is a number. */
function sendControl(c: Call, e: Expr): Cmsg {
  const field = c.struct(e, ["cmsg_level", "cmsg_type", "cmsg_data"]);
  return {
    level: symbol(c, field("cmsg_level")),
    type: symbol(c, field("cmsg_type")),
    data: c.value(field("cmsg_data")),
  };
}

const EE_FIELDS: readonly (readonly [script: string, field: string])[] = [
  ["ee_errno", "eeErrno"],
  ["ee_origin", "eeOrigin"],
  ["ee_type", "eeType"],
  ["ee_code", "eeCode"],
  ["ee_info", "eeInfo"],
  ["ee_data", "eeData"],
];

function checkCmsgData(c: Call, e: Expr, data: unknown): void {
  if (e.t === "struct" && e.fields.has("scm_sec")) {
    const field = c.struct(e, ["scm_sec", "scm_nsec"]);
    const expected = c.value(field("scm_sec")) * 1e6 + c.value(field("scm_nsec")) / 1000;
    const stamp = (data as { ts?: { tvSec: number; tvNsec: number }[] }).ts?.[0];
    if (stamp === undefined) c.fail("a control message has no time stamps");
    const seen = stamp.tvSec * 1e6 + stamp.tvNsec / 1000 - c.ctx.startRealtime;
    if (Math.abs(seen - expected) > c.ctx.toleranceUs)
      c.fail(`wrong time stamp\nexpected: ${(expected / 1e6).toFixed(6)}\nseen:     ${(seen / 1e6).toFixed(6)}`);
    return;
  }
  if (e.t === "struct") {
    const field = c.struct(
      e,
      EE_FIELDS.map(([name]) => name),
    );
    for (const [name, key] of EE_FIELDS) {
      const expected = c.value(field(name));
      const seen = (data as Record<string, number>)[key];
      if (seen !== expected) c.fail(`wrong ${name}\nexpected: ${expected}\nseen:     ${seen}`);
    }
    return;
  }
  const expected = c.value(e);
  if (data !== expected) c.fail(`wrong control data\nexpected: ${expected}\nseen:     ${JSON.stringify(data)}`);
}

function unescape(text: string): string {
  return text.replace(/\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))/g, (_, hex?: string, octal?: string, c?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    return c === "n" ? "\n" : c === "t" ? "\t" : (c as string);
  });
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Options whose value is text; other strings are bytes. */
const TEXT_OPTIONS: ReadonlySet<string> = new Set(["6/13", "6/31", "1/25"]);

function optval(c: Call, level: number, optname: number, e: Expr, optlen: number): OptVal {
  if (e.t === "struct") {
    const field = c.struct(e, ["onoff", "linger"]);
    if (level !== SOL_SOCKET || optname !== SO_LINGER) c.fail("{onoff, linger} is for SO_LINGER");
    return { onoff: c.value(field("onoff")), linger: c.value(field("linger")) };
  }
  if (e.t === "string") {
    const text = unescape(e.text).slice(0, optlen);
    return TEXT_OPTIONS.has(`${level}/${optname}`) ? text.replace(/\0+$/, "") : latin1(text);
  }
  if (e.t !== "list") c.fail("the value should be [n], a string or a structure");
  const value = c.bracketed(3);
  // IP options take a byte as well; the others want an int's four.
  if (optlen < 4 && level !== SOL_IP) return new Uint8Array(Math.max(0, optlen));
  return value | 0;
}

function epollEvent(c: Call, e: Expr): { events: number; data: string } {
  const kind = e.t === "struct" ? ["fd", "ptr", "u32", "u64"].find((k) => e.fields.has(k)) : undefined;
  if (kind === undefined) c.fail("{events=, fd=} was expected");
  const field = c.struct(e, ["events", kind]);
  const data = c.value(field(kind));
  return { events: c.value(field("events")) >>> 0, data: String(data) };
}

const HANDLERS: Readonly<Record<string, Handler>> = {
  socket(c) {
    c.args(3);
    c.ellipsis(0);
    const protocol = c.int(2);
    const live = sysSocket(c.ctx.net, AF_INET, c.int(1), protocol);
    c.check(live, true);
    if (live >= 0) c.ctx.onSocket(c.newFd(live, "socket"), live, protocol);
  },
  bind(c) {
    c.args(3);
    c.ellipsis(1);
    c.ellipsis(2);
    c.check(sysBind(c.ctx.net, c.liveFd(0), { family: AF_INET, addr: c.ctx.localIp, port: SERVER_PORT }));
  },
  listen(c) {
    c.args(2);
    const r = sysListen(c.ctx.net, c.liveFd(0), c.int(1));
    c.check(r);
    if (r === 0) c.ctx.onListen(c.int(0));
  },
  async accept(c) {
    c.args(3);
    c.ellipsis(1);
    c.ellipsis(2);
    const live = await sysAccept4Async(c.ctx.net, c.liveFd(0), null, 0);
    c.check(live, true);
    if (live < 0) return;
    // A script may give a number again that it has not closed: it stands for the last one from then on.
    c.ctx.fds.set(c.expected, live);
    c.ctx.onAccept(c.expected, live);
  },
  async connect(c) {
    c.args(3);
    c.ellipsis(2);
    const addr = peer(c, 1);
    c.ctx.onConnect(c.int(0), addr.family === AF_UNSPEC);
    c.check(await sysConnectAsync(c.ctx.net, c.liveFd(0), addr));
  },
  async read(c) {
    c.args(3);
    await recv(c, 0, sysReadAsync);
  },
  async readv(c) {
    c.args(3);
    const msg = new Msghdr();
    msg.iov = iovec(c, c.arg(1));
    vectorCount(c, msg.iov, c.int(2));
    c.check(await sysRecvmsgAsync(c.ctx.net, c.liveFd(0), msg, 0));
  },
  async recv(c) {
    c.args(4);
    await recv(c, c.int(3));
  },
  async recvfrom(c) {
    c.args(6);
    c.ellipsis(4);
    c.ellipsis(5);
    await recv(c, c.int(3));
  },
  async recvmsg(c) {
    c.args(3);
    const { msg, flags, control } = msghdr(c, c.arg(1));
    msg.control = control === null ? null : [];
    const n = await sysRecvmsgAsync(c.ctx.net, c.liveFd(0), msg, c.int(2));
    c.check(n);
    // A call that fails writes nothing back: what the script says of it is what it put in.
    if (n < 0) return;
    const expected = c.value(flags);
    if (msg.flags !== expected)
      c.fail(`wrong msg_flags\nexpected: 0x${expected.toString(16)}\nseen:     0x${msg.flags.toString(16)}`);
    if (control !== null) checkControl(c, control, msg.control ?? []);
  },
  async write(c) {
    c.args(3);
    const fd = c.liveFd(0);
    // A socket's, or a pipe's.
    if (sockfdSocket(c.ctx.net, fd) !== null) return send(c, 0, null);
    const buf = c.buffer(1, c.int(2));
    if (buf === null) return c.fail("NULL is for sockets");
    c.check(await sysWriteAsync(c.ctx.net, fd, buf, buf.length));
  },
  async writev(c) {
    c.args(3);
    const msg = new Msghdr();
    msg.iov = iovec(c, c.arg(1));
    vectorCount(c, msg.iov, c.int(2));
    c.check(await sysSendmsgAsync(c.ctx.net, c.liveFd(0), msg, 0));
  },
  async send(c) {
    c.args(4);
    await send(c, c.int(3), null);
  },
  async sendto(c) {
    c.args(6);
    c.ellipsis(5);
    const addr = peer(c, 4);
    c.ctx.onConnect(c.int(0), false);
    await send(c, c.int(3), addr);
  },
  async sendmsg(c) {
    c.args(3);
    const { msg, control } = msghdr(c, c.arg(1));
    if (control !== null) msg.control = control.map((e) => sendControl(c, e));
    c.ctx.onConnect(c.int(0), false);
    msg.name = { family: AF_INET, addr: c.ctx.remoteIp, port: SERVER_PORT };
    c.check(await sysSendmsgAsync(c.ctx.net, c.liveFd(0), msg, c.int(2)));
  },
  pipe(c) {
    c.args(1);
    const e = c.arg(0);
    if (e.t !== "list" || e.items.length !== 2) return c.fail("[read end, write end] was expected");
    const fds: number[] = [];
    const r = sysPipe(c.ctx.net, fds);
    c.check(r);
    if (r < 0) return;
    e.items.forEach((item, i) => {
      c.addFd(c.value(item), fds[i] as number);
    });
  },
  open(c) {
    c.args(2, 3);
    const path = c.arg(0);
    if (path.t !== "string") return c.fail("a path in quotes was expected");
    const flags = c.int(1);
    const text = c.ctx.readFile(path.text) ?? ((flags & O_CREAT) !== 0 ? "" : null);
    if (text === null) return c.check(-ENOENT);
    // The file of the calls is a copy of what the shell wrote.
    const live = sysMemfdCreate(c.ctx.net, path.text, 0);
    const bytes = latin1((flags & O_TRUNC) !== 0 ? "" : text);
    sysWrite(c.ctx.net, live, bytes, bytes.length);
    sysLseek(c.ctx.net, live, 0, 0);
    (c.ctx.net.files.get(live) as File).fFlags = flags & (O_ACCMODE | O_APPEND | O_NONBLOCK);
    c.check(live, true);
    c.newFd(live, "open");
  },
  async sendfile(c) {
    c.args(4);
    const offset = c.offset(2);
    c.check(await sysSendfileAsync(c.ctx.net, c.liveFd(0), c.liveFd(1), offset, c.int(3)));
  },
  async splice(c) {
    c.args(6);
    const { net } = c.ctx;
    c.check(await sysSpliceAsync(net, c.liveFd(0), c.offset(1), c.liveFd(2), c.offset(3), c.int(4), c.int(5)));
  },
  cap_set(c) {
    c.args(3);
    const [set, cap, on] = [0, 1, 2].map((i) => {
      const e = c.arg(i);
      return e.t === "word" ? (CAPABILITIES[e.name] ?? c.fail(`"${e.name}" is not known`)) : c.int(i);
    });
    if (set !== CAPABILITIES["CAP_EFFECTIVE"]) return c.fail("only CAP_EFFECTIVE has an effect");
    if (on === CAPABILITIES["CAP_SET"]) c.ctx.net.capsDropped.delete(cap as number);
    else c.ctx.net.capsDropped.add(cap as number);
    c.check(0);
  },
  fcntl(c) {
    c.args(2, 3);
    c.check(sysFcntl(c.ctx.net, c.liveFd(0), c.int(1), c.spec.args.length === 3 ? c.int(2) : 0));
  },
  ioctl(c) {
    c.args(2, 3);
    const r = sysIoctl(c.ctx.net, c.liveFd(0), c.int(1));
    if (c.spec.args.length === 2) return c.check(r);
    const expected = c.bracketed(2);
    c.check(r < 0 ? r : 0);
    if (r >= 0 && r !== expected) c.fail(`wrong value\nexpected: ${expected}\nseen:     ${r}`);
  },
  async close(c) {
    c.args(1);
    const fd = c.liveFd(0);
    c.ctx.fds.delete(c.int(0));
    c.check(await sysCloseAsync(c.ctx.net, fd));
  },
  shutdown(c) {
    c.args(2);
    c.check(sysShutdown(c.ctx.net, c.liveFd(0), c.int(1)));
  },
  getsockopt(c) {
    c.args(5);
    const err = new ErrBox();
    const [level, optname] = [c.int(1), c.int(2)];
    const seen = sysGetsockopt(c.ctx.net, c.liveFd(0), level, optname, err);
    c.check(err.value < 0 ? err.value : 0);
    if (err.value < 0) return;
    const e = c.arg(3);
    if (e.t === "...") return;
    const optlen = c.bracketed(4);
    if (e.t === "string") {
      const wanted = latin1(unescape(e.text));
      const bytes = typeof seen === "string" ? latin1(seen.padEnd(optlen, "\0")) : (seen as Uint8Array);
      const same = wanted.length === optlen && wanted.every((b, i) => bytes[i] === b);
      if (!same) c.fail(`wrong value\nexpected: "${e.text}"\nseen:     ${JSON.stringify(seen)}`);
      return;
    }
    const expected = c.bracketed(3);
    if (optlen !== 4) c.fail("only values of 4 bytes are compared");
    if (typeof seen !== "number" || (seen | 0) !== (expected | 0))
      c.fail(`wrong value\nexpected: ${expected}\nseen:     ${JSON.stringify(seen)}`);
  },
  setsockopt(c) {
    c.args(5);
    const [level, optname] = [c.int(1), c.int(2)];
    c.check(sysSetsockopt(c.ctx.net, c.liveFd(0), level, optname, optval(c, level, optname, c.arg(3), c.int(4))));
  },
  async poll(c) {
    c.args(3);
    const list = c.arg(0);
    if (list.t !== "list") return c.fail("a list of {fd=,events=,revents=} was expected");
    const fields = list.items.map((e) => c.struct(e, ["fd", "events"], ["revents"]));
    const fds: Pollfd[] = fields.map((field) => ({
      fd: c.toLive(c.value(field("fd"))),
      events: c.value(field("events")),
      revents: 0,
    }));
    if (c.int(1) !== fds.length) c.fail(`${fds.length} descriptors are said to be ${c.int(1)}`);
    c.check(await sysPollAsync(c.ctx.net, fds, c.int(2)));
    fields.forEach((field, i) => {
      const e = field("revents");
      const expected = e.t === "..." ? 0 : c.value(e);
      const seen = (fds[i] as Pollfd).revents;
      if (seen !== expected)
        c.fail(`wrong revents\nexpected: 0x${expected.toString(16)}\nseen:     0x${seen.toString(16)}`);
    });
  },
  epoll_create(c) {
    c.args(1);
    const live = sysEpollCreate(c.ctx.net, c.int(0));
    c.check(live, true);
    if (live >= 0) c.newFd(live, "epoll_create");
  },
  epoll_ctl(c) {
    c.args(4);
    const e = c.arg(3);
    const event = e.t === "word" && e.name === "NULL" ? null : epollEvent(c, e);
    c.check(sysEpollCtl(c.ctx.net, c.liveFd(0), c.int(1), c.liveFd(2), event));
  },
  async epoll_wait(c) {
    c.args(4);
    const wanted = epollEvent(c, c.arg(1));
    const events: EpollEvent[] = [];
    const n = await sysEpollWaitAsync(c.ctx.net, c.liveFd(0), events, c.int(2), c.int(3));
    c.check(n);
    const seen = n > 0 ? (events[0] as EpollEvent) : { events: 0, data: "0" };
    const hex = (x: number): string => `0x${(x >>> 0).toString(16)}`;
    if (seen.events >>> 0 !== wanted.events)
      c.fail(`wrong events\nexpected: ${hex(wanted.events)}\nseen:     ${hex(seen.events)}`);
    if (seen.data !== wanted.data) c.fail(`wrong data\nexpected: ${wanted.data}\nseen:     ${String(seen.data)}`);
  },
};

/** Makes the call and compares. Throws a ScriptError for a difference, or a call that is not known. */
export async function runSyscall(ctx: CallContext, spec: Syscall, line: number): Promise<void> {
  const handler = Object.hasOwn(HANDLERS, spec.name) ? HANDLERS[spec.name] : undefined;
  if (handler === undefined) throw new ScriptError(line, `${spec.name}: this call is not supported`);
  await handler(new Call(ctx, spec, line));
}
