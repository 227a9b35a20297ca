import { afterEach, describe, expect, it } from "vitest";
import {
  TCP_CONG_NEEDS_ECN,
  TCP_CONG_NON_RESTRICTED,
  type TcpCongestionOps,
  tcpCaFind,
  tcpCaGetKeyByName,
  tcpCaGetNameByKey,
  tcpCongAvoidAi,
  tcpGetAvailableCongestionControl,
  tcpRegisterCongestionControl,
  tcpRenoCongAvoid,
  tcpRenoSsthresh,
  tcpRenoUndoCwnd,
  tcpSetCongestionControl,
  tcpSetDefaultCongestionControl,
  tcpSlowStart,
  tcpUnregisterCongestionControl,
} from "../../../src/net/ipv4/tcp_cong.ts";
import { TcpBench } from "./tcp_util.ts";

let b: TcpBench;
afterEach(() => b.end());

function ops(over: Partial<TcpCongestionOps>): TcpCongestionOps {
  return {
    name: "test",
    symbol: "tcp_test",
    flags: 0,
    ssthresh: tcpRenoSsthresh,
    congAvoid: tcpRenoCongAvoid,
    undoCwnd: tcpRenoUndoCwnd,
    ...over,
  };
}

describe("registry", () => {
  it("has Reno and CUBIC; takes others; refuses incomplete ones", () => {
    b = new TcpBench().establish();
    expect(tcpGetAvailableCongestionControl()).toBe("reno cubic bbr dctcp");
    expect(tcpCaFind("vegas")).toBeNull();
    const ca = ops({});
    expect(tcpRegisterCongestionControl(ca)).toBe(0);
    expect(tcpRegisterCongestionControl(ca)).toBe(-17);
    expect(tcpRegisterCongestionControl(ops({ name: "bad", undoCwnd: undefined as never }))).toBe(-22);
    expect(tcpCaGetNameByKey(tcpCaGetKeyByName("test"))).toBe("test");
    expect(tcpUnregisterCongestionControl(ca)).toBe(0);
    expect(tcpUnregisterCongestionControl(ca)).toBe(-2);
    expect(tcpCaGetKeyByName("test")).toBe(0);
  });

  it("TCP_CONGESTION: errors, restriction, ECN, and the change of state", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    expect(sk.icskCaOps.name).toBe("cubic");
    expect(tcpSetCongestionControl(sk, "nothing", true, true)).toBe(-2);
    let inits = 0;
    let releases = 0;
    const ca = ops({ flags: TCP_CONG_NEEDS_ECN, init: () => void inits++, release: () => void releases++ });
    tcpRegisterCongestionControl(ca);
    expect(tcpSetCongestionControl(sk, "test", true, false)).toBe(-1);
    expect(tcpSetCongestionControl(sk, "test", true, true)).toBe(0);
    expect([inits, releases, sk.tos]).toEqual([1, 0, 2]);
    expect(tcpSetCongestionControl(sk, "test", true, true)).toBe(0);
    expect(inits).toBe(1);
    expect(tcpSetCongestionControl(sk, "reno", true, false)).toBe(0);
    expect([inits, releases, sk.tos]).toEqual([1, 1, 0]);
    sk.icskCaDstLocked = true;
    expect(tcpSetCongestionControl(sk, "cubic", true, true)).toBe(-1);
    tcpUnregisterCongestionControl(ca);
    expect(TCP_CONG_NON_RESTRICTED).toBe(1);
  });

  it("the namespace's default", () => {
    b = new TcpBench();
    expect(tcpSetDefaultCongestionControl(b.net, "nothing")).toBe(-2);
    expect(tcpSetDefaultCongestionControl(b.net, "reno")).toBe(0);
    expect(b.net.ipv4.sysctlTcpCongestionControl).toBe("reno");
  });
});

describe("Reno", () => {
  it("slow start adds what was acknowledged, and stops at ssthresh", () => {
    b = new TcpBench().establish();
    b.sk.sndSsthresh = 13;
    expect(tcpSlowStart(b.sk, 2)).toBe(0);
    expect(b.sk.sndCwnd).toBe(12);
    expect(tcpSlowStart(b.sk, 5)).toBe(4);
    expect(b.sk.sndCwnd).toBe(13);
  });

  it("congestion avoidance adds one a window, whatever the size of the ACKs", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    for (let i = 0; i < 9; i++) tcpCongAvoidAi(b.sk, 10, 1);
    expect(b.sk.sndCwnd).toBe(10);
    tcpCongAvoidAi(b.sk, 10, 1);
    expect(b.sk.sndCwnd).toBe(11);
    tcpCongAvoidAi(b.sk, 11, 25);
    expect([b.sk.sndCwnd, b.sk.sndCwndCnt]).toEqual([13, 3]);
    // A smaller w than the credits: gently.
    b.sk.sndCwndCnt = 100;
    tcpCongAvoidAi(b.sk, 13, 1);
    expect([b.sk.sndCwnd, b.sk.sndCwndCnt]).toEqual([14, 1]);
    b.sk.sndCwndClamp = 14;
    tcpCongAvoidAi(b.sk, 1, 50);
    expect(b.sk.sndCwnd).toBe(14);
  });

  it("does not grow while the application is the limit", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    b.sk.sndSsthresh = 5;
    b.sk.isCwndLimited = false;
    tcpRenoCongAvoid(b.sk, 0, 100);
    expect(b.sk.sndCwnd).toBe(10);
    b.sk.isCwndLimited = true;
    tcpRenoCongAvoid(b.sk, 0, 10);
    expect(b.sk.sndCwnd).toBe(11);
  });

  it("halves, and can undo", () => {
    b = new TcpBench().establish({ cwnd: 11 });
    expect(tcpRenoSsthresh(b.sk)).toBe(5);
    b.sk.sndCwnd = 3;
    expect(tcpRenoSsthresh(b.sk)).toBe(2);
    b.sk.priorCwnd = 11;
    expect(tcpRenoUndoCwnd(b.sk)).toBe(11);
  });
});
