import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import * as uapi from "../../src/uapi/index.ts";

const numbers = uapi as unknown as Record<string, number>;

describe("errno", () => {
  test.runIf(process.platform === "linux")("the numbers are those of this Linux", () => {
    for (const [name, value] of Object.entries(constants.errno)) expect([name, numbers[name]]).toEqual([name, value]);
  });

  test("names and messages, of either sign", () => {
    expect(uapi.errnoName(-uapi.ECONNREFUSED)).toBe("ECONNREFUSED");
    expect(uapi.errnoName(uapi.EAGAIN)).toBe("EAGAIN");
    expect(uapi.errnoName(-4000)).toBe("E4000");
    expect(uapi.errnoMessage(-111)).toBe("Connection refused");
    expect(uapi.errnoMessage(4000)).toBe("Unknown error 4000");
    expect(uapi.errnoByName("EWOULDBLOCK")).toBe(11);
    expect(uapi.errnoByName("EHOSTUNREACH")).toBe(113);
    expect(uapi.errnoByName("ENOSUCH")).toBeUndefined();
  });
});

describe("drop reasons", () => {
  test("numbers and names agree", () => {
    const reasons = Object.keys(uapi).filter(
      (name) => name.startsWith("SKB_DROP_REASON_") && name !== "SKB_DROP_REASON_MAX",
    );
    expect(reasons.length).toBe(uapi.SKB_DROP_REASON_MAX - 2);
    for (const name of reasons) {
      const reason = numbers[name] ?? Number.NaN;
      expect(`SKB_DROP_REASON_${uapi.dropReasonName(reason)}`).toBe(name);
      expect(uapi.dropReasonByName(name)).toBe(reason);
    }
    expect(uapi.dropReasonName(uapi.SKB_CONSUMED)).toBe("CONSUMED");
    expect(uapi.dropReasonByName("NO_SOCKET")).toBe(uapi.SKB_DROP_REASON_NO_SOCKET);
    expect(uapi.dropReasonByName("NO_SUCH")).toBeUndefined();
  });
});

describe("SNMP counters", () => {
  const lists = {
    "Ip:": uapi.snmp4IpstatsList,
    "Tcp:": uapi.snmp4TcpList,
    "Udp:": uapi.snmp4UdpList,
    "TcpExt:": uapi.snmp4NetList,
    "IpExt:": uapi.snmp4IpextstatsList,
  };
  const files = ["/proc/net/snmp", "/proc/net/netstat"];

  test("every counter of a list has an index of its own", () => {
    for (const list of Object.values(lists)) expect(new Set(list.map(([, index]) => index)).size).toBe(list.length);
  });

  test.runIf(files.every((file) => existsSync(file)))(
    "this kernel prints them under the same names in the same order",
    () => {
      const lines = files.flatMap((file) => readFileSync(file, "utf8").split("\n"));
      for (const [prefix, list] of Object.entries(lists)) {
        const theirs =
          lines
            .find((line) => line.startsWith(`${prefix} `))
            ?.split(" ")
            .slice(1) ?? [];
        const ours = list.map(([name]) => name);
        // Another version of the kernel may have some more or fewer.
        const both = theirs.filter((name) => ours.includes(name));
        expect(ours.filter((name) => theirs.includes(name))).toEqual(both);
        expect(both.length).toBeGreaterThan(theirs.length * 0.7);
      }
    },
  );
});

describe("helpers", () => {
  test("address classes, in host order", () => {
    expect([0xe0000001, 0xefffffff, 0xf0000000, 0x0a000001].map(uapi.IN_MULTICAST)).toEqual([true, true, false, false]);
    expect([0xf0000000, 0xffffffff, 0xe0000001].map(uapi.IN_BADCLASS)).toEqual([true, true, false]);
    expect([0x7f000001, 0x80000000].map(uapi.IN_LOOPBACK)).toEqual([true, false]);
    expect([0xe00000fb, 0xe0000100].map(uapi.IN_LOCAL_MULTICAST)).toEqual([true, false]);
  });

  test("traffic control handles", () => {
    expect(uapi.TC_H_MAKE(0x80010000, 0x10)).toBe(0x80010010);
    expect(uapi.TC_H_MAJ(0x80010010)).toBe(0x80010000);
    expect(uapi.TC_H_MIN(0x80010010)).toBe(0x10);
  });

  test("states", () => {
    expect(uapi.tcpStateName(uapi.TCP_LISTEN)).toBe("LISTEN");
    expect(uapi.tcpStateName(99)).toBe("99");
    for (const name of Object.keys(uapi)) {
      if (!name.startsWith("TCPF_")) continue;
      expect([name, 1 << (numbers[name.replace("TCPF_", "TCP_")] ?? -1)]).toEqual([name, numbers[name]]);
    }
  });
});
