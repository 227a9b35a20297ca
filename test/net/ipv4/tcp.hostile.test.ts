/** What hostile links and odd programs have broken once (test/soak finds them). Every test ends with the pool checked. */

import { describe, expect, it } from "vitest";
import { allocSkb, consumeSkb, skbSk } from "../../../src/net/core/skbuff.ts";
import { skbSetOwnerSkSafe } from "../../../src/net/core/sock.ts";
import { AF_UNSPEC, MSG_OOB, MSG_PEEK, SO_LINGER, SO_SNDBUF, SOL_SOCKET } from "../../../src/uapi/socket.ts";
import { Peer } from "./peer.ts";

describe("tcp_disconnect", () => {
  const ways: [string, (p: Peer, fd: number) => void][] = [
    ["connect(AF_UNSPEC)", (p, fd) => void p.host.sys.connect(fd, { family: AF_UNSPEC, addr: 0, port: 0 })],
    ["close with SO_LINGER 0", (p, fd) => p.setopt(fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 } as never)],
  ];
  it.each(ways)("%s gives back what is read, unread and out of order", async (_name, end) => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("P.", { len: 500 });
    c.send("P.", { len: 500, seq: 2001 });
    p.write(fd, 3000);
    const sk = p.sock(fd);
    end(p, fd);
    p.close(fd);
    expect([sk.skRmemAlloc, sk.skWmemQueued, sk.skForwardAlloc, sk.outOfOrderQueue.qlen]).toEqual([0, 0, 0, 0]);
    expect(sk.skProtMem?.allocated).toBe(0);
  });

  it("leaves nothing of the old connection's numbers for the next one", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, sackOk: true });
    p.write(fd, 20_000);
    c.send(".", { ack: 1, sack: [[1001, 2001]] });
    p.sleep(3000);
    const sk = p.sock(fd);
    p.host.sys.connect(fd, { family: AF_UNSPEC, addr: 0, port: 0 });
    expect(sk.lostOut + sk.sackedOut + sk.retransOut + sk.packetsOut + sk.totalRetrans + sk.totalRto).toBe(0);
    expect([sk.rxOpt.sackOk, sk.rxOpt.mssClamp, sk.rackMstamp, sk.icskAck.rcvMss]).toEqual([0, 0, 0, 88]);
    p.close(fd);
  });
});

it("a sock that only waits for its skbs in flight gets no new owner's reference", async () => {
  const p = await Peer.create();
  const { fd } = p.accepted();
  const sk = p.sock(fd);
  p.kernel.core.enter();
  // refcount_inc_not_zero: close() has dropped the last reference, an skb of it is still in the driver.
  const refs = sk.skRefcnt;
  sk.skRefcnt = 0;
  const skb = allocSkb(100);
  skbSetOwnerSkSafe(skb, sk);
  expect(skbSk(skb)).toBe(null);
  expect(sk.skRefcnt).toBe(0);
  sk.skRefcnt = refs;
  consumeSkb(skb);
  p.kernel.core.exit();
  p.close(fd);
});

describe("urgent data", () => {
  it("a MSG_OOB that finds no room moves no mark", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000 }, 500);
    p.setopt(fd, SOL_SOCKET, SO_SNDBUF, 1);
    while (typeof p.write(fd, 500) === "number");
    c.out();
    expect(p.write(fd, 1, MSG_OOB)).toBe("EAGAIN");
    expect(p.sock(fd).sndUp).not.toBe(p.sock(fd).writeSeq);
    expect(c.text()).toEqual([]);
    c.send(".", { ack: c.rcv, win: 500 });
    expect(c.out().every((s) => !s.flags.includes("U"))).toBe(true);
    p.close(fd);
  });

  it("every retransmitted segment points at the same byte", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, sackOk: true });
    p.write(fd, 5000);
    p.write(fd, 1, MSG_OOB);
    p.write(fd, 3000);
    c.out();
    c.send(".", { ack: 1, sack: [[5001, 8002]] });
    p.sleep(1000);
    const urgent = c.out().filter((s) => s.flags.includes("U"));
    expect(urgent.length).toBeGreaterThan(1);
    expect(urgent.map((s) => s.seq + s.urg)).toEqual(urgent.map(() => 5002));
    p.close(fd);
  });

  it("is not taken from the header of the segment behind it that comes first", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000 });
    c.send("PU.", { len: 10, urg: 21 });
    c.send("P.", { seq: 22, len: 10 });
    expect(p.read(fd, 1, MSG_OOB)).toBe("EAGAIN");
    c.send("PU.", { seq: 11, data: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 77]), urg: 11 });
    expect(p.readBytes(fd, 1, MSG_OOB)).toEqual([77]);
    p.close(fd);
  });

  it("peeking at nothing but the urgent byte leaves the mark", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000 });
    c.send("PU.", { data: new Uint8Array([9]), urg: 1 });
    expect(p.read(fd, 10, MSG_PEEK)).toBe("EAGAIN");
    expect(p.readBytes(fd, 1, MSG_OOB)).toEqual([9]);
    c.send("P.", { data: new Uint8Array([1, 2]) });
    expect(p.readBytes(fd)).toEqual([1, 2]);
    p.close(fd);
  });
});
