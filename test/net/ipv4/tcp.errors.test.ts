/** Refusals, aborts, ICMP errors, path MTU, and what a program is told: RFC 9293 §3.9, RFC 1122 §4.2.3.9, RFC 5927, RFC 1191. */

import { describe, expect, it } from "vitest";
import { IP_MTU, IP_RECVERR, IPPROTO_IP } from "../../../src/uapi/in.ts";
import { SHUT_WR, SO_LINGER, SO_REUSEADDR, SOCK_DGRAM, SOL_SOCKET } from "../../../src/uapi/socket.ts";
import { errName, HOST, PEER, Peer } from "./peer.ts";

const PLAIN = { mss: 1000 };

describe("abort", () => {
  it("RFC 9293 §3.10.5, SO_LINGER 0: close sends a RST", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 } as never);
    p.close(fd);
    expect(c.text()).toEqual(["R. 1:1(0) ack 1"]);
    expect(p.states()).toEqual([]);
  });

  it("RFC 2525 §2.17: close with unread data sends a RST", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 10 });
    c.out();
    p.close(fd);
    expect(c.text()).toEqual(["R. 1:1(0) ack 11"]);
    expect(p.states()).toEqual([]);
  });

  it("close of a listener resets what was not accepted", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.open(PLAIN);
    c.out();
    p.close(lfd);
    expect(c.text()).toEqual(["R. 1:1(0) ack 1"]);
    expect(p.states()).toEqual([]);
  });

  it("close of a listener forgets half-open requests", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.send("S", PLAIN);
    p.close(lfd);
    expect(p.states()).toEqual([]);
    c.out();
    c.send(".");
    expect(c.text()).toEqual(["R 1:1(0)"]);
  });

  it("close in SYN-SENT sends nothing", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.out();
    p.close(fd);
    expect(p.states()).toEqual([]);
    p.sleep(5000);
    expect(c.text()).toEqual([]);
  });

  it("connect(AF_UNSPEC) disconnects with a RST, and the socket can connect again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.connected(PLAIN);
    expect(errName(p.host.sys.connect(fd, { family: 0, addr: 0, port: 0 }))).toBe(0);
    expect(c.text()).toEqual(["R. 1:1(0) ack 1"]);
    expect(p.state(fd)).toBe("CLOSE");
    p.conn(0, 8);
    p.connect(8, fd);
    expect(p.state(fd)).toBe("SYN_SENT");
  });
});

describe("listen and accept", () => {
  it("a full accept queue drops SYNs and last ACKs; the SYN-ACK is repeated until there is room", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80, 1);
    const conns = [0, 1].map(() => {
      const c = p.conn(80);
      c.open(PLAIN);
      c.out();
      return c;
    });
    // backlog 1 holds two (sk_acceptq_is_full: ">").
    const late = p.conn(80);
    late.send("S", PLAIN);
    expect(late.text()).toEqual([]);
    expect(p.accept(lfd)).toBeGreaterThan(0);
    late.send("S", { ...PLAIN, seq: 0 });
    expect(late.text()).toEqual(["S. 0:0(0) ack 1"]);
    late.send(".");
    expect(p.accept(lfd)).toBeGreaterThan(0);
    expect(p.accept(lfd)).toBeGreaterThan(0);
    expect(errName(p.accept(lfd))).toBe("EAGAIN");
    expect(conns[0]?.text()).toEqual([]);
  });

  it("accept of what is no listener: EINVAL; of a datagram socket: EOPNOTSUPP", async () => {
    const p = await Peer.create();
    expect(errName(p.accept(p.socket()))).toBe("EINVAL");
    expect(errName(p.accept(p.socket(SOCK_DGRAM)))).toBe("EOPNOTSUPP");
    expect(errName(p.accept(99))).toBe("EBADF");
  });

  it("accept gives a connection that was reset meanwhile", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.open(PLAIN);
    c.send("R");
    const fd = p.accept(lfd);
    expect(fd).toBeGreaterThan(0);
    expect(p.read(fd)).toBe("ECONNRESET");
  });

  const binds: [string, (p: Peer, fd: number) => number, string | number][] = [
    [
      "of a port in use",
      (p, fd) => (p.listen(80), p.host.sys.bind(fd, { family: 2, addr: 0, port: 80 })),
      "EADDRINUSE",
    ],
    [
      "of a foreign address",
      (p, fd) => p.host.sys.bind(fd, { family: 2, addr: 0x01020304, port: 80 }),
      "EADDRNOTAVAIL",
    ],
    [
      "twice",
      (p, fd) => (
        p.host.sys.bind(fd, { family: 2, addr: 0, port: 81 }), p.host.sys.bind(fd, { family: 2, addr: 0, port: 82 })
      ),
      "EINVAL",
    ],
    ["of another family", (p, fd) => p.host.sys.bind(fd, { family: 10, addr: HOST, port: 80 }), "EAFNOSUPPORT"],
    ["of our address", (p, fd) => p.host.sys.bind(fd, { family: 2, addr: HOST, port: 80 }), 0],
  ];
  it.each(binds)("bind %s", async (_n, fn, want) => {
    const p = await Peer.create();
    expect(errName(fn(p, p.socket()))).toBe(want);
  });

  it("bind to a port in TIME_WAIT: EADDRINUSE, unless SO_REUSEADDR", async () => {
    const p = await Peer.create();
    const { c, fd, lfd } = p.accepted(PLAIN);
    p.close(fd);
    c.send("F.", { ack: 2 });
    p.close(lfd);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    const s = p.socket();
    const bind = (): string | number => errName(p.host.sys.bind(s, { family: 2, addr: 0, port: 80 }));
    expect(bind()).toBe("EADDRINUSE");
    p.setopt(s, SOL_SOCKET, SO_REUSEADDR, 1);
    // The old owner had not set it: SO_REUSEADDR of both is needed.
    expect(["EADDRINUSE", 0]).toContain(bind());
  });
});

describe("errno of connect, send and receive", () => {
  it("RFC 9293 §3.10.7.3: refused", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.send("R.", { ack: 1 });
    expect(p.poll(fd)).toBe("IN OUT ERR HUP RDHUP");
    expect(p.read(fd)).toBe("ECONNREFUSED");
    expect(p.soError(fd)).toBe(0);
  });

  const table: [string, (p: Peer, fd: number) => string | number, string | number][] = [
    ["send before connect", (p, fd) => p.write(fd, 1), "EPIPE"],
    ["recv before connect", (p, fd) => p.read(fd), "ENOTCONN"],
    [
      "getpeername before connect",
      (p, fd) => errName(p.host.sys.getpeername(fd, { family: 0, addr: 0, port: 0 })),
      "ENOTCONN",
    ],
    [
      "connect to a broadcast address",
      (p, fd) => errName(p.host.sys.connect(fd, { family: 2, addr: 0x0a0700ff, port: 1 })),
      "ENETUNREACH",
    ],
    [
      "connect with the wrong family",
      (p, fd) => errName(p.host.sys.connect(fd, { family: 10, addr: PEER, port: 1 })),
      "EAFNOSUPPORT",
    ],
    [
      "connect without a route",
      (p, fd) => (
        p.host.ip("route del default"), errName(p.host.sys.connect(fd, { family: 2, addr: 0x08080808, port: 1 }))
      ),
      "ENETUNREACH",
    ],
    [
      "connect on a listener",
      (p) => errName(p.host.sys.connect(p.listen(90), { family: 2, addr: PEER, port: 1 })),
      "EISCONN",
    ],
    ["listen on a connected socket", (p) => errName(p.host.sys.listen(p.connected(PLAIN).fd, 1)), "EINVAL"],
    ["recv on a listener", (p) => p.read(p.listen(90)), "ENOTCONN"],
    ["send on a listener", (p) => p.write(p.listen(90), 1), "EPIPE"],
    ["send during the handshake", (p) => (p.conn(0, 7), p.write(p.connect(7), 1)), "EAGAIN"],
    ["recv during the handshake", (p) => (p.conn(0, 7), p.read(p.connect(7))), "EAGAIN"],
    ["a bad descriptor", (p) => p.read(77), "EBADF"],
  ];
  it.each(table)("%s", async (_n, fn, want) => {
    const p = await Peer.create();
    expect(fn(p, p.socket())).toBe(want);
  });

  it("connect to an address nobody answers ARP for: EHOSTUNREACH", async () => {
    const p = await Peer.create({ arp: false });
    const fd = p.connect(7);
    p.sleep(3500);
    expect(p.soError(fd)).toBe("EHOSTUNREACH");
    expect(p.state(fd)).toBe("CLOSE");
  });

  it("send after the peer's reset: ECONNRESET once, then EPIPE", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("R");
    expect(p.write(fd, 1)).toBe("ECONNRESET");
    expect(p.write(fd, 1)).toBe("EPIPE");
  });

  it("partial writes: send takes what the buffer holds, then EAGAIN, and POLLOUT returns", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 1000);
    let total = 0;
    let n: string | number = 0;
    while (typeof (n = p.write(fd, 30_000)) === "number") total += n;
    expect(n).toBe("EAGAIN");
    expect(total).toBeGreaterThan(16_384);
    expect(total).toBeLessThan(30_000);
    expect(p.poll(fd)).toBe("");
    for (let i = 0; i < 1000 && p.poll(fd) === ""; i++) {
      c.send(".", { win: 60_000 });
      p.sleep(1);
    }
    expect(p.poll(fd)).toBe("OUT");
  });
});

describe("poll", () => {
  const table: [string, (p: Peer) => number, string][] = [
    ["a new socket", (p) => p.socket(), "OUT HUP"],
    ["a listener", (p) => p.listen(80), ""],
    [
      "a listener with a connection",
      (p) => {
        const l = p.listen(80);
        p.conn(80).open(PLAIN);
        return l;
      },
      "IN",
    ],
    ["SYN-SENT", (p) => (p.conn(0, 7), p.connect(7)), ""],
    ["ESTABLISHED", (p) => p.accepted(PLAIN).fd, "OUT"],
    [
      "ESTABLISHED with data",
      (p) => {
        const { c, fd } = p.accepted(PLAIN);
        c.send("P.", { len: 1 });
        return fd;
      },
      "IN OUT",
    ],
    [
      "CLOSE-WAIT",
      (p) => {
        const { c, fd } = p.accepted(PLAIN);
        c.send("F.");
        return fd;
      },
      "IN OUT RDHUP",
    ],
    [
      "FIN-WAIT-1",
      (p) => {
        const { fd } = p.accepted(PLAIN);
        p.shutdown(fd, SHUT_WR);
        return fd;
      },
      "OUT",
    ],
    [
      "FIN-WAIT-2",
      (p) => {
        const { c, fd } = p.accepted(PLAIN);
        p.shutdown(fd, SHUT_WR);
        c.send(".");
        return fd;
      },
      "OUT",
    ],
    [
      "TIME-WAIT",
      (p) => {
        const { c, fd } = p.accepted(PLAIN);
        p.shutdown(fd, SHUT_WR);
        c.send("F.");
        return fd;
      },
      "IN OUT HUP RDHUP",
    ],
    [
      "LAST-ACK",
      (p) => {
        const { c, fd } = p.accepted(PLAIN);
        c.send("F.");
        p.shutdown(fd, SHUT_WR);
        return fd;
      },
      "IN OUT HUP RDHUP",
    ],
  ];
  it.each(table)("%s", async (_n, make, want) => {
    const p = await Peer.create();
    expect(p.poll(make(p))).toBe(want);
  });
});

describe("ICMP errors", () => {
  // RFC 1122 §4.2.3.9; a connection that stands treats all of them as soft (Linux, RFC 5927 §5.2).
  const opening: [string, number, number, string][] = [
    ["net unreachable", 3, 0, "ENETUNREACH"],
    ["host unreachable", 3, 1, "EHOSTUNREACH"],
    ["protocol unreachable", 3, 2, "ENOPROTOOPT"],
    ["port unreachable", 3, 3, "ECONNREFUSED"],
    ["administratively prohibited", 3, 13, "EHOSTUNREACH"],
    ["time exceeded", 11, 0, "EHOSTUNREACH"],
    ["parameter problem", 12, 0, "EPROTO"],
  ];
  it.each(opening)("RFC 1122 §4.2.3.9: %s ends SYN-SENT", async (_n, type, code, error) => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.icmp(type, code);
    expect(p.state(fd)).toBe("CLOSE");
    expect(p.soError(fd)).toBe(error);
  });

  it.each(opening)("RFC 5927 §5.2: %s leaves ESTABLISHED alone", async (_n, type, code, error) => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 10);
    c.icmp(type, code, { seq: 1 });
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(p.read(fd)).toBe("EAGAIN");
    expect(p.poll(fd)).toBe("OUT");
    // Who asks is told (sk_err_soft).
    expect(p.soError(fd)).toBe(error);
    c.send(".");
    expect(p.write(fd, 10)).toBe(10);
  });

  it("a soft error is what the timeout reports in the end", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_retries2": 3 } });
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 10);
    c.icmp(11, 0, { seq: 1 });
    p.sleep(60_000);
    expect(p.soError(fd)).toBe("EHOSTUNREACH");
  });

  it("IP_RECVERR makes them hard", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, IPPROTO_IP, IP_RECVERR, 1);
    p.write(fd, 10);
    c.icmp(3, 1, { seq: 1 });
    expect(p.soError(fd)).toBe("EHOSTUNREACH");
    expect(p.state(fd)).toBe("ESTABLISHED");
  });

  it("RFC 5927 §4.1: one that quotes a number that is not in flight is ignored", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.icmp(3, 3, { seq: 5000 });
    expect(p.state(fd)).toBe("SYN_SENT");
  });

  it("RFC 1191 §3: fragmentation needed: the segment is sent again, smaller, at once", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1460 });
    p.write(fd, 2920);
    expect(c.out().map((s) => s.len)).toEqual([1460, 1460]);
    c.icmp(3, 4, { seq: 1, rest: 1000 });
    const again = c.out();
    expect(again[0]).toMatchObject({ seq: 1, len: 960 });
    expect(p.getopt(fd, IPPROTO_IP, IP_MTU)).toBe(1000);
    for (let i = 0; i < 10; i++) {
      c.send(".");
      p.sleep(300);
    }
    expect(c.rcv).toBe(2921);
    expect(c.out().every((s) => s.len <= 960)).toBe(true);
  });

  it("RFC 1191 §3: below min_pmtu it goes no lower than 552", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1460 });
    p.write(fd, 2920);
    c.out();
    c.icmp(3, 4, { seq: 1, rest: 68 });
    expect(p.getopt(fd, IPPROTO_IP, IP_MTU)).toBe(552);
  });

  it("RFC 5927 §7: a message for a number out of flight does not change the MTU", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1460 });
    p.write(fd, 2920);
    c.icmp(3, 4, { seq: 50_000, rest: 600 });
    expect(p.getopt(fd, IPPROTO_IP, IP_MTU)).toBe(1500);
  });

  it("RFC 1191 §6.3: the estimate expires after 10 minutes", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1460 });
    p.write(fd, 1460);
    c.icmp(3, 4, { seq: 1, rest: 1000 });
    for (let i = 0; i < 5; i++) {
      c.send(".");
      p.sleep(300);
    }
    p.sleep(601_000);
    c.out();
    p.write(fd, 1460);
    c.send(".");
    p.write(fd, 1460);
    expect(c.out().at(-1)?.len).toBe(1460);
  });
});
