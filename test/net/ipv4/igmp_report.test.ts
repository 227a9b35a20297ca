/** IGMP: reports of joins and leaves, answers to queries. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devClose } from "../../../src/net/core/dev.ts";
import type { InDevice } from "../../../src/net/ipv4/devinet.ts";
import { inDevGet } from "../../../src/net/ipv4/devinet.ts";
import { ipMcDecGroup, ipMcIncGroup } from "../../../src/net/ipv4/igmp.ts";
import { rfc1071 } from "../../mm/util.ts";
import { A, B, ipPacket, readIp, TestHost } from "./host.ts";

const G1 = 0xe1020304;
const G2 = 0xe1020305;

let host: TestHost;
let eth0: NetDevice;
let inDev: InDevice;
beforeEach(() => {
  host = new TestHost();
  eth0 = host.device("eth0", A);
  inDev = inDevGet(eth0) as InDevice;
  host.advance(3_000_000);
  host.sent.length = 0;
});
afterEach(() => {
  host.end();
});

/** The reports that left: [record type, group]s of IGMPv3, [0x16, group] of IGMPv2. */
function reports(): [number, number][][] {
  return host.sent.splice(0).map((b) => {
    const p = readIp(b);
    expect(p).toMatchObject({ protocol: 2, ttl: 1, tos: 0xc0, saddr: A, options: [0x94, 4, 0, 0] });
    expect(rfc1071(p.payload)).toBe(0);
    const v = new DataView(p.payload.buffer, p.payload.byteOffset);
    if (v.getUint8(0) === 0x16) {
      expect(p.daddr).toBe(v.getUint32(4));
      return [[0x16, v.getUint32(4)]];
    }
    expect([p.daddr, v.getUint8(0)]).toEqual([0xe0000016, 0x22]);
    const out: [number, number][] = [];
    for (let i = 0; i < v.getUint16(6); i++) out.push([v.getUint8(8 + 8 * i), v.getUint32(12 + 8 * i)]);
    return out;
  });
}

function query(code: number, group: number, v3: boolean): void {
  const q = new Uint8Array(v3 ? 12 : 8);
  const v = new DataView(q.buffer);
  q[0] = 0x11;
  q[1] = code;
  v.setUint32(4, group);
  v.setUint16(2, rfc1071(q));
  host.receive(
    eth0,
    ipPacket({ protocol: 2, ttl: 1, saddr: B, daddr: group || 0xe0000001, options: [0x94, 4, 0, 0] }, q),
  );
}

describe("changes", () => {
  it("are reported at once, and once more within a second (robustness 2)", () => {
    ipMcIncGroup(inDev, G1);
    ipMcIncGroup(inDev, G1);
    ipMcIncGroup(inDev, G2);
    host.advance(2000);
    expect(reports()).toEqual([
      [
        [4, G1],
        [4, G2],
      ],
    ]);
    host.advance(1_010_000);
    expect(reports().length).toBe(1);
    host.advance(5_000_000);
    expect(reports()).toEqual([]);
    ipMcDecGroup(inDev, G1);
    ipMcDecGroup(inDev, G2);
    host.advance(2000);
    expect(reports()).toEqual([[[3, G2]]]);
  });

  it("of 224.0.0.1 are nobody's business, nor of the link's own groups if the sysctl says so", () => {
    ipMcIncGroup(inDev, 0xe0000001);
    host.sysctl("net.ipv4.igmp_link_local_mcast_reports", 0);
    ipMcIncGroup(inDev, 0xe00000fb);
    host.advance(5_000_000);
    expect(reports()).toEqual([]);
  });

  it("stop with the device", () => {
    ipMcIncGroup(inDev, G1);
    devClose(eth0);
    host.advance(5_000_000);
    expect(reports()).toEqual([]);
  });
});

describe("queries", () => {
  beforeEach(() => {
    ipMcIncGroup(inDev, G1);
    ipMcIncGroup(inDev, G2);
    host.advance(5_000_000);
    host.advance(5_000_000);
    host.sent.length = 0;
  });

  it("general: all groups, within the time given", () => {
    query(10, 0, true);
    host.advance(1_000_000);
    expect(reports()).toEqual([
      [
        [2, G1],
        [2, G2],
      ],
    ]);
  });

  it("of one group", () => {
    query(10, G2, true);
    host.advance(1_000_000);
    expect(reports()).toEqual([[[2, G2]]]);
  });

  it("IGMPv2: a report to each group", () => {
    query(100, 0, false);
    host.advance(10_000_000);
    expect(reports()).toEqual([[[0x16, G1]], [[0x16, G2]]]);
  });

  it("a wrong checksum, or a message too short, is dropped", () => {
    host.receive(eth0, ipPacket({ protocol: 2, daddr: 0xe0000001 }, [0x11, 10, 1, 1, 0, 0, 0, 0]));
    host.receive(eth0, ipPacket({ protocol: 2, daddr: 0xe0000001 }, [0x11, 10, 1, 1]));
    expect(host.drops.length).toBe(2);
    host.advance(5_000_000);
    expect(reports()).toEqual([]);
  });
});
