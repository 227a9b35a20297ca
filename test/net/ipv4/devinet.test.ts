/** Addresses of devices: which one is chosen, and what becomes of the rest when one goes. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import type { InDevice } from "../../../src/net/ipv4/devinet.ts";
import {
  inDevGet,
  inetAddrOnlink,
  inetConfirmAddr,
  inetSelectAddr,
  ipDevFind,
  registerInetaddrNotifier,
} from "../../../src/net/ipv4/devinet.ts";
import { inetAddrType } from "../../../src/net/ipv4/fib_frontend.ts";
import { inetNtoa, maskLen, maskOf } from "../../../src/net/ipv4/inet_addr.ts";
import {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from "../../../src/uapi/rtnetlink.ts";
import { ip, World } from "../../tools/world.ts";

let w: World;
let a: Net;
let d0: NetDevice;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  w.run(a, "ip link add d0 type dummy\nip link set d0 up\nip link add d1 type dummy\nip link set d1 up");
  d0 = a.devByName.get("d0") as NetDevice;
});
afterEach(() => w.close());

function addrs(dev = "d0"): string[] {
  return w
    .run(a, `ip -o addr show ${dev}`)
    .split("\n")
    .flatMap(
      (l) =>
        /inet (\S+) .*?(secondary)?/
          .exec(l)
          ?.slice(1, 2)
          .map((x) => x + (l.includes("secondary") ? "*" : "")) ?? [],
    );
}

describe("a new host", () => {
  test("has its loopback up, with 127.0.0.1/8 and its routes", () => {
    expect(w.run(a, "ip -o addr show lo")).toBe(
      "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n",
    );
    expect(w.run(a, "ip route show table local")).toBe(
      "local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1 \n" +
        "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 \n" +
        "broadcast 127.255.255.255 dev lo proto kernel scope link src 127.0.0.1 \n",
    );
  });

  test("ends without a trace", () => {
    w.net("gone");
    w.run(
      a,
      "ip netns exec gone ip link add x type dummy\nip netns exec gone ip addr add 10.1.1.1/24 dev x\nip netns del gone",
    );
    expect(w.run(a, "ip netns list")).toBe("a\n");
  });
});

describe("which address is used", () => {
  beforeEach(() => {
    w.run(
      a,
      `ip addr add 10.0.0.1/24 dev d0
       ip addr add 10.0.0.2/24 dev d0
       ip addr add 10.5.0.1/24 dev d0
       ip addr add 169.254.1.1/16 dev d0 scope link
       ip addr add 10.9.0.1/24 dev d1`,
    );
  });
  test.each([
    ["d0", "10.0.0.77", RT_SCOPE_UNIVERSE, "10.0.0.1"],
    ["d0", "10.5.0.77", RT_SCOPE_UNIVERSE, "10.5.0.1"],
    ["d0", "8.8.8.8", RT_SCOPE_UNIVERSE, "10.0.0.1"],
    ["d0", "169.254.9.9", RT_SCOPE_LINK, "169.254.1.1"],
    ["d0", "169.254.9.9", RT_SCOPE_UNIVERSE, "10.0.0.1"],
    ["d1", "10.0.0.77", RT_SCOPE_UNIVERSE, "10.9.0.1"],
    ["lo", "10.0.0.77", RT_SCOPE_HOST, "127.0.0.1"],
    ["lo", "10.0.0.77", RT_SCOPE_UNIVERSE, "10.0.0.1"],
  ])("over %s to %s, scope %d: %s", (name, dst, scope, want) => {
    const dev = a.devByName.get(name) as NetDevice;
    expect(inetNtoa(w.in(() => inetSelectAddr(dev, ip(dst), scope)))).toBe(want);
  });

  test.each([
    ["10.0.0.9", "10.0.0.1", true],
    ["10.0.0.9", "10.5.0.1", false],
    ["10.9.0.9", "0.0.0.0", false],
  ])("inet_addr_onlink %s with %s: %s", (x, y, yes) => {
    expect(inetAddrOnlink(inDevGet(d0) as InDevice, ip(x), ip(y))).toBe(yes);
  });

  test("inet_confirm_addr", () => {
    const inDev = inDevGet(d0) as InDevice;
    const confirm = (dev: InDevice | null, dst: string, local: string, scope: number): string =>
      inetNtoa(inetConfirmAddr(a, dev, ip(dst), ip(local), scope));
    expect(confirm(inDev, "0.0.0.0", "10.0.0.2", RT_SCOPE_HOST)).toBe("10.0.0.2");
    expect(confirm(inDev, "10.5.0.9", "10.0.0.2", RT_SCOPE_HOST)).toBe("0.0.0.0");
    expect(confirm(inDev, "10.0.0.9", "0.0.0.0", RT_SCOPE_LINK)).toBe("10.0.0.1");
    expect(confirm(inDev, "0.0.0.0", "10.9.0.1", RT_SCOPE_HOST)).toBe("0.0.0.0");
    expect(confirm(null, "0.0.0.0", "10.9.0.1", RT_SCOPE_HOST)).toBe("10.9.0.1");
  });

  test.each([
    ["10.0.0.1", RTN_LOCAL, "d0"],
    ["10.0.0.2", RTN_LOCAL, "d0"],
    ["127.1.2.3", RTN_LOCAL, "lo"],
    ["10.0.0.255", RTN_BROADCAST, ""],
    ["255.255.255.255", RTN_BROADCAST, ""],
    ["0.0.0.0", RTN_BROADCAST, ""],
    ["224.0.0.1", RTN_MULTICAST, ""],
    ["10.0.0.9", RTN_UNICAST, ""],
    ["8.8.8.8", RTN_UNICAST, ""],
  ])("%s is of type %d", (addr, type, dev) => {
    expect(inetAddrType(a, ip(addr))).toBe(type);
    expect(ipDevFind(a, ip(addr))?.name ?? "").toBe(dev);
  });
});

describe("secondary addresses", () => {
  const add =
    "ip addr add 10.0.0.1/24 dev d0\nip addr add 10.0.0.2/24 dev d0\nip addr add 10.0.0.3/24 dev d0\nip addr add 10.1.0.1/24 dev d0";

  test("go with their primary one", () => {
    w.run(a, add);
    expect(addrs()).toEqual(["10.0.0.1/24", "10.1.0.1/24", "10.0.0.2/24*", "10.0.0.3/24*"]);
    w.run(a, "ip addr del 10.0.0.1/24 dev d0");
    expect(addrs()).toEqual(["10.1.0.1/24"]);
    expect(w.run(a, "ip route show table all dev d0")).not.toContain("10.0.0.");
  });

  test("or are promoted", () => {
    w.run(a, `sysctl net.ipv4.conf.d0.promote_secondaries=1\n${add}\nip addr del 10.0.0.1/24 dev d0`);
    expect(addrs()).toEqual(["10.1.0.1/24", "10.0.0.2/24", "10.0.0.3/24*"]);
    const routes = w.run(a, "ip route show table all dev d0");
    expect(routes).toContain("10.0.0.0/24 proto kernel scope link src 10.0.0.2 \n");
    expect(routes).toContain("local 10.0.0.3 table local proto kernel scope host src 10.0.0.2 \n");
    expect(routes).not.toContain("10.0.0.1");
  });

  test("an address that is still there by another prefix keeps its local route", () => {
    w.run(a, "ip addr add 10.0.0.1/24 dev d0\nip addr add 10.0.0.1/25 dev d0\nip addr del 10.0.0.1/24 dev d0");
    expect(w.run(a, "ip route show table all dev d0")).toBe(
      "10.0.0.0/25 proto kernel scope link src 10.0.0.1 \n" +
        "local 10.0.0.1 table local proto kernel scope host src 10.0.0.1 \n" +
        "broadcast 10.0.0.127 table local proto kernel scope link src 10.0.0.1 \n",
    );
  });
});

test("the chain of those who want to know", () => {
  const heard: string[] = [];
  registerInetaddrNotifier((event, ifa) => {
    if (ifa.ifaDev.dev.net === a) heard.push(`${event === 1 ? "+" : "-"}${inetNtoa(ifa.ifaLocal)}`);
  });
  w.run(a, "ip addr add 10.0.0.1/24 dev d0\nip addr add 10.0.0.2/24 dev d0\nip addr del 10.0.0.1/24 dev d0");
  expect(heard).toEqual(["+10.0.0.1", "+10.0.0.2", "-10.0.0.2", "-10.0.0.1"]);
});

test("masks", () => {
  for (let len = 0; len <= 32; len++) expect(maskLen(maskOf(len))).toBe(len);
  expect(maskLen(0xff00ff00)).toBe(-1);
  expect(maskLen(1)).toBe(-1);
});
