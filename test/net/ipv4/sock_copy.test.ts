/** What sk_clone_lock copies: every field of every class, so that a new one cannot be forgotten. */

import { describe, expect, test } from "vitest";
import { Sock } from "../../../src/net/core/sock.ts";
import { IcskAck, InetConnectionSock, InetSock } from "../../../src/net/ipv4/inet_sock.ts";
import { TcpOptionsReceived, TcpSock } from "../../../src/net/ipv4/tcp_sock.ts";

/** What a sock is made with (sk_prot_alloc): pointers that are the same for both. */
const GIVEN: ReadonlySet<string> = new Set("net skProt skProtCreator pageFrag skProtMem".split(" "));
/** The structs inside of the sock that a child starts afresh. */
const FRESH: ReadonlySet<string> = new Set([
  ..."skReceiveQueue skWriteQueue skErrorQueue mcList corkFl icskAcceptQueue".split(" "),
  ..."tcpRtxQueue outOfOrderQueue duplicateSack selectiveAcks recvSackCache receivedEcnBytes deliveredEcnBytes".split(
    " ",
  ),
]);
/** Structs inside of the sock that are copied as such. */
const EMBEDDED: ReadonlySet<string> = new Set([
  "icskAck",
  "rxOpt",
  "rttMin",
  "chronoStat",
  "receivedEcnBytes",
  "deliveredEcnBytes",
]);

describe("copyFrom", () => {
  test.each([Sock, InetSock, InetConnectionSock, TcpSock])("class $name: takes over every field", (Class) => {
    const from = new Class() as unknown as Record<string, unknown>;
    const to = new Class() as unknown as Record<string, unknown>;
    const keys = Object.keys(from).filter((key) => !GIVEN.has(key) && !FRESH.has(key) && !EMBEDDED.has(key));
    for (const key of keys) from[key] = `${key} of the listener`;
    (to as unknown as Sock).copyFrom(from as unknown as Sock);
    expect(keys.filter((key) => to[key] !== from[key])).toEqual([]);
    for (const key of [...FRESH, ...EMBEDDED]) if (key in to) expect(to[key], key).not.toBe(from[key]);
  });

  test.each([IcskAck, TcpOptionsReceived])("class $name: takes over every field", (Class) => {
    const from = new Class() as unknown as Record<string, unknown>;
    const to = new Class() as unknown as Record<string, unknown>;
    for (const key of Object.keys(from)) from[key] = `${key} of the listener`;
    (to as unknown as IcskAck).copyFrom(from as unknown as IcskAck);
    expect(to).toEqual(from);
  });

  test("the arrays inside of a tcp_sock", () => {
    const from = new TcpSock();
    const to = new TcpSock();
    from.rttMin.fill(3);
    from.chronoStat.fill(4);
    to.copyFrom(from);
    expect([...to.rttMin, ...to.chronoStat]).toEqual([...from.rttMin, ...from.chronoStat]);
  });
});
