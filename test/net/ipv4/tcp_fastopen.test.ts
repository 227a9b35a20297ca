/** TCP Fast Open: keys and cookies, the limits of a listener, and what the ends of sockets leave behind. */

import { afterEach, describe, expect, it } from "vitest";
import { siphash, siphashHi } from "../../../src/kernel/siphash.ts";
import { inetNtoa } from "../../../src/net/ipv4/inet_addr.ts";
import * as sys from "../../../src/net/socket.ts";
import { sysSendtoAsync } from "../../../src/net/syscalls_async.ts";
import { runScript } from "../../../src/tools/packetdrill/runner.ts";
import { EAGAIN, ECONNREFUSED, ECONNRESET, EINPROGRESS, EINVAL, EPIPE } from "../../../src/uapi/errno.ts";
import {
  LINUX_MIB_TCPFASTOPENLISTENOVERFLOW,
  LINUX_MIB_TCPFASTOPENPASSIVE,
  TCP_MIB_ACTIVEOPENS,
} from "../../../src/uapi/linux_mib.ts";
import { AF_INET, AF_UNSPEC, MSG_FASTOPEN, SHUT_RDWR, SOCK_STREAM, SOL_TCP } from "../../../src/uapi/socket.ts";
import { TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY, TCP_SYN_RECV } from "../../../src/uapi/tcp.ts";
import { LOCAL, REMOTE, RPORT, TcpWire } from "./tcp_wire.ts";

const ON = { "net.ipv4.tcp_fastopen": "3", "net.ipv4.tcp_fastopen_key": "1-2-3-4" };

let wires: TcpWire[] = [];
function wire(sysctls: Record<string, string> = ON): TcpWire {
  const w = new TcpWire({ sysctls });
  wires.push(w);
  return w;
}
/** Whatever a test did, nothing is left of it. */
afterEach(() => {
  for (const w of wires) {
    const fds = w.net.files.fdt.flatMap((f, fd) => (f === null ? [] : [fd]));
    const e = w.end(fds);
    expect(e.after).toEqual(e.before);
  }
  wires = [];
});

/** The cookie of two addresses under a key of four words, in hex, out of SipHash itself. */
function cookieOf(remote: string, local: string, key: string): string {
  const addresses = [remote, local].flatMap((a) => a.split(".").map(Number));
  const words = key.split("-").map((w) => Number.parseInt(w, 16));
  const lo = siphash(Uint8Array.from(addresses), 0, 8, Uint32Array.from(words));
  const le = (n: number): string => [0, 8, 16, 24].map((s) => ((n >>> s) & 255).toString(16).padStart(2, "0")).join("");
  return le(lo) + le(siphashHi);
}
const COOKIE = [...Buffer.from(cookieOf(inetNtoa(REMOTE), inetNtoa(LOCAL), "1-2-3-4"), "hex")];
const fo = (cookie: number[]): number[] => [34, 2 + cookie.length, ...cookie];

/** A SYN with `len` bytes and a good cookie from port RPORT + n. Sequence numbers of each flow begin at 0. */
function syn(w: TcpWire, n: number, len = 100): void {
  w.peerIss = -1;
  w.in("S", { mss: 1000, seq: 0, len, raw: fo(COOKIE), sport: RPORT + n });
}
/** What the SYN-ACK acknowledges: 1 = the SYN alone. */
function acked(w: TcpWire): number[] {
  return w.out().map((s) => s.ack);
}
const listener = (w: TcpWire, qlen: number): number => {
  const fd = w.listen();
  w.ok(sys.sysSetsockopt(w.net, fd, SOL_TCP, TCP_FASTOPEN, qlen));
  return fd;
};

describe("cookies", () => {
  // From Linux: of two hosts, and of a host with itself.
  it.each([
    ["192.0.2.1", "192.168.0.1", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4", "3021b9d889017eeb"],
    ["192.0.2.1", "192.168.0.1", "0-0-0-0", "b7c12350a90dc8f5"],
    ["127.0.0.1", "127.0.0.1", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4", "9609976ee4a2284d"],
  ])("of %s for %s with key %s", (remote, local, key, want) => {
    expect(cookieOf(remote, local, key)).toBe(want);
  });

  it.each([
    ["10.1.2.3", "192.168.9.9", "1-2-3-4"],
    ["192.0.2.200", "192.168.1.200", "deadbeef-0-ffffffff-80000000"],
  ])("a listener grants %s at %s the one of its key", async (remote, local, key) => {
    const result = await runScript(
      "cookie.pkt",
      `--local_ip=${local}
--remote_ip=${remote}
\`sysctl -q net.ipv4.tcp_fastopen_key=${key}\`
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 20000 <mss 1000,FO>
+0 > S. 0:0(0) ack 1 <mss 1460,FO ${cookieOf(remote, local, key)},nop,nop>
`,
    );
    expect(result.message).toBe("");
  });
});

describe("net.ipv4.tcp_fastopen_key", () => {
  const ONE = "00000001-00000002-00000003-00000004";
  // As Linux 6.18 takes and shows them.
  it.each<[written: string, shown: string | null]>([
    ["1-2-3-4", ONE],
    ["0x1-0X2-3-4", ONE],
    ["1-2-3-4junk", ONE],
    [" 1- 2-3-4", ONE],
    ["123456789-2-3-4", "23456789-00000002-00000003-00000004"],
    ["0xffffffffff-2-3-4", "ffffffff-00000002-00000003-00000004"],
    ["1-0x-3-4", "00000001-00000000-00000003-00000004"],
    ["ABCDEF01-2-3-4", "abcdef01-00000002-00000003-00000004"],
    ["1-2-3-4,5-6-7-8", `${ONE},00000005-00000006-00000007-00000008`],
    ["1-2-3-4,5-6-7-8,9-a-b-c", `${ONE},00000005-00000006-00000007-00000008`],
    ["1 -2-3-4", null],
    ["1-2-3", null],
    ["1-2-3-4,", null],
    ["1-2-3-4,5-6-7", null],
    [",1-2-3-4", null],
    ["g-2-3-4", null],
    ["-1-2-3-4", null],
    ["", null],
  ])('"%s"', (written, shown) => {
    const w = wire({});
    const entry = w.net.sysctlTable.get("net.ipv4.tcp_fastopen_key");
    expect(entry?.get()).toBe("00000000-00000000-00000000-00000000");
    expect(entry?.set(written)).toBe(shown === null ? -EINVAL : 0);
    expect(entry?.get()).toBe(shown ?? "00000000-00000000-00000000-00000000");
  });

  it("is drawn when a listener first wants one, and stays", () => {
    const w = wire({ "net.ipv4.tcp_fastopen": "2" });
    const key = (): string => w.net.sysctlTable.get("net.ipv4.tcp_fastopen_key")?.get() ?? "";
    const lfd = w.listen();
    expect(key()).toMatch(/^[0-]+$/);
    w.ok(sys.sysSetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN, 5));
    const drawn = key();
    expect(drawn).not.toMatch(/^[0-]+$/);
    w.ok(sys.sysSetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN, 7));
    expect(key()).toBe(drawn);
  });

  it("of a listener: what was set is read, cut to what there is room for", () => {
    const w = wire();
    const lfd = w.listen();
    const err = { value: 0 };
    const get = (): unknown => sys.sysGetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN_KEY, err);
    expect(get()).toEqual(new Uint8Array(0));
    const keys = Uint8Array.from({ length: 32 }, (_, i) => i);
    for (const len of [0, 15, 17, 31]) {
      expect(sys.sysSetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN_KEY, keys.slice(0, len))).toBe(-EINVAL);
    }
    expect(sys.sysSetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN_KEY, 5)).toBe(-EINVAL);
    for (const len of [16, 32]) {
      w.ok(sys.sysSetsockopt(w.net, lfd, SOL_TCP, TCP_FASTOPEN_KEY, keys.slice(0, len)));
      expect(get()).toEqual(keys.slice(0, len));
    }
  });
});

describe("the limit of a listener (RFC 7413 §5.1)", () => {
  it("so many handshakes may be pending; the next SYN is answered without Fast Open", () => {
    const w = wire();
    listener(w, 2);
    for (let n = 0; n < 3; n++) syn(w, n);
    expect(acked(w)).toEqual([101, 101, 1]);
    expect(w.ext(LINUX_MIB_TCPFASTOPENLISTENOVERFLOW)).toBe(1);
    // The third one's handshake ends, and it is no Fast Open child: nothing changes.
    w.in(".", { seq: 1, ack: 1, sport: RPORT + 2 });
    syn(w, 3);
    expect(acked(w)).toEqual([1]);
    // One child is established: there is room for another.
    const isn = w.tcp().find((s) => s.skcState === TCP_SYN_RECV && s.skcDport === RPORT)?.fastopenRsk?.sntIsn ?? 0;
    w.peerIss = isn;
    w.in(".", { seq: 101, ack: 1, sport: RPORT });
    syn(w, 4);
    expect(acked(w)).toEqual([101]);
    expect(w.ext(LINUX_MIB_TCPFASTOPENPASSIVE)).toBe(3);
  });

  it("a child that was accepted and then reset counts for a minute more", () => {
    const w = wire();
    const lfd = listener(w, 1);
    syn(w, 0);
    const fd = w.ok(sys.sysAccept(w.net, lfd, null));
    w.in("R", { seq: 101, win: 0 });
    expect(w.tcp().some((s) => s.skcState === TCP_SYN_RECV)).toBe(false);
    w.out();
    syn(w, 1);
    expect(acked(w)).toEqual([1]);
    w.sleep(59_000);
    w.out();
    syn(w, 2);
    expect(acked(w)).toEqual([1]);
    w.sleep(1_100);
    w.out();
    syn(w, 3);
    expect(acked(w)).toEqual([101]);
    expect((w.read(fd) as Uint8Array).length).toBe(100);
    expect(w.read(fd)).toBe(-ECONNRESET);
  });

  it("a child that was reset before accept() does not, and is accepted all the same", () => {
    const w = wire();
    const lfd = listener(w, 1);
    syn(w, 0);
    w.in("R", { seq: 101, win: 0 });
    w.out();
    syn(w, 1);
    expect(acked(w)).toEqual([101]);
    const fd = w.ok(sys.sysAccept(w.net, lfd, null));
    expect((w.read(fd) as Uint8Array).length).toBe(100);
  });

  it("with net.ipv4.tcp_fastopen's 0x400 the backlog is the limit", () => {
    const w = wire({ ...ON, "net.ipv4.tcp_fastopen": "0x402" });
    w.listen(1);
    syn(w, 0);
    syn(w, 1);
    expect(acked(w)).toEqual([101, 1]);
  });
});

describe("the end of", () => {
  it("a listener: children in the queue are reset, accepted ones live on", () => {
    const w = wire();
    const lfd = listener(w, 5);
    syn(w, 0);
    const fd = w.ok(sys.sysAccept(w.net, lfd, null));
    syn(w, 1);
    w.out();
    w.close(lfd);
    expect(w.out().map((s) => s.flags)).toEqual(["R."]);
    const left = w.tcp().filter((s) => s.skcState === TCP_SYN_RECV);
    expect(left.map((s) => s.skcDport)).toEqual([RPORT]);
    w.peerIss = left[0]?.fastopenRsk?.sntIsn ?? 0;
    w.in(".", { seq: 101, ack: 1 });
    expect((w.read(fd) as Uint8Array).length).toBe(100);
    expect(w.write(fd, 10)).toBe(10);
  });

  it("a listener, after a child of it was reset: nothing waits for it", () => {
    const w = wire();
    const lfd = listener(w, 5);
    syn(w, 0);
    w.ok(sys.sysAccept(w.net, lfd, null));
    w.close(lfd);
    w.in("R", { seq: 101, win: 0 });
    // Listening again starts with an empty queue.
    listener(w, 1);
    w.out();
    syn(w, 1);
    expect(acked(w)).toEqual([101]);
  });

  it("a child whose SYN-ACK nobody answers: accept() has it in time, and it times out by itself", () => {
    const w = wire({ ...ON, "net.ipv4.tcp_synack_retries": "0" });
    const lfd = listener(w, 5);
    syn(w, 0);
    w.sleep(10_000);
    expect(w.out().map((s) => Math.round(s.at / 1000))).toEqual([0, 1000]);
    expect(w.tcp().some((s) => s.skcState === TCP_SYN_RECV)).toBe(false);
    const fd = w.ok(sys.sysAccept(w.net, lfd, null));
    expect((w.read(fd) as Uint8Array).length).toBe(100);
  });
});

describe("sending with MSG_FASTOPEN", () => {
  const peer = { family: AF_INET, addr: REMOTE, port: RPORT };
  const client = { "net.ipv4.tcp_fastopen": "5", "net.ipv4.tcp_timestamps": "0" };

  it("wants an address", () => {
    const w = wire(client);
    const fd = sys.sysSocket(w.net, AF_INET, SOCK_STREAM, 0);
    expect(sys.sysSendto(w.net, fd, new Uint8Array(5), 5, MSG_FASTOPEN, null)).toBe(-EINVAL);
    expect(w.out()).toEqual([]);
  });

  it.each([
    ["what the SYN took is the result", client, 700],
    ["and with nothing in it the call is in progress", { "net.ipv4.tcp_fastopen": "1" }, -EINPROGRESS],
  ])("SO_SNDTIMEO ends the wait for the handshake: %s", async (_what, sysctls, want) => {
    const w = wire(sysctls);
    const fd = sys.sysSocket(w.net, AF_INET, SOCK_STREAM, 0);
    w.sock(fd).skSndtimeo = 300_000;
    let result: number | null = null;
    const done = sysSendtoAsync(w.net, fd, new Uint8Array(700), 700, MSG_FASTOPEN, peer).then((n) => {
      result = n;
    });
    for (let i = 0; i < 10; i++) await Promise.resolve();
    w.kernel.run();
    expect(w.out().map((s) => [s.flags, s.len])).toEqual([["S", want > 0 ? 700 : 0]]);
    w.sleep(299);
    await Promise.resolve();
    expect(result).toBeNull();
    w.sleep(2);
    await done;
    expect(result).toBe(want);
  });

  it.each<[what: string, disturb: (w: TcpWire, fd: number) => void, want: number]>([
    ["shutdown()", (w, fd) => w.shutdown(fd, SHUT_RDWR), -ECONNRESET],
    [
      "connect() to nowhere",
      (w, fd) => expect(sys.sysConnect(w.net, fd, { ...peer, family: AF_UNSPEC })).toBe(0),
      -EPIPE,
    ],
    [
      "a refusal that another connect() has heard of",
      (w, fd) => {
        w.in("R.", { seq: 0, ack: 701, win: 0, dport: w.sock(fd).inetSport });
        expect(sys.sysConnect(w.net, fd, peer)).toBe(-ECONNREFUSED);
      },
      -EPIPE,
    ],
    ["a refusal", (w, fd) => w.in("R.", { seq: 0, ack: 701, win: 0, dport: w.sock(fd).inetSport }), -ECONNREFUSED],
  ])("a blocked call ends with %s", async (_what, disturb, want) => {
    const w = wire(client);
    const fd = sys.sysSocket(w.net, AF_INET, SOCK_STREAM, 0);
    const call = sysSendtoAsync(w.net, fd, new Uint8Array(700), 700, MSG_FASTOPEN, peer);
    w.sleep(10);
    w.out();
    disturb(w, fd);
    w.sleep(10);
    expect(await call).toBe(want);
  });

  it("after TCP_FASTOPEN_CONNECT nothing is sent before the first write, and a failed route is told then", () => {
    const w = wire(client);
    const fd = sys.sysSocket(w.net, AF_INET, SOCK_STREAM | 2048, 0);
    w.ok(sys.sysSetsockopt(w.net, fd, SOL_TCP, TCP_FASTOPEN_CONNECT, 1));
    expect(sys.sysConnect(w.net, fd, peer)).toBe(0);
    w.sleep(5000);
    expect(w.out()).toEqual([]);
    expect(w.net.mib.tcp[TCP_MIB_ACTIVEOPENS]).toBe(0);
    const out = new Uint8Array(10);
    expect(sys.sysRecv(w.net, fd, out, 10, 0)).toBe(-EAGAIN);
    expect(w.write(fd, 20)).toBe(20);
    expect(w.out().map((s) => [s.flags, s.len])).toEqual([["S", 20]]);
    expect(w.net.mib.tcp[TCP_MIB_ACTIVEOPENS]).toBe(1);
    // The answer, with data.
    w.in("S.", { seq: 0, ack: 21, mss: 1000, len: 5, dport: w.sock(fd).inetSport, sport: RPORT });
    expect((w.read(fd) as Uint8Array).length).toBe(5);
  });
});
