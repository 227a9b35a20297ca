/**
 * SOL_SOCKET: what setsockopt(2) and getsockopt(2) answer, against what Linux 6.18 answered to the same calls (root, a new
 * socket an option, the values in turn): sock_options.linux.json, rows of [initial, [setsockopt, getsockopt after it] ...].
 */

import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CAP_NET_ADMIN, CAP_NET_RAW } from "../../../src/kernel/capability.ts";
import type { OptVal } from "../../../src/net/core/sock.ts";
import { ErrBox } from "../../../src/net/core/sock.ts";
import { sysBind, sysGetsockopt, sysSetsockopt, sysSocket } from "../../../src/net/socket.ts";
import { errnoName } from "../../../src/uapi/errno.ts";
import {
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_COOKIE,
  SO_DEBUG,
  SO_LINGER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_PEERNAME,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVTIMEO,
  SO_SNDBUFFORCE,
  SO_SNDTIMEO,
  SO_TIMESTAMPING,
  SO_TXTIME,
  SOL_SOCKET,
} from "../../../src/uapi/socket.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

type Answer = number | string;
interface Recorded {
  values: number[];
  tcp: Record<string, [Answer, ...[Answer, Answer][]]>;
  udp: Record<string, [Answer, ...[Answer, Answer][]]>;
}
const linux = JSON.parse(readFileSync(new URL("./sock_options.linux.json", import.meta.url), "utf8")) as Recorded;

let h: TestHost;
beforeEach(() => {
  h = testHost();
});
afterEach(() => h.close());

const box = new ErrBox();

/** The option's value as the int that a C program would read, or the errno's name. */
function get(fd: number, opt: number): Answer {
  const value = sysGetsockopt(h.net, fd, SOL_SOCKET, opt, box);
  if (box.value < 0) return errnoName(box.value);
  if (opt === SO_TIMESTAMPING) return (value as { flags: number }).flags;
  if (opt === SO_TXTIME) return (value as { clockid: number }).clockid;
  return (value as number) | 0;
}
function set(fd: number, opt: number, value: OptVal): Answer {
  const ret = sysSetsockopt(h.net, fd, SOL_SOCKET, opt, value);
  return ret < 0 ? errnoName(ret) : ret;
}

describe.each([
  ["tcp", 1],
  ["udp", 2],
] as const)("integer options of %s", (name, type) => {
  test.each(Object.entries(linux[name]))("option %s", (opt, row) => {
    const fd = sysSocket(h.net, 2, type, 0);
    const n = Number(opt);
    const got = [get(fd, n), ...linux.values.map((v) => [set(fd, n, v), get(fd, n)])];
    expect(got).toEqual(row);
  });
});

describe("other options", () => {
  let fd: number;
  beforeEach(() => {
    fd = sysSocket(h.net, 2, 2, 0);
  });
  const read = (opt: number): OptVal => sysGetsockopt(h.net, fd, SOL_SOCKET, opt, box);

  test("SO_LINGER: seconds, unsigned", () => {
    expect(read(SO_LINGER)).toEqual({ onoff: 0, linger: 0 });
    expect(set(fd, SO_LINGER, { onoff: 1, linger: 10 })).toBe(0);
    expect(read(SO_LINGER)).toEqual({ onoff: 1, linger: 10 });
    expect(set(fd, SO_LINGER, { onoff: 0, linger: 3 })).toBe(0);
    expect(read(SO_LINGER)).toEqual({ onoff: 0, linger: 10 });
    expect(set(fd, SO_LINGER, 1)).toBe("EINVAL");
  });

  test.each([SO_RCVTIMEO, SO_SNDTIMEO])("timeout %i: rounded up to milliseconds", (opt) => {
    expect(read(opt)).toEqual({ tvSec: 0, tvUsec: 0 });
    expect(set(fd, opt, { tvSec: 2, tvUsec: 1 })).toBe(0);
    expect(read(opt)).toEqual({ tvSec: 2, tvUsec: 1000 });
    expect(set(fd, opt, { tvSec: 0, tvUsec: 1000000 })).toBe("EDOM");
    expect(set(fd, opt, { tvSec: 0, tvUsec: -1 })).toBe("EDOM");
    expect(set(fd, opt, 5)).toBe("EINVAL");
    expect(set(fd, opt, { tvSec: 0, tvUsec: 0 })).toBe(0);
    expect(read(opt)).toEqual({ tvSec: 0, tvUsec: 0 });
  });

  test("SO_BINDTODEVICE: a name, as a string or bytes", () => {
    expect(read(SO_BINDTODEVICE)).toBe("");
    expect(set(fd, SO_BINDTODEVICE, "eth7")).toBe("ENODEV");
    expect(set(fd, SO_BINDTODEVICE, new Uint8Array([108, 111, 0, 1]))).toBe(0);
    expect(read(SO_BINDTODEVICE)).toBe("lo");
    expect(read(SO_BINDTOIFINDEX)).toBe(1);
    h.net.capsDropped.add(CAP_NET_RAW);
    expect(set(fd, SO_BINDTODEVICE, "")).toBe("EPERM");
    h.net.capsDropped.clear();
    expect(set(fd, SO_BINDTODEVICE, "")).toBe(0);
    expect(read(SO_BINDTOIFINDEX)).toBe(0);
  });

  test("capabilities", () => {
    h.net.capsDropped.add(CAP_NET_ADMIN);
    h.net.capsDropped.add(CAP_NET_RAW);
    expect(set(fd, SO_DEBUG, 1)).toBe("EACCES");
    expect(set(fd, SO_PRIORITY, 6)).toBe(0);
    expect(set(fd, SO_PRIORITY, 7)).toBe("EPERM");
    expect(set(fd, SO_MARK, 1)).toBe("EPERM");
    expect(set(fd, SO_RCVBUFFORCE, 1)).toBe("EPERM");
    expect(set(fd, SO_SNDBUFFORCE, 1)).toBe("EPERM");
  });

  test("SO_RCVBUFFORCE passes rmem_max", () => {
    expect(set(fd, SO_RCVBUFFORCE, 50_000_000)).toBe(0);
    expect(read(SO_RCVBUF)).toBe(100_000_000);
  });

  test("bytes are as good as a number", () => {
    expect(set(fd, SO_RCVBUF, new Uint8Array([0, 0x40, 0, 0]))).toBe(0);
    expect(read(SO_RCVBUF)).toBe(32768);
    expect(set(fd, SO_RCVBUF, new Uint8Array([0, 0x40]))).toBe("EINVAL");
  });

  test("SO_TXTIME, SO_MAX_PACING_RATE", () => {
    expect(set(fd, SO_TXTIME, { clockid: 1, flags: 3 })).toBe(0);
    expect(read(SO_TXTIME)).toEqual({ clockid: 1, flags: 3 });
    expect(set(fd, SO_TXTIME, { clockid: 1, flags: 4 })).toBe("EINVAL");
    expect(set(fd, SO_MAX_PACING_RATE, 2 ** 33)).toBe(0);
    expect(read(SO_MAX_PACING_RATE)).toBe(0xffffffff);
    expect(set(fd, SO_MAX_PACING_RATE, 125000)).toBe(0);
    expect(read(SO_MAX_PACING_RATE)).toBe(125000);
  });

  test("SO_COOKIE is the socket's own, SO_MEMINFO its accounts, SO_PEERNAME its peer", () => {
    const other = sysSocket(h.net, 2, 2, 0);
    const cookie = read(SO_COOKIE);
    expect(read(SO_COOKIE)).toBe(cookie);
    expect(sysGetsockopt(h.net, other, SOL_SOCKET, SO_COOKIE, box)).not.toBe(cookie);
    expect(read(SO_MEMINFO)).toEqual([0, 212992, 0, 212992, 0, 0, 0, 0, 0]);
    expect(get(fd, SO_PEERNAME)).toBe("ENOTCONN");
    expect(sysBind(h.net, fd, { family: 2, addr: 0, port: 5 })).toBe(0);
  });
});
