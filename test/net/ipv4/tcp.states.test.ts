/** RFC 9293 §3.3.2, §3.5, §3.6: the eleven states, how each is reached and how it is left. */

import { describe, expect, it } from "vitest";
import { SHUT_RD, SHUT_RDWR, SHUT_WR } from "../../../src/uapi/socket.ts";
import { errName, Peer } from "./peer.ts";

describe("opening", () => {
  it("RFC 9293 §3.5 figure 6: SYN, SYN-ACK, ACK from CLOSED to ESTABLISHED, active", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    expect(p.state(fd)).toBe("SYN_SENT");
    expect(c.text()).toEqual(["S 0:0(0)"]);
    c.send("S.", { mss: 1000 });
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
    expect(p.soError(fd)).toBe(0);
  });

  it("RFC 9293 §3.10.7.2: LISTEN to SYN-RECEIVED to ESTABLISHED, passive", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    expect(p.state(lfd)).toBe("LISTEN");
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    expect(p.states()).toEqual(["NEW_SYN_RECV"]);
    expect(c.text()).toEqual(["S. 0:0(0) ack 1"]);
    expect(errName(p.accept(lfd))).toBe("EAGAIN");
    c.send(".");
    const fd = p.accept(lfd);
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(c.text()).toEqual([]);
  });

  it("RFC 9293 §3.5 figure 7: simultaneous open", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.out();
    c.send("S", { mss: 1000 });
    expect(p.state(fd)).toBe("SYN_RECV");
    expect(c.text()).toEqual(["S. 0:0(0) ack 1"]);
    c.send("S.", { seq: 0, ack: 1, mss: 1000 });
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(p.soError(fd)).toBe(0);
    expect(p.poll(fd)).toBe("OUT");
  });

  it("RFC 9293 §3.5: a connection to oneself is a simultaneous open", async () => {
    const p = await Peer.create();
    const fd = p.socket();
    expect(p.host.sys.bind(fd, { family: 2, addr: 0x7f000001, port: 9000 })).toBe(0);
    expect([0, "EINPROGRESS"]).toContain(errName(p.host.sys.connect(fd, { family: 2, addr: 0x7f000001, port: 9000 })));
    p.sleep(1);
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(p.write(fd, 100)).toBe(100);
    p.sleep(1);
    expect(p.read(fd)).toBe(100);
  });

  it("RFC 9293 §3.5 figure 8: an old duplicate SYN is answered, and the peer's RST returns to LISTEN", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.send("S", { seq: 90, mss: 1000 });
    expect(c.text()).toEqual(["S. 0:0(0) ack 91"]);
    c.send("R", { seq: 91 });
    expect(p.states()).toEqual([]);
    expect(errName(p.accept(lfd))).toBe("EAGAIN");
    c.nxt = 0;
    c.open();
    expect(p.accept(lfd)).toBeGreaterThan(0);
  });

  it("RFC 9293 §3.10.7.3: data that came with the SYN-ACK is kept", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.send("S.", { mss: 1000 });
    c.send("P.", { len: 10 });
    expect(p.read(fd)).toBe(10);
  });

  it("data on the ACK of the handshake is delivered", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    c.send("P.", { len: 33 });
    const fd = p.accept(lfd);
    expect(p.read(fd)).toBe(33);
  });

  it("RFC 9293 §3.10.7.4: FIN on the ACK of the handshake goes to CLOSE-WAIT", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    c.send("F.");
    const fd = p.accept(lfd);
    expect(p.state(fd)).toBe("CLOSE_WAIT");
    expect(p.read(fd)).toBe(0);
  });
});

describe("closing", () => {
  it("RFC 9293 §3.6 figure 12: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, and CLOSED after 60 s", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    expect(p.states()).toEqual(["FIN_WAIT1"]);
    expect(c.text()).toEqual(["F. 1:1(0) ack 1"]);
    c.send(".");
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    c.send("F.");
    expect(c.text()).toEqual([". 2:2(0) ack 2"]);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(59_900);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(200);
    expect(p.states()).toEqual([]);
    c.send(".");
    expect(c.text()).toEqual(["R 2:2(0)"]);
  });

  it("RFC 9293 §3.6 figure 12: CLOSE-WAIT, LAST-ACK, CLOSED", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("F.");
    expect(p.state(fd)).toBe("CLOSE_WAIT");
    p.sleep(300);
    expect(c.text()).toEqual([". 1:1(0) ack 2"]);
    expect(p.write(fd, 10)).toBe(10);
    expect(c.text()).toEqual(["P. 1:11(10) ack 2"]);
    p.close(fd);
    expect(p.states()).toEqual(["LAST_ACK"]);
    expect(c.text()).toEqual(["F. 11:11(0) ack 2"]);
    c.send(".");
    expect(p.states()).toEqual([]);
  });

  it("RFC 9293 §3.6 figure 13: simultaneous close goes through CLOSING to TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.out();
    c.send("F.", { ack: 1 });
    expect(p.states()).toEqual(["CLOSING"]);
    expect(c.text()).toEqual([". 2:2(0) ack 2"]);
    c.send(".", { ack: 2 });
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(60_100);
    expect(p.states()).toEqual([]);
  });

  it("RFC 9293 §3.10.7.4: FIN and the ACK of ours in one segment: FIN-WAIT-1 to TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.out();
    c.send("F.", { ack: 2 });
    expect(p.states()).toEqual(["TIME_WAIT"]);
    expect(c.text()).toEqual([". 2:2(0) ack 2"]);
  });

  it("RFC 9293 §3.10.4: half-close: after shutdown(SHUT_WR) data still comes in", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    expect(p.shutdown(fd, SHUT_WR)).toBe(0);
    expect(c.text()).toEqual(["F. 1:1(0) ack 1"]);
    c.send(".", { ack: 2 });
    expect(p.state(fd)).toBe("FIN_WAIT2");
    c.send("P.", { len: 500 });
    expect(p.read(fd)).toBe(500);
    expect(p.write(fd, 1)).toBe("EPIPE");
    p.sleep(200_000);
    expect(p.state(fd)).toBe("FIN_WAIT2");
    c.send("F.");
    expect(p.read(fd)).toBe(0);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.close(fd);
  });

  it("RFC 9293 §3.10.7.4: a retransmitted FIN in TIME-WAIT is acknowledged and restarts the 2 MSL", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send("F.", { ack: 2 });
    c.out();
    p.sleep(40_000);
    c.send("F.", { seq: 1, ack: 2 });
    expect(c.text()).toEqual([". 2:2(0) ack 2"]);
    p.sleep(40_000);
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(20_100);
    expect(p.states()).toEqual([]);
  });

  it("RFC 9293 §3.6.1, tcp_fin_timeout: an orphan in FIN-WAIT-2 goes after 60 s without a TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send(".", { ack: 2 });
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    p.sleep(59_900);
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    p.sleep(300);
    expect(p.states()).toEqual([]);
    c.out();
    c.send("F.");
    expect(c.text()).toEqual(["R 2:2(0)"]);
  });

  it("tcp_fin_timeout=5 shortens it", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_fin_timeout": 5 } });
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send(".", { ack: 2 });
    p.sleep(4_900);
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    p.sleep(300);
    expect(p.states()).toEqual([]);
  });

  it("RFC 9293 §3.10.4: a close with data queued sends it first, and the FIN goes with the last of it", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000 }, 2100);
    expect(p.write(fd, 3500)).toBe(3500);
    p.close(fd);
    // The last frame of a super-packet is pushed, so that the receiver's GRO lets go of it.
    expect(c.text()).toEqual([". 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1"]);
    expect(p.states()).toEqual(["FIN_WAIT1"]);
    c.send(".", { ack: 2001, win: 32792 });
    expect(c.text()).toEqual([". 2001:3001(1000) ack 1", "FP. 3001:3501(500) ack 1"]);
    c.send(".");
    expect(p.states()).toEqual(["FIN_WAIT2"]);
  });

  it("RFC 9293 §3.10.7.4: FIN retransmitted by the peer in CLOSE-WAIT is acknowledged again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("F.");
    p.sleep(300);
    c.out();
    c.send("F.", { seq: 1 });
    expect(c.text().length).toBe(1);
    expect(p.state(fd)).toBe("CLOSE_WAIT");
  });

  it("a FIN out of order is held until the data before it is there", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("F.", { seq: 101 });
    expect(p.state(fd)).toBe("ESTABLISHED");
    c.send("P.", { seq: 1, len: 100 });
    expect(p.state(fd)).toBe("CLOSE_WAIT");
    expect(p.read(fd)).toBe(100);
    expect(p.read(fd)).toBe(0);
  });

  it("RFC 6191 / RFC 9293 §3.6.1: a SYN beyond the old numbers reopens from TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd, lfd } = p.accepted();
    p.close(fd);
    c.send("F.", { ack: 2 });
    expect(p.states()).toEqual(["TIME_WAIT"]);
    const oldIsn = c.irs;
    c.out();
    c.iss += 100_000;
    c.nxt = c.rcv = 0;
    c.send("S", { mss: 1000 });
    expect(c.text()).toEqual(["S. 0:0(0) ack 1"]);
    // tcp_timewait_state_process: beyond everything that the old incarnation could have sent.
    expect((c.irs - oldIsn) | 0).toBe(65535 + 2 + 2);
    c.send(".");
    expect(p.accept(lfd)).toBeGreaterThan(0);
    expect(p.states()).toEqual(["ESTABLISHED"]);
  });

  it("RFC 6191: with timestamps a later TSval reopens even with an older sequence number", async () => {
    const p = await Peer.create();
    const { c, fd, lfd } = p.accepted({ mss: 1000, ts: [1000, 0] });
    p.close(fd);
    c.send("F.", { ack: 2 });
    expect(p.states()).toEqual(["TIME_WAIT"]);
    p.sleep(2000);
    c.iss -= 100_000;
    c.nxt = c.rcv = 0;
    c.useTs = false;
    c.out();
    c.send("S", { mss: 1000, ts: [3000, 0] });
    expect(c.text()).toEqual(["S. 0:0(0) ack 1"]);
    c.send(".", { ts: [3000, c.tsRecent] });
    expect(p.accept(lfd)).toBeGreaterThan(0);
  });

  it("RFC 9293 §3.6.1: an old SYN in TIME-WAIT gets an ACK and changes nothing", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send("F.", { ack: 2 });
    c.out();
    c.send("S", { seq: -5000, mss: 1000 });
    expect(c.text()).toEqual([". 2:2(0) ack 2"]);
    expect(p.states()).toEqual(["TIME_WAIT"]);
  });

  it("RFC 1337 is off by default: a RST in sequence ends TIME-WAIT", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send("F.", { ack: 2 });
    c.send("R", { seq: 2 });
    expect(p.states()).toEqual([]);
  });

  it("RFC 1337: with tcp_rfc1337=1 it does not", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_rfc1337": 1 } });
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send("F.", { ack: 2 });
    c.send("R", { seq: 2 });
    expect(p.states()).toEqual(["TIME_WAIT"]);
  });
});

describe("shutdown", () => {
  it("SHUT_RD alone sends nothing and reads the end", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    expect(p.shutdown(fd, SHUT_RD)).toBe(0);
    expect(c.text()).toEqual([]);
    expect(p.read(fd)).toBe(0);
    expect(p.poll(fd)).toBe("IN OUT RDHUP");
    expect(p.write(fd, 5)).toBe(5);
  });

  it("SHUT_RDWR sends the FIN; reading gives the end, writing EPIPE", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    expect(p.shutdown(fd, SHUT_RDWR)).toBe(0);
    expect(c.text()).toEqual(["F. 1:1(0) ack 1"]);
    expect(p.read(fd)).toBe(0);
    expect(p.write(fd, 5)).toBe("EPIPE");
    expect(p.poll(fd)).toBe("IN OUT HUP RDHUP");
  });

  it("twice SHUT_WR is fine, and sends one FIN", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    expect(p.shutdown(fd, SHUT_WR)).toBe(0);
    expect(p.shutdown(fd, SHUT_WR)).toBe(0);
    expect(c.text()).toEqual(["F. 1:1(0) ack 1"]);
  });

  it("ENOTCONN before a connection", async () => {
    const p = await Peer.create();
    expect(p.shutdown(p.socket(), SHUT_RDWR)).toBe("ENOTCONN");
  });

  it("EINVAL for a bad how", async () => {
    const p = await Peer.create();
    const { fd } = p.accepted();
    expect(p.shutdown(fd, 7)).toBe("EINVAL");
  });

  it("of a listener (SHUT_RD) ends listening", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    expect(p.shutdown(lfd, SHUT_RD)).toBe(0);
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    expect(c.text()).toEqual(["R. 0:0(0) ack 1"]);
  });

  it("in SYN-SENT gives the connection up", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.out();
    expect(p.shutdown(fd, SHUT_RDWR)).toBe(0);
    expect(p.state(fd)).toBe("CLOSE");
    expect(c.text()).toEqual([]);
  });
});
