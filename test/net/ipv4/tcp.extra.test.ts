/** Corners: orphans, crossing closes, floods, wraps. RFC 9293, RFC 5961, RFC 4987. */

import { describe, expect, it } from "vitest";
import { SHUT_RD, SHUT_WR, SOL_TCP } from "../../../src/uapi/socket.ts";
import { TCP_DEFER_ACCEPT, TCP_LINGER2 } from "../../../src/uapi/tcp.ts";
import { errName, Peer } from "./peer.ts";

const PLAIN = { mss: 1000 };

describe("RFC 9293 §3.4: sequence numbers wrap", () => {
  it("of the peer, within a transfer", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80, 4000, 0xfffffff0);
    c.open(PLAIN);
    const fd = p.accept(lfd);
    c.send("P.", { seq: 101, len: 100 });
    c.send("P.", { seq: 1, len: 100 });
    const got = p.readBytes(fd);
    expect(got.length).toBe(200);
    expect(got.every((b, i) => b === i % 251)).toBe(true);
    c.send("F.", { seq: 201 });
    expect(p.state(fd)).toBe("CLOSE_WAIT");
  });
});

describe("half-open connections and floods", () => {
  it("RFC 9293 §3.5.1: a peer that lost its state answers our data with a RST", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 10);
    c.send("R", { seq: 1 });
    expect(p.state(fd)).toBe("CLOSE");
    expect(p.read(fd)).toBe("ECONNRESET");
  });

  it("RFC 9293 §3.5.1: the peer's new SYN draws a challenge ACK; its RST makes room, its next SYN connects", async () => {
    const p = await Peer.create();
    const { c, lfd } = p.accepted(PLAIN);
    const oldNxt = c.nxt;
    c.send("S", { seq: 50_000, mss: 1000 });
    const [challenge] = c.out();
    expect(challenge).toMatchObject({ flags: ".", ack: oldNxt });
    c.send("R", { seq: challenge?.ack as number });
    expect(p.states()).toEqual([]);
    c.nxt = c.rcv = 0;
    c.iss += 50_000;
    c.open(PLAIN);
    expect(p.accept(lfd)).toBeGreaterThan(0);
  });

  it("RFC 4987 §3.6: SYN cookies when the request queue is full", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_max_syn_backlog": 4 } });
    const lfd = p.listen(80, 4);
    for (let i = 0; i < 50; i++) p.conn(80, 10_000 + i).send("S", PLAIN);
    const c = p.conn(80, 20_000);
    c.open(PLAIN);
    const fd = p.accept(lfd);
    expect(fd).toBeGreaterThan(0);
    c.send("P.", { len: 5 });
    expect(p.read(fd)).toBe(5);
    p.write(fd, 7);
    expect(c.text().at(-1)).toBe("P. 1:8(7) ack 6");
  });

  it("RFC 4987 §3.6: an ACK that carries no cookie of ours is reset", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_syncookies": 2 } });
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.send(".", { seq: 1, ack: 12345 });
    expect(c.text()).toEqual(["R 12345:12345(0)"]);
    expect(errName(p.accept(lfd))).toBe("EAGAIN");
  });

  it("TCP_DEFER_ACCEPT: the listener wakes with the first data", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    p.setopt(lfd, SOL_TCP, TCP_DEFER_ACCEPT, 5);
    const c = p.conn(80);
    c.open(PLAIN);
    expect(errName(p.accept(lfd))).toBe("EAGAIN");
    c.send("P.", { len: 5 });
    const fd = p.accept(lfd);
    expect(fd).toBeGreaterThan(0);
    expect(p.read(fd)).toBe(5);
  });
});

describe("orphans", () => {
  it("TCP_LINGER2=3: FIN-WAIT-2 ends after 3 s", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_LINGER2, 3);
    p.close(fd);
    c.send(".");
    p.sleep(2900);
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    p.sleep(200);
    expect(p.states()).toEqual([]);
  });

  it("the FIN of an orphan is retransmitted with backoff", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.close(fd);
    p.sleep(3100);
    expect(c.times()).toEqual([0, 200, 600, 1400, 3000]);
  });

  it("RFC 9293 §3.10.7.4: the FIN that arrives in an orphan's FIN-WAIT-2 starts the whole TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.close(fd);
    c.send(".");
    p.sleep(30_000);
    c.send("F.");
    p.sleep(59_000);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(2000);
    expect(p.states()).toEqual([]);
  });

  it("shutdown both ways one after the other, then close", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    expect(p.shutdown(fd, SHUT_RD)).toBe(0);
    expect(p.shutdown(fd, SHUT_WR)).toBe(0);
    p.close(fd);
    expect(c.text()).toEqual(["F. 1:1(0) ack 1"]);
    c.send("F.");
    expect(p.states()).toEqual(["TIME_WAIT"]);
  });

  it("tcp_max_tw_buckets=0: no TIME-WAIT is kept", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_max_tw_buckets": 0 } });
    const { c, fd } = p.accepted(PLAIN);
    p.close(fd);
    c.send("F.");
    expect(p.states()).toEqual([]);
  });
});
