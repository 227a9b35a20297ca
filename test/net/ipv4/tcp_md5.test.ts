/** Signed segments (RFC 2385). */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { skbBytes } from "../../../src/net/core/skbuff.ts";
import { EINVAL, ENOENT } from "../../../src/uapi/errno.ts";
import {
  LINUX_MIB_TCPMD5FAILURE,
  LINUX_MIB_TCPMD5NOTFOUND,
  LINUX_MIB_TCPMD5UNEXPECTED,
} from "../../../src/uapi/linux_mib.ts";
import { AF_INET, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP } from "../../../src/uapi/socket.ts";
import { TCP_MD5SIG, TCP_MD5SIG_EXT, TCP_MD5SIG_FLAG_PREFIX } from "../../../src/uapi/tcp.ts";
import { Pair } from "../../sim/pair.ts";

const KEY = new TextEncoder().encode("a shared secret");
const PORT = 179;
const A = 0x0a000001;
const B = 0x0a000002;

/** TCP segments that a device sees, from the IP header on. */
function watch(pair: Pair): Uint8Array[] {
  const seen: Uint8Array[] = [];
  pair.devA.taps.push({
    tap: (skb: number) => {
      const b = skbBytes(skb);
      // With or without its Ethernet header; ARP is of no interest.
      const ip = b[0] === 0x45 ? b : b.subarray(14);
      if (ip[0] === 0x45) seen.push(ip.slice());
    },
  } as never);
  return seen;
}

/** The digest that RFC 2385 §2.0 asks for. */
function digest(ip: Uint8Array, key: Uint8Array): string {
  const tcp = ip.subarray(20);
  const header = tcp.slice(0, 20);
  header[16] = header[17] = 0;
  const len = (((ip[2] as number) << 8) | (ip[3] as number)) - 20;
  const pseudo = new Uint8Array([...ip.subarray(12, 20), 0, 6, len >> 8, len & 255]);
  const doff = ((tcp[12] as number) >> 4) * 4;
  return createHash("md5").update(pseudo).update(header).update(tcp.subarray(doff, len)).update(key).digest("hex");
}

/** The digest in the segment's option; null = there is none. */
function signature(ip: Uint8Array): string | null {
  const tcp = ip.subarray(20);
  const end = ((tcp[12] as number) >> 4) * 4;
  for (let at = 20; at < end; ) {
    if (tcp[at] === 1) at++;
    else if (tcp[at] === 19) return Buffer.from(tcp.subarray(at + 2, at + 18)).toString("hex");
    else at += tcp[at + 1] as number;
  }
  return null;
}

interface Run {
  readonly pair: Pair;
  readonly client: number;
  readonly listener: number;
}

async function start(clientKey: Uint8Array | null, serverKey: Uint8Array | null, ext = false): Promise<Run> {
  const pair = await Pair.create({ offload: false });
  const { a, b } = pair;
  const listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const client = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (serverKey !== null) {
    const value = ext
      ? { addr: { family: AF_INET, addr: A, port: 0 }, flags: TCP_MD5SIG_FLAG_PREFIX, prefixlen: 24, key: serverKey }
      : { addr: { family: AF_INET, addr: A, port: 0 }, key: serverKey };
    expect(b.sys.setsockopt(listener, SOL_TCP, ext ? TCP_MD5SIG_EXT : TCP_MD5SIG, value)).toBe(0);
  }
  if (clientKey !== null) {
    const value = { addr: { family: AF_INET, addr: B, port: 0 }, key: clientKey };
    expect(a.sys.setsockopt(client, SOL_TCP, TCP_MD5SIG, value)).toBe(0);
  }
  expect(b.sys.bind(listener, { family: AF_INET, addr: 0, port: PORT })).toBe(0);
  expect(b.sys.listen(listener, 4)).toBe(0);
  a.sys.connect(client, { family: AF_INET, addr: B, port: PORT });
  await pair.kernel.advance(100);
  return { pair, client, listener };
}

describe("signed connections", () => {
  it.each([false, true])("carry data, both ways and to the end (key by prefix: %s)", async (ext) => {
    const { pair, client, listener } = await start(KEY, KEY, ext);
    const seen = watch(pair);
    const server = pair.b.sys.accept4(listener, null, SOCK_NONBLOCK);
    expect(server).toBeGreaterThan(0);
    expect(await pair.transfer(client, server, 100_000)).toBeGreaterThanOrEqual(0);
    expect(pair.b.sys.shutdown(server, SHUT_WR)).toBe(0);
    await pair.kernel.advance(1000);
    expect(seen.length).toBeGreaterThan(70);
    for (const segment of seen) expect(signature(segment)).toBe(digest(segment, KEY));
    await pair.finish([pair.a, client], [pair.b, server], [pair.b, listener]);
  });

  it.each([
    ["different keys", KEY, new Uint8Array([1]), LINUX_MIB_TCPMD5FAILURE],
    ["a client without", null, KEY, LINUX_MIB_TCPMD5NOTFOUND],
    ["a server without", KEY, null, LINUX_MIB_TCPMD5UNEXPECTED],
  ])("are not made with %s", async (_what, clientKey, serverKey, mib) => {
    const { pair, client, listener } = await start(clientKey, serverKey);
    expect(pair.b.sys.accept4(listener, null, SOCK_NONBLOCK)).toBeLessThan(0);
    expect(pair.b.ns.mib.linux[mib]).toBe(1);
    await pair.finish([pair.a, client], [pair.b, listener]);
  });

  it("are reset by a signed RST only", async () => {
    const { pair, client, listener } = await start(KEY, KEY);
    const server = pair.b.sys.accept4(listener, null, SOCK_NONBLOCK);
    const seen = watch(pair);
    pair.a.sys.send(client, new Uint8Array(10), 10, 0);
    await pair.kernel.advance(10);
    // Unread data: the close is a RST (RFC 2525 §2.17).
    pair.b.sys.close(server);
    await pair.kernel.advance(10);
    const rst = seen.find((s) => ((s[33] as number) & 4) !== 0) as Uint8Array;
    expect(signature(rst)).toBe(digest(rst, KEY));
    expect(pair.a.sys.recv(client, new Uint8Array(1), 1, 0)).toBeLessThan(-1);
    await pair.finish([pair.a, client], [pair.b, listener]);
  });
});

it("keys are set, replaced and deleted", async () => {
  const pair = await Pair.create();
  const fd = pair.a.sys.socket(AF_INET, SOCK_STREAM, 0);
  const set = (key: Uint8Array, family = AF_INET): number =>
    pair.a.sys.setsockopt(fd, SOL_TCP, TCP_MD5SIG, { addr: { family, addr: B, port: 0 }, key });
  expect(set(new Uint8Array(0))).toBe(-ENOENT);
  expect(set(new Uint8Array(81))).toBe(-EINVAL);
  expect(set(KEY, 10)).toBe(-EINVAL);
  expect(set(KEY)).toBe(0);
  expect(set(new Uint8Array(80))).toBe(0);
  expect(set(new Uint8Array(0))).toBe(0);
  expect(set(new Uint8Array(0))).toBe(-ENOENT);
  expect(pair.a.sys.setsockopt(fd, SOL_TCP, TCP_MD5SIG, 1)).toBe(-EINVAL);
  await pair.finish([pair.a, fd]);
});
