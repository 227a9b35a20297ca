/** Who may bind and listen beside whom (inet_csk_get_port): the answers are those of Linux 6.18. */

import { expect, it } from "vitest";
import { EADDRINUSE } from "../../../src/uapi/errno.ts";
import { AF_INET, SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from "../../../src/uapi/socket.ts";
import { Pair } from "../../sim/pair.ts";

/**
 * The first socket: SO_REUSEADDR, SO_REUSEPORT, listening, bound to one address. Then for each second one (SO_REUSEADDR,
 * SO_REUSEPORT, one address: 000, 001, ... 111) what it may: "-" nothing, "b" bind, "l" listen as well.
 */
const table: readonly (readonly [string, string])[] = [
  ["0000", "--------"],
  ["0001", "--------"],
  ["0010", "--------"],
  ["0011", "--------"],
  ["0100", "--ll--ll"],
  ["0101", "--ll--ll"],
  ["0110", "--ll--ll"],
  ["0111", "--ll--ll"],
  ["1000", "----llll"],
  ["1001", "----llll"],
  ["1010", "--------"],
  ["1011", "--------"],
  ["1100", "--llllll"],
  ["1101", "--llllll"],
  ["1110", "--ll--ll"],
  ["1111", "--ll--ll"],
];

it("SO_REUSEADDR and SO_REUSEPORT", async () => {
  const pair = await Pair.create();
  const sys = pair.a.sys;
  const open = (reuse: boolean, reuseport: boolean): number => {
    const fd = sys.socket(AF_INET, SOCK_STREAM, 0);
    sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, reuse ? 1 : 0);
    sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, reuseport ? 1 : 0);
    return fd;
  };
  const bind = (fd: number, one: boolean): number =>
    sys.bind(fd, { family: AF_INET, addr: one ? pair.a.primaryAddress() : 0, port: 5555 });
  for (const [first, wanted] of table) {
    let row = "";
    for (let second = 0; second < 8; second++) {
      const a = open(first[0] === "1", first[1] === "1");
      expect(bind(a, first[3] === "1")).toBe(0);
      if (first[2] === "1") expect(sys.listen(a, 1)).toBe(0);
      const b = open((second & 4) !== 0, (second & 2) !== 0);
      const bound = bind(b, (second & 1) !== 0);
      if (bound !== 0) expect(bound).toBe(-EADDRINUSE);
      row += bound !== 0 ? "-" : sys.listen(b, 1) === 0 ? "l" : "b";
      sys.close(a);
      sys.close(b);
    }
    expect(`${first} ${row}`).toBe(`${first} ${wanted}`);
  }
  await pair.finish();
});
